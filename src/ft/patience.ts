import { LAG_LIMIT_MS, TICK_SILENCE_MS_MAX, TOO_SLOW_MS_MAX } from './timing.ts'

/**
 * Decides when a backup is too slow to be worth having. A primary that has to be throttled this much serves nobody well,
 * and a backup that lags all the same costs a long pause when it takes over; another host may do better.
 *
 * Time in that state counts up and time out of it counts down, so that one good moment does not start it all over.
 */

/** A guest that has this share of a core or less is as good as down for who uses it. */
export const SHARE_TOLERABLE_MIN = 0.1
/** Share of the lag's limit below which the backup is not behind, whatever its speed was measured to be. */
const BEHIND = 1 / 2

export class Patience {
  #tickedAtMs: number | null = null
  #slowMs = 0

  /** Time has passed. True when the backup has been too slow for too long. */
  tick(share: number, lagMs: number, nowMs: number): boolean {
    // A primary that did not run itself learnt nothing about its backup.
    const forMs = Math.min(TICK_SILENCE_MS_MAX, nowMs - (this.#tickedAtMs ?? nowMs))
    this.#tickedAtMs = nowMs
    const isTooSlow = share <= SHARE_TOLERABLE_MIN && lagMs > LAG_LIMIT_MS * BEHIND
    this.#slowMs = Math.max(0, this.#slowMs + (isTooSlow ? forMs : -forMs))
    return this.#slowMs > TOO_SLOW_MS_MAX
  }
}
