/**
 * The bytes of the snapshot of a machine that goes on while it is saved: of the moment at which the saving began. The
 * pieces are made between slices, by the thread that runs the machine; they are copies, so the machine may go on before
 * they are written, up to the next piece.
 */
import type { MachineCapture, SavableMachine } from '../machine/machine.ts'
import { RECORD_PAGES_MAX } from './format.ts'
import { encodeHeader } from './header.ts'
import { encodeState } from './state-text.ts'
import { encodeStart, record, type SaveOptions } from './writer.ts'

export class RunningSave {
  readonly #capture: MachineCapture
  readonly #options: SaveOptions
  readonly #zeros: Uint8Array
  readonly pageBytes: number
  /** Copies of the pages of one piece; the same memory for every piece, so that nothing is left to be collected. */
  #staged = new Uint8Array(0)
  #begun = false
  #records = 0

  /** As of now: between two slices, when the outputs were taken. */
  constructor(machine: SavableMachine, options: SaveOptions) {
    this.#capture = machine.capture()
    this.#options = options
    this.pageBytes = machine.pages.pageBytes
    this.#zeros = new Uint8Array(this.pageBytes)
  }

  /** Bytes of pages that are held because the machine wrote to them; the next pieces have them first. */
  get keptBytes(): number {
    return this.#capture.pages.keptBytes
  }

  /** Pages that are still to come. */
  get pagesLeft(): number {
    return this.#capture.pages.left
  }

  /**
   * What comes next, with at most so many pages; the last time all that is left. Between two slices, while `pagesLeft`. The
   * bytes are valid until the next call.
   */
  next(pagesMax: number): Uint8Array[] {
    const { program, compress } = this.#options
    const { config, state, pages } = this.#capture
    const out: Uint8Array[] = []
    if (!this.#begun) out.push(encodeStart(encodeHeader(config, program)))
    this.#begun = true
    const count = Math.min(pagesMax, RECORD_PAGES_MAX)
    const { pageBytes } = this
    if (this.#staged.length < count * pageBytes) this.#staged = new Uint8Array(count * pageBytes)
    const taken: { readonly page: number; readonly bytes: Uint8Array }[] = []
    pages.take(count, (page, bytes) => {
      if (Buffer.compare(bytes, this.#zeros) === 0) return
      const at = taken.length * pageBytes
      this.#staged.set(bytes, at)
      taken.push({ page, bytes: this.#staged.subarray(at, at + pageBytes) })
    })
    taken.sort((a, b) => a.page - b.page)
    if (taken.length > 0) {
      const numbers = new Uint8Array(Uint32Array.from(taken, ({ page }) => page).buffer)
      const payload = taken.map(({ bytes }) => bytes)
      out.push(...record('pages', taken.length, [numbers], payload, compress))
      this.#records++
    }
    if (pages.left > 0) return out
    const digest = new Uint8Array(BigUint64Array.of(this.#capture.digest()).buffer)
    out.push(...record('state', 0, [], [encodeState(state)], compress))
    out.push(...record('digest', 0, [], [digest], false))
    out.push(...record('end', this.#records + 2, [], [], false))
    return out
  }

  /** Gives the rest up; the machine's pages are marked no longer. */
  cancel(): void {
    this.#capture.pages.cancel()
  }
}
