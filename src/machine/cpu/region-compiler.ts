/** Who compiles regions, and when: the code cache asks, takes what is ready between two runs, and never waits. */
import { CODE_TABLE_BYTES, type Layout, PAGE_BYTES } from './layout.ts'
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
 * Copies what is to be compiled out of the machine's memory; null when its page has no code table any more. The guest
 * may be running: what is torn or old by the time of installing is found out there.
 */
export function readRequest({ layout, memory }: CompilerSetup, place: RegionPlace): RegionRequest | null {
  const words = new Int32Array(memory.buffer)
  const table = codeTableOf(words, layout, place.page, place.mode)
  if (table === 0) return null
  const start = layout.ram + place.page * PAGE_BYTES
  return {
    ...place,
    code: new Uint8Array(memory.buffer).slice(start, start + PAGE_BYTES),
    heat: words.slice(table / 4, (table + CODE_TABLE_BYTES) / 4),
  }
}

/** Compiles in the thread that asks, at once: for tests and for programs that are over before a thread has started. */
export class SynchronousCompiler implements RegionCompiler {
  readonly #setup: CompilerSetup
  readonly #ready: CompiledModule[] = []

  constructor(setup: CompilerSetup) {
    this.#setup = setup
  }

  request(places: readonly RegionPlace[]): void {
    const requests = places.map((place) => readRequest(this.#setup, place)).filter((read) => read !== null)
    const compiled = compileRegions(this.#setup, requests)
    if (compiled !== null) this.#ready.push(compiled)
  }

  take(): CompiledModule | null {
    return this.#ready.shift() ?? null
  }
}
