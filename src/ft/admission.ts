import type { FrameInfo } from './messages.ts'
import { ADMISSION_MS_MAX } from './timing.ts'

/**
 * How a machine that runs alone comes by a backup, whose state is a copy of this machine's as of some frame.
 *
 * The copy takes time to arrive, and meanwhile the machine goes on: the frames since are kept here, and sent once the
 * candidate calls. Until it has them all it must not take over, for their outputs have left already: a machine that went live
 * without them would know less than the world does. So a backup only follows until it gets the message `bind`, which
 * stands in the same stream behind all those frames; from there on the Output Rule holds back the rest.
 *
 * A candidate that never calls is no loss: the machine was alone all the time.
 */
export class Admission {
  /** The candidate's incarnation. */
  readonly replica: string
  /** The last frame that is in the copy. */
  readonly sequence: number
  readonly #untilMs: number
  readonly #bytesMax: number
  readonly #frames: FrameInfo[] = []
  #bytes = 0

  /** `bytesMax` bounds the log that is kept for the candidate. */
  constructor(replica: string, sequence: number, bytesMax: number, nowMs: number) {
    this.replica = replica
    this.sequence = sequence
    this.#bytesMax = bytesMax
    this.#untilMs = nowMs + ADMISSION_MS_MAX
  }

  /** The next frame was recorded. */
  recorded(frame: FrameInfo): void {
    this.#frames.push(frame)
    this.#bytes += frame.byteLength
  }

  /** What the candidate is to be sent, in order. */
  get frames(): readonly FrameInfo[] {
    return this.#frames
  }

  /** It has taken too long, or what is kept for it is too much. */
  expired(nowMs: number): boolean {
    return nowMs > this.#untilMs || this.#bytes > this.#bytesMax
  }
}
