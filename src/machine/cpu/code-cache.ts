/**
 * Compiles hot entry points and keeps what is compiled: which table slot holds which region, which page it came
 * from. When code is overwritten the core forgets the entry points at once; here the functions are let go.
 */
import { ModuleBuilder } from '../../wasm/module.ts'
import { type Core, FUNCTION_TABLE_SIZE } from './core.ts'
import { coreSignatures, REGION_PARAMS, REGION_RESULTS } from './core-functions.ts'
import { CODE_LINE_BYTES, control, MODE, PAGE_BYTES, QUEUE_ENTRY_BYTES } from './layout.ts'
import { emitRegion } from './region-emitter.ts'
import { type Block, findRegion } from './region-graph.ts'

/** Functions of the core that any region may call. */
const IMPORTED = [
  'dispatch',
  'loadSlow',
  'storeSlow',
  'zeroSlow',
  'readCsr',
  'writeCsr',
  'trap',
  'returnFromSupervisor',
  'fence',
] as const

/** Visits that make a place count as a target of computed jumps nearby. */
const ARRIVALS_MIN = 8

interface Candidate {
  readonly page: number
  readonly offset: number
  readonly mode: number
  readonly blocks: readonly Block[]
}

export class CodeCache {
  readonly #core: Core
  readonly #words: Int32Array
  readonly #view: DataView
  readonly #codeLines: BigUint64Array
  readonly #freeSlots: number[] = []
  #nextSlot = 1
  readonly #slotsOfPage = new Map<number, number[]>()
  #size = 0

  constructor(core: Core) {
    this.#core = core
    this.#words = new Int32Array(core.memory.buffer)
    this.#view = new DataView(core.memory.buffer)
    this.#codeLines = new BigUint64Array(core.memory.buffer, core.layout.codeLines, core.layout.pageCount)
  }

  /** Compiled regions in use. */
  get size(): number {
    return this.#size
  }

  /** Called between runs of the core: lets go of overwritten code, compiles what became hot. */
  maintain(): void {
    if (this.#words[control.codeDropped / 4] !== 0) this.#dropAll()
    if (this.#words[control.invalidatedLength / 4] !== 0) this.#release()
    if (this.#words[control.queueLength / 4] !== 0) this.#compileQueue()
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

  #compileQueue(): void {
    const count = this.#words[control.queueLength / 4]
    this.#words[control.queueLength / 4] = 0
    const candidates: Candidate[] = []
    for (let i = 0; i < count; i++) {
      const candidate = this.#candidate(this.#core.layout.queue + i * QUEUE_ENTRY_BYTES)
      if (candidate !== null) candidates.push(candidate)
    }
    if (candidates.length === 0) return
    if (this.#freeSlots.length + FUNCTION_TABLE_SIZE - this.#nextSlot < candidates.length) {
      this.#words[control.codeDropped / 4] = 1
      this.#dropAll()
      return
    }
    this.#install(candidates)
  }

  #candidate(entry: number): Candidate | null {
    const { layout } = this.#core
    const at = this.#view.getUint32(entry + 8, true)
    const mode = this.#view.getInt32(entry + 12, true)
    // Code of mode `other` runs under permissions that change with the status register: interpreted.
    if (mode === MODE.other) return null
    const page = Math.floor((at - layout.ram) / PAGE_BYTES)
    const offset = (at - layout.ram) % PAGE_BYTES
    const code = new DataView(this.#core.memory.buffer, layout.ram + page * PAGE_BYTES, PAGE_BYTES)
    const blocks = findRegion(code, offset, this.#arrivals(page, mode))
    return blocks.length === 0 ? null : { page, offset, mode, blocks }
  }

  /** Offsets in a page at which control arrived now and then. */
  #arrivals(page: number, mode: number): number[] {
    const { layout } = this.#core
    const table = this.#words[(layout.pageCode + (mode * layout.pageCount + page) * 4) / 4]
    if (table === 0) return []
    const found: number[] = []
    for (let offset = 0; offset < PAGE_BYTES; offset += 2) {
      const entry = this.#words[(table + offset * 2) / 4]
      if (entry > 0 || entry <= -ARRIVALS_MIN) found.push(offset)
    }
    return found
  }

  #install(candidates: readonly Candidate[]): void {
    const module = new ModuleBuilder()
    const { layout } = this.#core
    const usesFloat = candidates.some((c) =>
      c.blocks.some((b) => b.instructions.some((i) => i.instruction.uses.includes('float'))),
    )
    const indices = new Map([
      ...IMPORTED.map((name): [string, number] => {
        const [params, results] = coreSignatures[name]
        return [name, module.importFunction('core', name, params, results)]
      }),
    ])
    if (usesFloat) {
      for (const { name, params, results } of this.#core.floatFunctions) {
        indices.set(name, module.importFunction('core', name, params, results))
      }
    }
    module.importMemory('core', 'memory', layout.wasmPages, layout.wasmPages)
    const library = {
      functionIndex: (name: string): number => {
        const index = indices.get(name)
        if (index === undefined) throw new Error(`regions do not import '${name}'`)
        return index
      },
    }
    candidates.forEach((c, i) => {
      const { body } = module.function(REGION_PARAMS, REGION_RESULTS, `r${i}`)
      emitRegion(
        body,
        { library, layout, mode: c.mode, pageAddress: layout.ram + c.page * PAGE_BYTES },
        c.blocks,
      )
    })
    const instance = new WebAssembly.Instance(new WebAssembly.Module(module.finish()), {
      core: { ...this.#core.functions, memory: this.#core.memory },
    })
    let firstCodeOnPage = false
    candidates.forEach((c, i) => {
      const table = this.#words[(layout.pageCode + (c.mode * layout.pageCount + c.page) * 4) / 4]
      if (table === 0) return
      const slot = this.#freeSlots.pop() ?? this.#nextSlot++
      this.#core.exports.table.set(slot, instance.exports[`r${i}`])
      this.#words[(table + c.offset * 2) / 4] = slot
      const slots = this.#slotsOfPage.get(c.page)
      if (slots === undefined) this.#slotsOfPage.set(c.page, [slot])
      else slots.push(slot)
      this.#size++
      if (this.#codeLines[c.page] === 0n) firstCodeOnPage = true
      this.#codeLines[c.page] |= linesOf(c.blocks)
    })
    // Stores to a page with code must be seen: it may have fast entries from before.
    if (firstCodeOnPage) this.#core.exports.flushFastWrites()
  }
}

/** The code mask of a page: a bit for each line that holds an instruction. */
function linesOf(blocks: readonly Block[]): bigint {
  let low = 0
  let high = 0
  const mark = (line: number): void => {
    if (line < 32) low |= 1 << line
    else high |= 1 << (line - 32)
  }
  for (const block of blocks) {
    for (const one of block.instructions) {
      mark(Math.floor(one.offset / CODE_LINE_BYTES))
      mark(Math.floor((one.offset + one.length - 1) / CODE_LINE_BYTES))
    }
  }
  return BigInt(low >>> 0) | (BigInt(high >>> 0) << 32n)
}
