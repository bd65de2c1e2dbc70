/**
 * Which of the frames that the gateway delivered are safe: logged, and the log entry acknowledged. The gateway
 * keeps the others, to give them to whoever goes live next, so that a takeover loses no frame on its way in.
 */
export class DeliveryLedger {
  /** Delivered frames in order, by whether they were passed on to the machine or dropped on the way. */
  #delivered: boolean[] = []
  /** Count of delivered frames that a log entry accounts for, by sequence of that entry. */
  #accounted: { readonly sequence: number; readonly frames: number }[] = []
  #accountedFrames = 0
  #safeFrames = 0

  /** A frame was delivered; one that was dropped is safe as soon as a later one is: nobody will log it. */
  delivered(passedOn: boolean): void {
    this.#delivered.push(passedOn)
  }

  /** The log entry `sequence` holds the next `count` frames that were passed on. */
  logged(sequence: number, count: number): void {
    if (count === 0) return
    let left = count
    let frames = 0
    while (left > 0 && frames < this.#delivered.length) if (this.#delivered[frames++]) left--
    while (this.#delivered[frames] === false) frames++
    this.#delivered.splice(0, frames)
    this.#accountedFrames += frames
    this.#accounted.push({ sequence, frames: this.#accountedFrames })
  }

  /** All log entries up to this one are safe. Returns how many delivered frames are, when that is news; else null. */
  safe(throughSequence: number): number | null {
    let count = 0
    while (count < this.#accounted.length && this.#accounted[count].sequence <= throughSequence) count++
    if (count === 0) return null
    this.#safeFrames = this.#accounted[count - 1].frames
    this.#accounted.splice(0, count)
    return this.#safeFrames
  }
}
