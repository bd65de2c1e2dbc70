/**
 * Pages of RAM as they were at one moment, while the machine goes on: copy on write, in software. What is asked for is
 * only marked, so that the machine stops for no longer than that takes, whatever its size. A page is copied before the
 * first write to it, by whoever writes; all others are read where they are, piece by piece, between two slices.
 *
 * A write is seen because the fast TLBs for writes are emptied at the beginning, and every way of writing that is not by
 * them asks for the mark first.
 */
import type { Core } from './cpu/core.ts'
import { PAGE_BYTES } from './cpu/layout.ts'
import { addPageDigest, pageDigest } from './digest.ts'

export class PageCapture {
  readonly #core: Core
  /** u8 a page: still to be captured before it may be written. */
  readonly #marks: Uint8Array
  readonly #pages: Uint32Array
  /** Copies of pages that were written meanwhile. */
  readonly #kept: { readonly page: number; readonly bytes: Uint8Array }[] = []
  #next = 0
  #left: number
  #digestSum = 0n
  readonly #onEnd: () => void

  /** `pages` are numbers, each once. Not while the machine runs. */
  constructor(core: Core, pages: Uint32Array, onEnd: () => void) {
    this.#core = core
    const { memory, layout } = core
    this.#marks = new Uint8Array(memory.buffer, layout.captured, layout.pageCount)
    this.#pages = pages
    this.#left = pages.length
    this.#onEnd = onEnd
    for (const page of pages) this.#marks[page] = 1
    core.exports.flushFastWrites()
    if (this.#left === 0) onEnd()
  }

  /** Pages that `take` has still to give. */
  get left(): number {
    return this.#left
  }

  /** The sum of what the pages given so far contribute to the digest of RAM. */
  get digestSum(): bigint {
    return this.#digestSum
  }

  /** Copies held because the machine wrote to their pages; `take` gives them first. */
  get keptBytes(): number {
    return this.#kept.length * PAGE_BYTES
  }

  /** Gives at most `max` pages to `into`, each once; the bytes are valid during the call. Between two slices. */
  take(max: number, into: (page: number, bytes: Uint8Array) => void): void {
    let given = 0
    for (; given < max; given++) {
      const copy = this.#kept.pop()
      if (copy === undefined) break
      into(copy.page, copy.bytes)
    }
    for (; given < max && this.#next < this.#pages.length; this.#next++) {
      const page = this.#pages[this.#next]
      if (this.#marks[page] === 0) continue
      this.#release(page)
      into(page, this.#bytes(page))
      given++
    }
    this.#left -= given
    if (this.#left === 0 && given > 0) this.#onEnd()
  }

  /** Gives the rest up. */
  cancel(): void {
    if (this.#left === 0) return
    for (; this.#next < this.#pages.length; this.#next++) this.#marks[this.#pages[this.#next]] = 0
    this.#kept.length = 0
    this.#left = 0
    this.#onEnd()
  }

  /** The machine is about to write to a marked page. */
  keep(page: number): void {
    this.#release(page)
    this.#kept.push({ page, bytes: this.#bytes(page).slice() })
  }

  /** The page is captured, or is about to be; it may be written from then on. */
  #release(page: number): void {
    this.#marks[page] = 0
    this.#digestSum = addPageDigest(this.#digestSum, pageDigest(this.#core, page))
  }

  #bytes(page: number): Uint8Array {
    const { memory, layout } = this.#core
    return new Uint8Array(memory.buffer, layout.ram + page * PAGE_BYTES, PAGE_BYTES)
  }
}
