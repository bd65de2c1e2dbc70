/**
 * The world outside a replica as its machine meets it: network, console, entropy. Outputs come here when they
 * may leave and not before; inputs go from here to the CPU thread while this replica is live.
 */
import { randomBytes } from 'node:crypto'
import type { ConsoleHub } from './console-hub.ts'
import type { Cpu } from './cpu.ts'
import { DeliveryLedger } from './delivery-ledger.ts'
import type { VisibleOutput } from './held-outputs.ts'
import type { Request } from './pending-requests.ts'

/** The replica's port on the network, as the gateway offers it. */
export interface NetworkPort {
  /** This replica is live in `generation`: frames flow from now on. */
  goLive(generation: number): void
  send(frame: Uint8Array): void
  /** The first `frames` of all frames delivered here are safe with the backup. */
  taken(frames: number): void
  close(): void
}

/** A machine that does not take its frames is behind; like any NIC with a full ring it drops. */
const WAITING_BYTES_MAX = 8 * 1024 * 1024

/** The NIC that is linked to the gateway. */
const NIC = 0

export class Outside {
  readonly #network: NetworkPort
  readonly #console: ConsoleHub
  readonly #announcement: Uint8Array
  #cpu: Cpu | null = null
  readonly #ledger = new DeliveryLedger()
  #live = false
  #droppedFrames = 0

  /** `announcement` is the broadcast frame that tells where the machine's MAC now is. */
  constructor(network: NetworkPort, console: ConsoleHub, announcement: Uint8Array) {
    this.#network = network
    this.#console = console
    this.#announcement = announcement
  }

  attach(cpu: Cpu): void {
    this.#cpu = cpu
  }

  goLive(generation: number): void {
    this.#live = true
    this.#network.goLive(generation)
  }

  announce(): void {
    this.#network.send(this.#announcement)
  }

  /** Lets outputs go, in order. Power-off is acted on by the protocol, which sees it in the log entry. */
  release(outputs: readonly VisibleOutput[]): void {
    for (const output of outputs) {
      if (output.kind === 'net-tx' && output.nic === NIC) this.#network.send(output.frame)
      if (output.kind === 'console-tx' && output.port === 'uart') this.#console.write(output.data)
    }
  }

  /** Outputs that another replica let go: here they are history, which the console shows after a takeover. */
  remember(outputs: readonly VisibleOutput[]): void {
    for (const output of outputs) {
      if (output.kind === 'console-tx' && output.port === 'uart') this.#console.write(output.data)
    }
  }

  /** Answers what was asked of this host itself; the answer is an input and so part of the log. */
  answer(request: Request): void {
    if (request.kind !== 'entropy-request') return
    this.#cpu?.send({ kind: 'input', input: { kind: 'entropy', data: randomBytes(request.bytes) } })
  }

  /** Frames that the live machine was too far behind to take. Their senders must repeat them. */
  get droppedFrames(): number {
    return this.#droppedFrames
  }

  /** A frame came from the network. */
  frameArrived(frame: Uint8Array): void {
    const cpu = this.#live ? this.#cpu : null
    const room = cpu !== null && cpu.waitingBytes < WAITING_BYTES_MAX
    this.#ledger.delivered(room)
    if (cpu !== null && !room) this.#droppedFrames++
    if (room) cpu.send({ kind: 'input', input: { kind: 'net-rx', nic: NIC, frame } })
  }

  /** Somebody typed. */
  typed(data: Uint8Array): void {
    if (!this.#live || this.#cpu === null || this.#cpu.waitingBytes > WAITING_BYTES_MAX) return
    this.#cpu.send({ kind: 'input', input: { kind: 'console-rx', port: 'uart', data } })
  }

  /** Somebody pressed the reset button. */
  reset(): void {
    this.#cpu?.send({ kind: 'input', input: { kind: 'reset' } })
  }

  /** The log entry `sequence` took `frames` frames in. */
  logged(sequence: number, frames: number): void {
    this.#ledger.logged(sequence, frames)
  }

  /** The log up to `throughSequence` cannot be lost any more. */
  safe(throughSequence: number): void {
    const frames = this.#ledger.safe(throughSequence)
    if (frames !== null) this.#network.taken(frames)
  }

  close(): void {
    this.#live = false
    this.#network.close()
    this.#console.close()
  }
}
