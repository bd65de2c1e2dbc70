/**
 * What the primary remembers of the frames it has sent: when, how big, and how much work, until the backup has executed
 * them.
 *
 * Three figures come from it. The **execution lag** is the age of the oldest frame that the backup has not executed:
 * measured on the primary's clock alone, so that no two clocks are ever compared. The **log in flight** is what the
 * backup may have to hold at once; the primary stalls before it passes what the backup said it can hold. The **work** of
 * the frames, in ms that the primary's CPU took for them, says how fast the backup is and how far behind it will be.
 */

/** Work of the log so far, in ms of the primary's CPU. All sums, so that differences are what an interval brought. */
export interface WorkSums {
  readonly sentMs: number
  /** Of the frames that the backup has executed. */
  readonly executedMs: number
}

interface SentFrame {
  readonly sentAtMs: number
  readonly byteLength: number
  /** Work of all frames up to and including this one. */
  readonly workEndMs: number
}

export class SentLog {
  #frames: SentFrame[] = []
  /** Sequence of `#frames[0]`. */
  #base: number
  #executedSequence: number
  #ackedSequence: number
  #unexecutedBytes = 0
  #sentMs = 0
  #ackedMs = 0
  #executedMs = 0

  /** @param sequence the last frame before the first to be sent. */
  constructor(sequence: number) {
    this.#base = sequence + 1
    this.#executedSequence = sequence
    this.#ackedSequence = sequence
  }

  /** The next frame in sequence was sent. `workMs` is what the primary's CPU took for its slice. */
  sent(byteLength: number, workMs: number, nowMs: number): void {
    this.#sentMs += workMs
    this.#frames.push({ sentAtMs: nowMs, byteLength, workEndMs: this.#sentMs })
    this.#unexecutedBytes += byteLength
  }

  /**
   * Takes an acknowledgement in. Returns when the newest frame it newly acknowledges was sent, `null` when it
   * acknowledges nothing new, `'nonsense'` when it cannot be true of what was sent.
   */
  acknowledge(receivedSequence: number, executedSequence: number): number | null | 'nonsense' {
    if (receivedSequence > this.lastSequence || executedSequence > receivedSequence) return 'nonsense'
    if (receivedSequence < this.#ackedSequence || executedSequence < this.#executedSequence) return 'nonsense'
    let sentAtMs: number | null = null
    if (receivedSequence > this.#ackedSequence) {
      this.#ackedSequence = receivedSequence
      const newest = this.#frames[receivedSequence - this.#base]!
      sentAtMs = newest.sentAtMs
      this.#ackedMs = newest.workEndMs
    }
    while (this.#executedSequence < executedSequence) {
      this.#executedSequence++
      const frame = this.#frames[this.#executedSequence - this.#base]!
      this.#unexecutedBytes -= frame.byteLength
      this.#executedMs = frame.workEndMs
    }
    const spent = this.#executedSequence + 1 - this.#base
    // Amortised: the array is cut only when more than half of it is spent.
    if (spent * 2 > this.#frames.length) {
      this.#frames = this.#frames.slice(spent)
      this.#base += spent
    }
    return sentAtMs
  }

  /** The age of the oldest frame that the backup is not known to have executed; 0 when it has executed all. */
  lagMs(nowMs: number): number {
    const oldest = this.#frames[this.#executedSequence + 1 - this.#base]
    return oldest === undefined ? 0 : Math.max(0, nowMs - oldest.sentAtMs)
  }

  /** The age of the oldest frame that the backup has not acknowledged; 0 when it has acknowledged all. */
  unackedMs(nowMs: number): number {
    const oldest = this.#frames[this.#ackedSequence + 1 - this.#base]
    return oldest === undefined ? 0 : Math.max(0, nowMs - oldest.sentAtMs)
  }

  get lastSequence(): number {
    return this.#base + this.#frames.length - 1
  }

  /** All frames up to and including this one are in the backup's log buffer. */
  get ackedSequence(): number {
    return this.#ackedSequence
  }

  get unexecutedBytes(): number {
    return this.#unexecutedBytes
  }

  get work(): WorkSums {
    return { sentMs: this.#sentMs, executedMs: this.#executedMs }
  }

  /** Work that waited in the backup's log buffer when it last acknowledged, in ms of the primary's CPU. */
  get waitingMs(): number {
    return this.#ackedMs - this.#executedMs
  }
}
