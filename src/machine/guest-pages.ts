/** Guest RAM page by page, for whoever copies a machine: to a file, or to another host. */
import type { Core } from './cpu/core.ts'
import { PAGE_BYTES } from './cpu/layout.ts'
import type { RamDigest } from './digest.ts'
import type { DirtyFollower, DirtyPages } from './dirty-pages.ts'
import { PageCapture } from './page-capture.ts'

export class GuestPages {
  readonly pageBytes = PAGE_BYTES
  readonly #core: Core
  readonly #digest: RamDigest
  readonly #written: DirtyFollower
  /** u8 a page: it was ever written. All others hold zeros. */
  readonly #touched: Uint8Array
  #capture: PageCapture | null = null

  constructor(core: Core, digest: RamDigest, dirty: DirtyPages) {
    this.#core = core
    this.#digest = digest
    this.#written = dirty.follow()
    this.#touched = new Uint8Array(core.layout.pageCount)
  }

  /** All pages of RAM; they are numbered from 0. */
  get count(): number {
    return this.#core.layout.pageCount
  }

  /** Numbers of the pages that are not all zeros, ascending. */
  nonZero(): Uint32Array<ArrayBuffer> {
    return this.#digest.nonZeroPages()
  }

  /** Numbers of the pages that were ever written, ascending. Some may hold zeros; nothing is read to find that out. */
  touched(): Uint32Array<ArrayBuffer> {
    for (const page of this.#written.take()) this.#touched[page] = 1
    const found = new Uint32Array(this.#touched.length)
    let count = 0
    for (let page = this.#touched.indexOf(1); page !== -1; page = this.#touched.indexOf(1, page + 1))
      found[count++] = page
    return found.slice(0, count)
  }

  /** Captures pages as they are now, while the machine goes on. One capture at a time; between two slices. */
  capture(pages: Uint32Array): PageCapture {
    if (this.#capture !== null) throw new Error('pages are being captured already')
    let ended = false
    const capture = new PageCapture(this.#core, pages, () => {
      ended = true
      this.#capture = null
    })
    if (!ended) this.#capture = capture
    return capture
  }

  /** A captured page is about to be written. */
  keep(page: number): void {
    this.#capture?.keep(page)
  }

  /** Neighbouring pages, to read: valid until the machine runs. */
  view(first: number, count: number): Uint8Array {
    if (first < 0 || count < 0 || first + count > this.count) {
      throw new RangeError(`pages ${first} to ${first + count} of ${this.count}`)
    }
    const { memory, layout } = this.#core
    return new Uint8Array(memory.buffer, layout.ram + first * PAGE_BYTES, count * PAGE_BYTES)
  }

  /** Neighbouring pages, to fill before the machine has run: nothing is derived from them yet. */
  fill(first: number, count: number): Uint8Array {
    const pages = this.view(first, count)
    new Uint8Array(this.#core.memory.buffer, this.#core.layout.dirty + first, count).fill(1)
    return pages
  }
}
