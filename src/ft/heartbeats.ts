import { type Heartbeat, PROTOCOL_VERSION, type Role } from './messages.ts'
import { HEARTBEAT_INTERVAL_MS } from './timing.ts'

/**
 * One side's heartbeats: numbers those it sends, and sorts those it hears.
 *
 * Datagrams are repeated, overtaken and, after a restart, sent by the dead. So a heartbeat is news only when its
 * sender is the replica this one is bound to, in this generation, and its number is higher than any before.
 */
export class Heartbeats {
  readonly #vm: string
  readonly #role: Role
  readonly #replica: string
  #sent = 0
  #nextMs = Number.NEGATIVE_INFINITY
  #heard = 0

  constructor(vm: string, role: Role, replica: string) {
    this.#vm = vm
    this.#role = role
    this.#replica = replica
  }

  /** The next heartbeat, when it is due; else null. */
  due(
    state: { readonly generation: number; readonly echoMs: number; readonly releasedSequence: number },
    nowMs: number,
  ): Heartbeat | null {
    if (nowMs < this.#nextMs) return null
    // Steps of the interval, so that ticks that come a little late do not add up; a long gap is not made up for.
    const stepMs = this.#nextMs + HEARTBEAT_INTERVAL_MS
    this.#nextMs = stepMs > nowMs ? stepMs : nowMs + HEARTBEAT_INTERVAL_MS
    this.#sent++
    return {
      version: PROTOCOL_VERSION,
      vm: this.#vm,
      role: this.#role,
      replica: this.#replica,
      sequence: this.#sent,
      sentAtMs: nowMs,
      ...state,
    }
  }

  /**
   * Takes a heartbeat in; true when it is news of `peer`, the replica this one is bound to in `generation`. Else it was heard
   * before, was overtaken, or is of another pair: since it was authentic, something repeats what it heard.
   */
  hear(heartbeat: Heartbeat, peer: string, generation: number): boolean {
    if (heartbeat.version !== PROTOCOL_VERSION || heartbeat.vm !== this.#vm) return false
    if (heartbeat.role === this.#role || heartbeat.replica !== peer) return false
    if (heartbeat.generation !== generation || heartbeat.sequence <= this.#heard) return false
    this.#heard = heartbeat.sequence
    return true
  }
}
