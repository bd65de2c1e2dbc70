/**
 * How fast the backup executes, as a multiple of the primary's speed: from its acknowledgements alone.
 *
 * Work is counted in ms that the primary's CPU took for the slices. A backup that always has work waiting executes as much
 * of it in an interval as it can: that is its speed. One that ran out of work executed what there was: it is at least
 * so fast, and nothing more is known. So a guest that idles does not make its backup look slow.
 */

/** A backup is taken to be as fast as its primary until it shows otherwise. */
const SPEED_INITIAL = 1
/** Never believed to stand still: it is divided by, and a backup that does is lost for other reasons. */
const SPEED_MIN = 0.02
/** Faster makes no difference, and the estimate has to come down again. */
const SPEED_MAX = 1.5
/**
 * Time over which measurements are averaged. Acknowledgements come in steps of up to 10 ms and with jitter, which a single
 * interval shows as an error of some 10 %; the error of one interval is made good in the next, so three of them are enough.
 */
const AVERAGING_MS = 300
/** A backup that never has less than this waiting is busy all the time: several slices, of which each is acknowledged. */
const WAITING_MS_MIN = 10

export class BackupSpeed {
  #speed = SPEED_INITIAL
  #sampledAtMs: number | null = null
  #executedMs = 0
  /** The least that waited since the last sample. */
  #leastWaitingMs = 0

  /** An acknowledgement came; `waitingMs` is what then waited at the backup. */
  acknowledged(waitingMs: number): void {
    this.#leastWaitingMs = Math.min(this.#leastWaitingMs, waitingMs)
  }

  /** An interval is over. `executedMs` is all work executed so far, `waitingMs` what waited last. */
  sample(executedMs: number, waitingMs: number, nowMs: number): void {
    const forMs = this.#sampledAtMs === null ? 0 : nowMs - this.#sampledAtMs
    if (forMs > 0) {
      const measured = (executedMs - this.#executedMs) / forMs
      const wasBusy = this.#leastWaitingMs >= WAITING_MS_MIN
      if (wasBusy || measured > this.#speed) {
        const weight = 1 - Math.exp(-forMs / AVERAGING_MS)
        const speed = this.#speed + weight * (measured - this.#speed)
        this.#speed = Math.min(SPEED_MAX, Math.max(SPEED_MIN, speed))
      }
    }
    this.#sampledAtMs = nowMs
    this.#executedMs = executedMs
    this.#leastWaitingMs = waitingMs
  }

  /** Of the primary's speed, SPEED_MIN to SPEED_MAX. */
  get speed(): number {
    return this.#speed
  }
}
