/**
 * Has hot entry points compiled and keeps what is compiled: which table slot holds which region, which page it came
 * from. When code is overwritten the core forgets the entry points at once; here the functions are let go.
 *
 * Compiling may take its time and happen in another thread. What comes back is installed if the page still holds the
 * very bytes that were compiled, so nothing needs to be known about what happened in between.
 */
import { type Core, FUNCTION_TABLE_SIZE } from './core.ts'
import { CODE_LINE_BYTES, control, MODE, PAGE_BYTES, QUEUE_ENTRY_BYTES } from './layout.ts'
import { codeTableOf, type RegionCompiler } from './region-compiler.ts'
import type { CompiledModule, CompiledRegion, RegionPlace } from './region-module.ts'

export class CodeCache {
  readonly #core: Core
  readonly #compiler: RegionCompiler
  readonly #words: Int32Array
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #codeLines: BigUint64Array
  readonly #freeSlots: number[] = []
  #nextSlot = 1
  readonly #slotsOfPage = new Map<number, number[]>()
  #size = 0

  constructor(core: Core, compiler: RegionCompiler) {
    this.#core = core
    this.#compiler = compiler
    this.#words = new Int32Array(core.memory.buffer)
    this.#bytes = new Uint8Array(core.memory.buffer)
    this.#view = new DataView(core.memory.buffer)
    this.#codeLines = new BigUint64Array(core.memory.buffer, core.layout.codeLines, core.layout.pageCount)
  }

  /** Compiled regions in use. */
  get size(): number {
    return this.#size
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
    for (const page of [...this.#slotsOfPage.keys()]) this.#freePage(page)
  }

  #release(): void {
    const count = this.#words[control.invalidatedLength / 4]
    const base = this.#core.layout.invalidated / 4
    for (let i = 0; i < count; i++) this.#freePage(this.#words[base + i])
    this.#words[control.invalidatedLength / 4] = 0
  }

  #freePage(page: number): void {
    const slots = this.#slotsOfPage.get(page)
    if (slots === undefined) return
    for (const slot of slots) {
      this.#core.exports.table.set(slot, null)
      this.#freeSlots.push(slot)
    }
    this.#size -= slots.length
    this.#slotsOfPage.delete(page)
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

  #install({ module, regions }: CompiledModule): void {
    const current = regions.filter((region) => this.#isCurrent(region))
    if (current.length === 0) return
    if (this.#freeSlots.length + FUNCTION_TABLE_SIZE - this.#nextSlot < current.length) {
      this.#dropAll()
      return
    }
    const { functions, memory, exports } = this.#core
    const instance = new WebAssembly.Instance(module, { core: { ...functions, memory } })
    let firstCodeOnPage = false
    for (const { page, mode, offset, lines, name } of current) {
      const slot = this.#freeSlots.pop() ?? this.#nextSlot++
      exports.table.set(slot, instance.exports[name])
      this.#words[(codeTableOf(this.#words, this.#core.layout, page, mode) + offset * 2) / 4] = slot
      const slots = this.#slotsOfPage.get(page)
      if (slots === undefined) this.#slotsOfPage.set(page, [slot])
      else slots.push(slot)
      this.#size++
      if (this.#codeLines[page] === 0n) firstCodeOnPage = true
      this.#codeLines[page] |= lines
    }
    // Stores to a page with code must be seen: it may have fast entries from before.
    if (firstCodeOnPage) exports.flushFastWrites()
  }

  /** Whether a region may be installed: its place waits for one, and its code is what was compiled. */
  #isCurrent(region: CompiledRegion): boolean {
    const table = codeTableOf(this.#words, this.#core.layout, region.page, region.mode)
    // All code was forgotten meanwhile.
    if (table === 0) return false
    const place = (table + region.offset * 2) / 4
    // Queued again after its page was overwritten, and compiled already.
    if (this.#words[place] > 0) return false
    if (this.#holds(region)) return true
    // Other code by now, which shall become hot by itself.
    this.#words[place] = 0
    return false
  }

  /** Whether memory still holds the bytes that were compiled. */
  #holds({ page, code, lines }: CompiledRegion): boolean {
    const start = this.#core.layout.ram + page * PAGE_BYTES
    for (let line = 0; line < PAGE_BYTES / CODE_LINE_BYTES; line++) {
      if (((lines >> BigInt(line)) & 1n) === 0n) continue
      const from = line * CODE_LINE_BYTES
      for (let at = from; at < from + CODE_LINE_BYTES; at++) {
        if (this.#bytes[start + at] !== code[at]) return false
      }
    }
    return true
  }
}
