import { LAG_INTERVAL_MS, LAG_LIMIT_MS } from './timing.ts'

/**
 * Slows the primary down until the backup keeps up.
 *
 * A backup that is a second behind costs a second of pause when it goes live, for it must consume its log first. So
 * when the lag passes its limit, the primary's share of CPU is cut little by little, and given back as the backup
 * catches up: multiplied down quickly enough to stop the lag from growing, added back slowly enough not to swing.
 */

/** Share of a core left to the primary at worst: slow, but a guest that still answers. */
export const PRIMARY_SHARE_MIN = 0.05
/** Cut for each interval over the limit: a machine twice too fast is held within 0.7 s. */
const CUT = 0.9
/** Given back for each interval below half the limit: from the minimum to full speed in about 5 s. */
const GIVEN_BACK = 0.02

export class LagControl {
  readonly #limitMs: number
  #share = 1
  #nextMs = Number.NEGATIVE_INFINITY

  constructor(limitMs: number = LAG_LIMIT_MS) {
    this.#limitMs = limitMs
  }

  /** Takes a measured lag in; returns the new share when it changes, else null. Acts once per LAG_INTERVAL_MS. */
  sample(lagMs: number, nowMs: number): number | null {
    if (nowMs < this.#nextMs) return null
    this.#nextMs = nowMs + LAG_INTERVAL_MS
    const before = this.#share
    if (lagMs > this.#limitMs) this.#share = Math.max(PRIMARY_SHARE_MIN, before * CUT)
    else if (lagMs < this.#limitMs / 2) this.#share = Math.min(1, before + GIVEN_BACK)
    return this.#share === before ? null : this.#share
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
