/**
 * Has hot entry points compiled and keeps what is compiled: which table slot holds which region, which page it came
 * from. When code is overwritten the core forgets the entry points at once; here the functions are let go.
 *
 * Compiling may take its time and happen in another thread. What comes back is installed if the page still holds the
 * very bytes that were compiled, so nothing needs to be known about what happened in between.
 */
import { type Core, FUNCTION_TABLE_SIZE } from './core.ts'
import { InstalledCode, type InstalledRegion } from './installed-code.ts'
import { CODE_LINE_BYTES, control, MODE, PAGE_BYTES, QUEUE_ENTRY_BYTES } from './layout.ts'
import { codeTableOf, type RegionCompiler } from './region-compiler.ts'
import {
  type CompiledModule,
  type CompiledPage,
  type CompiledRegion,
  offsetsOfLines,
  type RegionPlace,
} from './region-module.ts'

/**
 * Bytes of WebAssembly that are kept; beyond, modules are forgotten. Each takes some 5.5 bytes of the host's memory (baseline
 * and optimised code, the bytes themselves, what V8 keeps beside them), so a sixth of the guest's RAM goes for its code: a
 * guest with more of it has larger programs. Forty programs in turn came to 45 MiB.
 */
const CODE_BYTES_MIN = 16 * 1024 * 1024
const CODE_BYTES_MAX = 64 * 1024 * 1024
const CODE_SHARE = 1 / 32

function codeBytesFor(memoryBytes: number): number {
  return Math.min(CODE_BYTES_MAX, Math.max(CODE_BYTES_MIN, memoryBytes * CODE_SHARE))
}

export class CodeCache {
  readonly #core: Core
  readonly #compiler: RegionCompiler
  readonly #words: Int32Array
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #codeLines: BigUint64Array
  readonly #freeSlots: number[] = []
  #nextSlot = 1
  readonly #installed = new InstalledCode()
  readonly #bytesMax: number
  #chance = 1

  constructor(core: Core, compiler: RegionCompiler, bytesMax?: number) {
    this.#bytesMax = bytesMax ?? codeBytesFor(core.layout.memoryBytes)
    this.#core = core
    this.#compiler = compiler
    this.#words = new Int32Array(core.memory.buffer)
    this.#bytes = new Uint8Array(core.memory.buffer)
    this.#view = new DataView(core.memory.buffer)
    this.#codeLines = new BigUint64Array(core.memory.buffer, core.layout.codeLines, core.layout.pageCount)
  }

  /** Compiled regions in use. */
  get size(): number {
    return this.#installed.size
  }

