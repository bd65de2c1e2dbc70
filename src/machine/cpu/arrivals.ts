/**
 * What the interpreter saw of a page until one of its places became hot: how often control arrived where, by a jump
 * or a taken branch. Code that was not seen to run is left out of regions: compiling it costs more than all that is
 * gained, and half of a function's code is for what hardly ever happens.
 */

/** Visits that make a place count as a target of computed jumps nearby, or a function worth inlining. */
const USUAL_VISITS_MIN = 8
/** Where control arrived less often than once in so many visits of the entry point, a region goes on in the interpreter. */
const RARE_SHARE = 64
/** An entry point that was visited less often says nothing about what is rare. */
const TELLING_VISITS_MIN = 64

export class Arrivals {
  readonly #heat: Int32Array
  readonly #reachedMin: number

  /**
   * `heat` is a page's code table: for each halfword a slot if compiled (positive), or less the number of visits.
   * `entryVisits` are those of the entry point, on this page or another.
   */
  constructor(heat: Int32Array, entryVisits: number) {
    this.#heat = heat
    this.#reachedMin = entryVisits < TELLING_VISITS_MIN ? 0 : entryVisits / RARE_SHARE
  }

  /** Whether control arrives at an offset often enough for it to belong to a region. */
  isReached(offset: number): boolean {
    const entry = this.#heat[offset / 2]
    return entry > 0 || -entry >= this.#reachedMin
  }

  /** Whether an offset is where calls and computed jumps go. */
  isUsual(offset: number): boolean {
    const entry = this.#heat[offset / 2]
    return entry > 0 || entry <= -USUAL_VISITS_MIN
  }

  /** Offsets near another at which control arrives usually, nearest first. */
  usualNear(offset: number, spanBytes: number): number[] {
    const found: number[] = []
    const first = Math.max(0, offset - spanBytes)
    const last = Math.min(2 * this.#heat.length - 2, offset + spanBytes)
    for (let at = first; at <= last; at += 2) if (this.isUsual(at)) found.push(at)
    return found.sort((a, b) => Math.abs(a - offset) - Math.abs(b - offset))
  }
}
