/**
 * How a backup knows what time it is for the guest, so that guest time goes on with host time when it goes live.
 *
 * Intuition: each frame carries the guest clock of the primary and arrives a little later. The host clock at its
 * arrival minus its guest clock is the offset between the two plus some delay; the least ever seen is the best
 * estimate. It is let grow slowly, because two hosts' clocks drift apart. The hosts' clocks need not agree.
 */
import { TICKS_PER_MS } from './slice-policy.ts'

/** Crystal clocks differ by less than 100 parts in a million; the estimate follows at that pace. */
const DRIFT_MAX = 100e-6

export class ClockFollower {
  #offsetMs = Number.POSITIVE_INFINITY
  #seenMs = 0

  /** A frame whose guest clock was `clock` ticks arrived at `hostMs` of the monotonic clock. */
  frameArrived(clock: bigint, hostMs: number): void {
    const sampleMs = hostMs - Number(clock) / TICKS_PER_MS
    const drifted = this.#offsetMs + Math.max(0, hostMs - this.#seenMs) * DRIFT_MAX
    this.#offsetMs = Math.min(sampleMs, drifted)
    this.#seenMs = hostMs
  }

  /** Guest time at `hostMs`, never below `guestClock`, which the machine has reached already. In ticks. */
  guestTicks(hostMs: number, guestClock: bigint): bigint {
    if (!Number.isFinite(this.#offsetMs)) return guestClock
    const ticks = BigInt(Math.floor((hostMs - this.#offsetMs) * TICKS_PER_MS))
    return ticks > guestClock ? ticks : guestClock
  }
}
