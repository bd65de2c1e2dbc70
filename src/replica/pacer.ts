/**
 * Paces work so that it takes a share of the time and no more: after each piece it says when the next is due. Pure.
 *
 * Intuition: a piece that took e ms at share s fills e / s ms, counted from where the piece before it had its time
 * filled. So a nap that lasts too long, as naps do, is made up by the next one, and the share is exact over any stretch
 * of work however short the pieces are.
 */

/** Time that was not used counts as lost beyond this: who idled must not run unthrottled afterwards. */
const UNUSED_MS_MAX = 5

/**
 * An input is taken in at once as long as the work so far is not paid for further ahead than this: a guest that naps
 * answers soon, and a flood of inputs is throttled all the same.
 */
const AHEAD_MS_MAX = 100

export class Pacer {
  #share = 1
  #dueMs = Number.NEGATIVE_INFINITY

  /** Above 0, up to 1. */
  set share(share: number) {
    this.#share = share
    if (share === 1) this.#dueMs = Number.NEGATIVE_INFINITY
  }

  /** A piece of work that took `workMs` of CPU time ended at `nowMs`. */
  worked(workMs: number, nowMs: number): void {
    if (this.#share === 1) return
    const fromMs = Math.max(this.#dueMs, nowMs - workMs - UNUSED_MS_MAX)
    this.#dueMs = fromMs + workMs / this.#share
  }

  /** How long to nap before the next piece, which has something `urgent` to do or has not. */
  waitMs(nowMs: number, urgent = false): number {
    return Math.max(0, this.#dueMs - nowMs - (urgent ? AHEAD_MS_MAX : 0))
  }
}
