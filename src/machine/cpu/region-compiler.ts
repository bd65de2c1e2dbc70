/** Who compiles regions, and when: the code cache asks, takes what is ready between two runs, and never waits. */
import { type CodePage, GuestCode } from './guest-code.ts'
import {
  CODE_TABLE_BYTES,
  fastTlb,
  type Layout,
  MODE_COUNT,
  PAGE_BYTES,
  TLB_ENTRIES,
  TLB_ENTRY_BYTES,
} from './layout.ts'
import {
  type CompiledModule,
  compileRegions,
  type RegionPlace,
  type RegionRequest,
  type RegionTarget,
} from './region-module.ts'

/**
 * Compiles at its leisure. What it gives back may be late, out of order or missing: the machine executes the same
 * instructions in the interpreter meanwhile, and looks whether the code is still what was compiled.
 */
export interface RegionCompiler {
  request(places: readonly RegionPlace[]): void
  /** A module that is ready, or null. */
  take(): CompiledModule | null
}

export interface CompilerSetup extends RegionTarget {
  /** The machine's memory; another thread raises `compiledReady` and `attention` in it when something is ready. */
  readonly memory: WebAssembly.Memory
}

/** Starts a compiler for one machine. */
export type StartCompiler = (setup: CompilerSetup) => RegionCompiler

/** Address of a page's code table, or 0 when it has none. */
export function codeTableOf(words: Int32Array, layout: Layout, page: number, mode: number): number {
  return words[(layout.pageCode + (mode * layout.pageCount + page) * 4) / 4]
}

/**
 * Copies what is to be compiled out of the machine's memory. The guest may be running: what is torn or old by the time
 * of installing is found out there. The copies are made in the same memory each time: at 12 KiB a page, hundreds of
 * megabytes would be left to the garbage collector while a machine warms up.
 */
export class RequestReader {
  readonly #setup: CompilerSetup
  readonly #words: Int32Array
  readonly #bytes: Uint8Array
  readonly #spare: CodePage[] = []
  readonly #read = new Map<number, CodePage>()

  constructor(setup: CompilerSetup) {
    this.#setup = setup
    this.#words = new Int32Array(setup.memory.buffer)
    this.#bytes = new Uint8Array(setup.memory.buffer)
  }

  /** Without those whose page has no code table any more. Valid until the next call. */
  read(places: readonly RegionPlace[]): RegionRequest[] {
    for (const page of this.#read.values()) this.#spare.push(page)
    this.#read.clear()
    return places.flatMap((place) => {
      const own = this.#page(place.page, place.mode)
      if (own === null) return []
      return [{ ...place, code: new GuestCode(own, place.offset, this.#neighboursOf(place)) }]
    })
  }

  #page(number: number, mode: number): CodePage | null {
    const { layout } = this.#setup
    const key = number * MODE_COUNT + mode
    const known = this.#read.get(key)
    if (known !== undefined) return known
    const table = codeTableOf(this.#words, layout, number, mode)
    if (table === 0) return null
    const page = this.#spare.pop() ?? {
      page: 0,
      code: new Uint8Array(PAGE_BYTES),
      heat: new Int32Array(CODE_TABLE_BYTES / 4),
    }
    page.page = number
    const start = layout.ram + number * PAGE_BYTES
    page.code.set(this.#bytes.subarray(start, start + PAGE_BYTES))
    page.heat.set(this.#words.subarray(table / 4, (table + CODE_TABLE_BYTES) / 4))
    this.#read.set(key, page)
    return page
  }

  /** Finds pages beside a place's by what the fast TLB of fetches says of them. */
  #neighboursOf({ page, mode }: RegionPlace): (distance: number) => CodePage | null {
    const { layout, memory } = this.#setup
    const base = fastTlb(mode, 'execute')
    const words = new Int32Array(memory.buffer, base, (TLB_ENTRIES * TLB_ENTRY_BYTES) / 4)
    const tags = new BigInt64Array(memory.buffer, base, (TLB_ENTRIES * TLB_ENTRY_BYTES) / 8)
    /** Number of the page of RAM behind a virtual one, if that is there. */
    const physical = (virtual: bigint): number | null => {
      const index = Number(BigInt.asUintN(8, virtual))
      if (tags[index * 2] !== virtual << 12n) return null
      const address = (Number(BigInt.asIntN(32, virtual << 12n)) + words[index * 4 + 2]) >>> 0
      return (address - layout.ram) / PAGE_BYTES
    }
    const own = Array.from({ length: TLB_ENTRIES }, (_, index) => tags[index * 2] >> 12n).find(
      (virtual) => physical(virtual) === page,
    )
    return (distance) => {
      const found = own === undefined ? null : physical(own + BigInt(distance))
      const isPage = found !== null && Number.isInteger(found) && found >= 0 && found < layout.pageCount
      return isPage ? this.#page(found, mode) : null
    }
  }
}

/** Compiles in the thread that asks, at once: for tests and for programs that are over before a thread has started. */
export class SynchronousCompiler implements RegionCompiler {
  readonly #setup: CompilerSetup
  readonly #reader: RequestReader
  readonly #ready: CompiledModule[] = []

  constructor(setup: CompilerSetup) {
    this.#setup = setup
    this.#reader = new RequestReader(setup)
  }

  request(places: readonly RegionPlace[]): void {
    const compiled = compileRegions(this.#setup, this.#reader.read(places))
    if (compiled !== null) this.#ready.push(compiled)
  }

  take(): CompiledModule | null {
    return this.#ready.shift() ?? null
  }
}