  /** Called between runs of the core: lets go of overwritten code, asks for what became hot, installs what is ready. */
  maintain(): void {
    if (this.#words[control.codeDropped / 4] !== 0) this.#dropAll()
    if (this.#words[control.invalidatedLength / 4] !== 0) this.#release()
    if (this.#words[control.queueLength / 4] !== 0) this.#request()
    // Lowered before looking, so that what becomes ready meanwhile raises it again.
    Atomics.store(this.#words, control.compiledReady / 4, 0)
    for (let ready = this.#compiler.take(); ready !== null; ready = this.#compiler.take()) {
      this.#install(ready)
    }
  }

  #dropAll(): void {
    this.#core.exports.dropCode()
    this.#words[control.codeDropped / 4] = 0
    while (this.#installed.size > 0) this.#free(this.#installed.takeModule(0))
  }

  #release(): void {
    const count = this.#words[control.invalidatedLength / 4]
    const base = this.#core.layout.invalidated / 4
    for (let i = 0; i < count; i++) this.#free(this.#installed.takePage(this.#words[base + i]))
    this.#words[control.invalidatedLength / 4] = 0
  }

  /** Places that still name a region, because only other code was overwritten or none, are counted anew. */
  #free(regions: readonly InstalledRegion[]): void {
    for (const region of regions) {
      const { slot } = region
      const place = this.#placeOf(region)
      if (place !== null && this.#words[place] === slot) this.#words[place] = 0
      this.#core.exports.table.set(slot, null)
      this.#freeSlots.push(slot)
      // A page without code is tracked no longer, and its code table may be taken back.
      for (const page of region.pages)
        if (!this.#installed.isOn(page) && page !== this.#core.watchedPage) this.#codeLines[page] = 0n
    }
  }

  #request(): void {
    const count = this.#words[control.queueLength / 4]
    this.#words[control.queueLength / 4] = 0
    const places: RegionPlace[] = []
    for (let i = 0; i < count; i++) {
      const entry = this.#core.layout.queue + i * QUEUE_ENTRY_BYTES
      const mode = this.#view.getInt32(entry + 12, true)
      const at = this.#view.getUint32(entry + 8, true) - this.#core.layout.ram
      // Code of mode `other` runs under permissions that change with the status register: interpreted.
      if (mode === MODE.other) continue
      places.push({ page: Math.floor(at / PAGE_BYTES), offset: at % PAGE_BYTES, mode })
    }
    if (places.length > 0) this.#compiler.request(places)
  }

  #install({ module, regions, bytes }: CompiledModule): void {
    const current = regions.filter((region) => this.#isCurrent(region))
    if (current.length === 0) return
    while (this.#installed.size > 0 && !this.#hasRoom(bytes, current.length))
      this.#free(this.#installed.takeModule(this.#anyShare()))
    const { functions, memory, exports } = this.#core
    const instance = new WebAssembly.Instance(module, { core: { ...functions, memory } })
    let firstCodeOnPage = false
    const installed: InstalledRegion[] = []
    for (const { page, mode, offset, pages, name } of current) {
      const place = this.#placeOf({ page, mode, offset })
      if (place === null) throw new Error('a region is installed on a page without a code table')
      const slot = this.#freeSlots.pop() ?? this.#nextSlot++
      exports.table.set(slot, instance.exports[name])
      this.#words[place] = slot
      installed.push({ page, mode, offset, slot, pages: pages.map((held) => held.page) })
      for (const held of pages) {
        if (this.#codeLines[held.page] === 0n) firstCodeOnPage = true
        this.#codeLines[held.page] |= held.lines
      }
    }
    this.#installed.add(bytes, installed)
    // Stores to a page with code must be seen: it may have fast entries from before.
    if (firstCodeOnPage) exports.flushFastWrites()
  }

  /**
   * Which module is forgotten is left to chance, of the same course in each machine: a guest whose programs take turns would find
   * none of its code if it were the oldest.
   */
  #anyShare(): number {
    this.#chance = (Math.imul(this.#chance, 1_664_525) + 1_013_904_223) >>> 0
    return this.#chance / 2 ** 32
  }

  #hasRoom(bytes: number, regions: number): boolean {
    const slots = this.#freeSlots.length + FUNCTION_TABLE_SIZE - this.#nextSlot
    return slots >= regions && this.#installed.bytes + bytes <= this.#bytesMax
  }

  /** Index of a region's word in its page's code table; null when the page has none, or none any more. */
  #placeOf({ page, mode, offset }: RegionPlace): number | null {
    const table = codeTableOf(this.#words, this.#core.layout, page, mode)
    return table === 0 ? null : (table + offset * 2) / 4
  }

  /** Whether a region may be installed: its place waits for one, and its code is what was compiled. */
  #isCurrent(region: CompiledRegion): boolean {
    const place = this.#placeOf(region)
    // All code was forgotten meanwhile.
    if (place === null) return false
    // Queued again after its page was overwritten, and compiled already.
    if (this.#words[place] > 0) return false
    if (region.pages.every((held) => this.#holds(held))) return true
    // Other code by now, which shall become hot by itself.
    this.#words[place] = 0
    return false
  }

  /** Whether memory still holds the bytes that were compiled. */
  #holds({ page, code, lines }: CompiledPage): boolean {
    const start = this.#core.layout.ram + page * PAGE_BYTES
    return offsetsOfLines(lines).every((offset, line) => {
      const from = line * CODE_LINE_BYTES
      for (let at = 0; at < CODE_LINE_BYTES; at++)
        if (this.#bytes[start + offset + at] !== code[from + at]) return false
      return true
    })
  }
}
