import { ProtocolInvariantError } from './protocol-error.ts'

/**
 * Bytes of outputs held back before the machine is stalled. Holding is normal for one round trip; this is several
 * seconds of a guest that sends as fast as it can, after which the backup is in trouble and not merely late.
 */
export const OUTPUT_BYTES_MAX = 16 * 1024 * 1024

/**
 * The Output Rule, as a queue: outputs of frame k stay here until frame k may let them go.
 *
 * Why: the outside may know only what the backup knows as well. Once the backup has frame k in its buffer, any
 * takeover replays through it and makes the same outputs itself; before that, a takeover may choose another course.
 *
 * The outputs themselves stay in the shell's rings; this counts them, in frame order.
 */
export class OutputGate {
  /** Only frames that have outputs, oldest first; `#head` is the first that is still held. */
  #held: { readonly sequence: number; readonly bytes: number }[] = []
  #head = 0
  #heldBytes = 0
  #lastSequence: number
  #releasedSequence: number

  /** @param sequence the last frame before the first to be held; its outputs, if any, are not the gate's. */
  constructor(sequence: number) {
    this.#lastSequence = sequence
    this.#releasedSequence = sequence
  }

  /** Takes in the next frame; frames without outputs only move the sequence on. */
  hold(sequence: number, outputs: number, bytes: number): void {
    if (sequence !== this.#lastSequence + 1) {
      throw new ProtocolInvariantError(
        `frame ${sequence} follows frame ${this.#lastSequence} at the output gate`,
      )
    }
    this.#lastSequence = sequence
    if (outputs === 0) return
    this.#held.push({ sequence, bytes })
    this.#heldBytes += bytes
  }

  /**
   * Opens the gate for all frames up to and including `sequence`. Returns true when outputs leave by that; false
   * when there were none, or the frames had been released before.
   */
  release(sequence: number): boolean {
    if (sequence > this.#lastSequence) {
      throw new ProtocolInvariantError(
        `release of frame ${sequence}, but the last one held is ${this.#lastSequence}`,
      )
    }
    if (sequence <= this.#releasedSequence) return false
    this.#releasedSequence = sequence
    const first = this.#head
    while (this.#head < this.#held.length && this.#held[this.#head]!.sequence <= sequence) {
      this.#heldBytes -= this.#held[this.#head]!.bytes
      this.#head++
    }
    const released = this.#head > first
    // Amortised: the array is cut only when more than half of it is spent.
    if (this.#head * 2 > this.#held.length) {
      this.#held = this.#held.slice(this.#head)
      this.#head = 0
    }
    return released
  }

  /** All frames up to and including this one have let their outputs go. */
  get releasedSequence(): number {
    return this.#releasedSequence
  }

  /** The newest frame taken in. */
  get lastSequence(): number {
    return this.#lastSequence
  }

  /** Bytes of outputs now held. */
  get heldBytes(): number {
    return this.#heldBytes
  }
}
