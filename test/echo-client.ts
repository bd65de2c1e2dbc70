/**
 * A client of the echo machine on its network: asks for one increment at a time, repeats a request that got no
 * answer, as TCP would, and checks that every answer counts one further than the last.
 */
import { connect } from 'node:net'
import { parseAddress } from '../src/net/address.ts'
import { FrameSocket } from '../src/net/frame-socket.ts'
import { ECHO_POISON, echoReply, echoRequest } from './echo-machine.ts'

const CLIENT_MAC = Uint8Array.of(2, 0, 0, 0, 0, 9)
const BROADCAST = new Uint8Array(6).fill(0xff)

/** Far above any answer of a live machine, so that a repetition means something was lost. */
const REPEAT_MS = 1_000

export class EchoClient {
  /** Increments acknowledged, and answers that did not count one further. */
  acknowledged = 0
  wrong = 0
  repeated = 0
  worstMs = 0
  readonly #socket: FrameSocket
  #waiting: { readonly id: number; readonly answered: (count: number) => void } | null = null
  #stopped = false

  constructor(address: string) {
    this.#socket = new FrameSocket(connect(parseAddress(address)), {
      frame: (frame) => this.#answered(frame),
      closed: () => {
        this.#stopped = true
      },
    })
  }

  /** Asks for one increment; resolves to the count. */
  async increment(): Promise<number> {
    const id = this.acknowledged + 1
    const startMs = performance.now()
    const answer = new Promise<number>((answered) => {
      this.#waiting = { id, answered }
    })
    const ask = () => this.#socket.send(echoRequest(BROADCAST, CLIENT_MAC, id))
    const timer = setInterval(() => {
      this.repeated++
      ask()
    }, REPEAT_MS)
    ask()
    const count = await answer
    clearInterval(timer)
    this.worstMs = Math.max(this.worstMs, performance.now() - startMs)
    this.acknowledged = id
    if (count !== id) this.wrong++
    return count
  }

  /** Counts until `stop`, one request at a time. */
  async run(): Promise<void> {
    while (!this.#stopped) {
      await this.increment()
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
  }

  /** Makes the replicas of the machine diverge. */
  poison(): void {
    this.#socket.send(echoRequest(BROADCAST, CLIENT_MAC, ECHO_POISON))
  }

  stop(): void {
    this.#stopped = true
  }

  close(): void {
    this.#stopped = true
    this.#socket.close()
  }

  #answered(frame: Uint8Array): void {
    const reply = echoReply(frame)
    // A takeover may repeat an answer; only the one that is waited for counts.
    if (reply === null || this.#waiting === null || reply.id !== this.#waiting.id) return
    const { answered } = this.#waiting
    this.#waiting = null
    answered(reply.count)
  }
}
