/**
 * The CPU thread's part of cloning a live machine: captures it between two slices and gives its state away in pieces,
 * each small enough that the guest does not notice, and no more than the other side has taken.
 */
import type { SavableMachine } from '../machine/machine.ts'
import type { FrameCursor } from '../replay/frame.ts'
import { RunningSave } from '../snapshot/running-save.ts'
import { type CpuReport, monotonicMs } from './thread-messages.ts'

/** Pages of a piece: looked at, hashed and copied in well under a millisecond. */
const PIECE_PAGES = 128

/** Holds every piece but one with an unusually long state. */
const GATHERED_BYTES = 1024 * 1024

/**
 * Copies of pages that the guest wrote to before they were sent, in bytes: of a quarter of its memory, and of no less than
 * this. Beyond it the guest waits for the other side, for a host without memory helps nobody.
 */
const KEPT_BYTES_MIN = 64 * 1024 * 1024
const KEPT_SHARE_OF_MEMORY = 4

export class CloneProducer {
  readonly #save: RunningSave
  readonly #keptBytesMax: number
  /** Behind this the log goes on. */
  readonly begun: Extract<CpuReport, { kind: 'clone-begun' }>
  #credit = 0
  #buffer = new Uint8Array(GATHERED_BYTES)

  /** As of now, behind the frame before `cursor`: between two slices, when the outputs were taken. */
  constructor(machine: SavableMachine, cursor: FrameCursor) {
    const sinceMs = monotonicMs()
    this.#save = new RunningSave(machine, { program: 'understudy clone', compress: false })
    const memoryBytes = machine.pages.count * machine.pages.pageBytes
    this.#keptBytesMax = Math.max(KEPT_BYTES_MIN, memoryBytes / KEPT_SHARE_OF_MEMORY)
    const stopMs = monotonicMs() - sinceMs
    this.begun = { kind: 'clone-begun', cursor, pages: this.#save.pagesLeft, stopMs }
  }

  allow(pages: number): void {
    this.#credit += pages
  }

  /** The guest may not run before a piece was given. */
  get mustWait(): boolean {
    return this.#save.keptBytes > this.#keptBytesMax
  }

  get isDone(): boolean {
    return this.#save.pagesLeft === 0
  }

  /** The next piece, if it may go; between two slices. Its bytes are valid until the next call. */
  next(): Extract<CpuReport, { kind: 'clone-piece' }> | null {
    if (this.#credit === 0 || this.isDone) return null
    const sinceMs = monotonicMs()
    const before = this.#save.pagesLeft
    const bytes = this.#gathered(this.#save.next(Math.min(this.#credit, PIECE_PAGES)))
    const pagesLeft = this.#save.pagesLeft
    const pages = before - pagesLeft
    this.#credit -= pages
    return { kind: 'clone-piece', bytes, pages, pagesLeft, stopMs: monotonicMs() - sinceMs }
  }

  cancel(): void {
    this.#save.cancel()
  }

  /** In one buffer, the same every time unless a piece is longer than any before. */
  #gathered(pieces: readonly Uint8Array[]): Uint8Array {
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0)
    if (this.#buffer.length < length) this.#buffer = new Uint8Array(length)
    let at = 0
    for (const piece of pieces) {
      this.#buffer.set(piece, at)
      at += piece.length
    }
    return this.#buffer.subarray(0, length)
  }
}
