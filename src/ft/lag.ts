import { LAG_INTERVAL_MS, LAG_LIMIT_MS } from './timing.ts'

/**
 * Slows the primary down until the backup keeps up.
 *
 * A backup that is a second behind costs a second of pause when it goes live, for it must consume its log first. The
 * lag that is measured now was caused by frames made when it was smaller, and what has been made since is still to
 * come. So the share of CPU is cut little by little as soon as the lag is noticeable and grows, and faster once it is
 * over the limit; it is held while the lag shrinks, and given back when little of it is left.
 */

/** Share of a core left to the primary at worst: slow, but a guest that still answers. */
export const PRIMARY_SHARE_MIN = 0.05
/** Share of the limit from which a growing lag is acted upon, and below which the primary is sped up again. */
const NOTICEABLE = 1 / 4
/** Cut for each interval in which a noticeable lag grew: halves the speed in 0.7 s. */
const CUT = 0.9
/** Cut for each interval over the limit without improvement: halves the speed in 0.3 s. */
const CUT_OVER_LIMIT = 0.8
/** Given back for each interval below: from the minimum to full speed in 5 s, slower than any cut, so as not to swing. */
const GIVEN_BACK = 0.02

export class LagControl {
  readonly #limitMs: number
  #share = 1
  #lagMs = 0
  #nextMs = Number.NEGATIVE_INFINITY

  constructor(limitMs: number = LAG_LIMIT_MS) {
    this.#limitMs = limitMs
  }

  /** Takes a measured lag in; returns the new share when it changes, else null. Acts once per LAG_INTERVAL_MS. */
  sample(lagMs: number, nowMs: number): number | null {
    if (nowMs < this.#nextMs) return null
    this.#nextMs = nowMs + LAG_INTERVAL_MS
    const before = this.#share
    if (lagMs < this.#limitMs * NOTICEABLE) this.#share = Math.min(1, before + GIVEN_BACK)
    else if (lagMs > this.#limitMs && lagMs >= this.#lagMs) this.#cut(CUT_OVER_LIMIT)
    else if (lagMs > this.#lagMs) this.#cut(CUT)
    this.#lagMs = lagMs
    return this.#share === before ? null : this.#share
  }

  #cut(factor: number): void {
    this.#share = Math.max(PRIMARY_SHARE_MIN, this.#share * factor)
  }

  /** Share of a core the primary may use, PRIMARY_SHARE_MIN to 1. */
  get share(): number {
    return this.#share
  }

  /** No backup to wait for any more; returns 1 when that changes the share, else null. */
  lift(): number | null {
    if (this.#share === 1) return null
    this.#share = 1
    return 1
  }
}
