import { ProtocolInvariantError } from './protocol-error.ts'

/**
 * The backup's account of its log buffer: which frames it has, which of them it has executed, and how many bytes
 * wait. The frames themselves stay in the shell; this says what may be acknowledged and when nothing is left.
 */
export class LogBuffer {
  /** Sizes of the frames from `#base` on; those up to `#executedSequence` are spent. */
  #sizes: number[] = []
  #base: number
  #receivedSequence: number
  #executedSequence: number
  #bytes = 0
  readonly #bytesMax: number

  /** @param sequence the last frame already in the machine. */
  constructor(sequence: number, bytesMax: number) {
    this.#base = sequence + 1
    this.#receivedSequence = sequence
    this.#executedSequence = sequence
    this.#bytesMax = bytesMax
  }

  /** Takes the next frame in. False when it is not the next one or does not fit: the primary breaks the rules. */
  accept(sequence: number, byteLength: number): boolean {
    if (sequence !== this.#receivedSequence + 1 || this.#bytes + byteLength > this.#bytesMax) return false
    this.#receivedSequence = sequence
    this.#sizes.push(byteLength)
    this.#bytes += byteLength
    return true
  }

  /** The next frame was replayed to its end. */
  executed(sequence: number): void {
    if (sequence !== this.#executedSequence + 1 || sequence > this.#receivedSequence) {
      throw new ProtocolInvariantError(
        `frame ${sequence} was executed, after ${this.#executedSequence} and with ${this.#receivedSequence} received`,
      )
    }
    this.#executedSequence = sequence
    this.#bytes -= this.#sizes[sequence - this.#base]!
    const spent = sequence + 1 - this.#base
    // Amortised: the array is cut only when more than half of it is spent.
    if (spent * 2 > this.#sizes.length) {
      this.#sizes = this.#sizes.slice(spent)
      this.#base += spent
    }
  }

  get receivedSequence(): number {
    return this.#receivedSequence
  }

  get executedSequence(): number {
    return this.#executedSequence
  }

  /** Bytes received and not executed. */
  get bytes(): number {
    return this.#bytes
  }

  /** Every whole frame received is consumed. */
  get drained(): boolean {
    return this.#executedSequence === this.#receivedSequence
  }
}
