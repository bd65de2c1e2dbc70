/**
 * A client that shows whether a takeover can be noticed: over one TCP connection it increments a counter in
 * Redis, one request at a time, and checks each answer. It speaks just enough of the Redis protocol (RESP2).
 */
import { connect, type Socket } from 'node:net'

/** An answer is `:NUMBER\r\n`; a longer one is none. */
const ANSWER_BYTES_MAX = 64

export interface CounterReport {
  /** Increments that were acknowledged. */
  readonly acknowledged: number
  /** Answers that were not one more than the answer before: a lost or repeated increment. */
  readonly wrong: number
  /** Times the connection broke. */
  readonly broken: number
  /** Longest time between a request and its answer since the last `takeWorstMs`. */
  readonly worstMs: number
}

export class RedisCounter {
  readonly #port: number
  readonly #key: string
  readonly #pauseMs: number
  #socket: Socket | null = null
  #timer: NodeJS.Timeout | null = null
  #received = ''
  #sentAtMs = 0
  #value: number | null = null
  #acknowledged = 0
  #wrong = 0
  #broken = 0
  #worstMs = 0
  #waiting = false
  #stopped = false
  readonly #onAnswer: ((value: number, tookMs: number) => void) | null

  /** `pauseMs` between an answer and the next request; `onAnswer` hears every answer. */
  constructor(
    port: number,
    key: string,
    pauseMs: number,
    onAnswer: ((value: number, tookMs: number) => void) | null = null,
  ) {
    this.#port = port
    this.#key = key
    this.#pauseMs = pauseMs
    this.#onAnswer = onAnswer
  }

  /** Resolves once the first increment is acknowledged; rejects when the connection cannot be made. */
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host: '127.0.0.1', port: this.#port, noDelay: true })
      this.#socket = socket
      socket.once('connect', () => this.#request())
      socket.on('data', (data) => {
        this.#answered(data.toString('latin1'))
        if (this.#value !== null) resolve()
      })
      socket.on('error', reject)
      socket.on('close', () => {
        if (!this.#stopped) this.#broken++
        reject(new Error('the connection was closed'))
      })
    })
  }

  get report(): CounterReport {
    return {
      acknowledged: this.#acknowledged,
      wrong: this.#wrong,
      broken: this.#broken,
      worstMs: Math.max(this.#worstMs, this.#waiting ? performance.now() - this.#sentAtMs : 0),
    }
  }

  /** The longest wait since the last call, and begins anew. */
  takeWorstMs(): number {
    const { worstMs } = this.report
    this.#worstMs = 0
    return worstMs
  }

  stop(): void {
    this.#stopped = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#socket?.destroy()
  }

  #request(): void {
    if (this.#stopped) return
    this.#sentAtMs = performance.now()
    this.#waiting = true
    this.#socket?.write(`*2\r\n$4\r\nINCR\r\n$${this.#key.length}\r\n${this.#key}\r\n`)
  }

  #answered(text: string): void {
    this.#received += text
    const end = this.#received.indexOf('\r\n')
    if (end < 0 && this.#received.length < ANSWER_BYTES_MAX) return
    const answer = this.#received.slice(0, end)
    this.#received = this.#received.slice(end + 2)
    const tookMs = performance.now() - this.#sentAtMs
    this.#waiting = false
    this.#worstMs = Math.max(this.#worstMs, tookMs)
    const value = /^:[0-9]+$/.test(answer) ? Number(answer.slice(1)) : Number.NaN
    this.#acknowledged++
    if (Number.isNaN(value) || (this.#value !== null && value !== this.#value + 1)) this.#wrong++
    this.#value = value
    this.#onAnswer?.(value, tookMs)
    this.#timer = setTimeout(() => this.#request(), this.#pauseMs)
  }
}
