/** Who compiles regions, and when: the code cache asks, takes what is ready between two runs, and never waits. */
import {
  type CompiledModule,
  compileRegions,
  type RegionRequest,
  type RegionTarget,
} from './region-module.ts'

/**
 * Compiles at its leisure. What it gives back may be late, out of order or missing: the machine executes the same
 * instructions in the interpreter meanwhile, and looks whether the code is still what was compiled.
 */
export interface RegionCompiler {
  request(requests: readonly RegionRequest[]): void
  /** A module that is ready, or null. */
  take(): CompiledModule | null
}

export interface CompilerSetup extends RegionTarget {
  /** The machine's memory; another thread raises `compiledReady` and `attention` in it when something is ready. */
  readonly memory: WebAssembly.Memory
}

/** Starts a compiler for one machine. */
export type StartCompiler = (setup: CompilerSetup) => RegionCompiler

/** Compiles in the thread that asks, at once: for tests and for programs that are over before a thread has started. */
export class SynchronousCompiler implements RegionCompiler {
  readonly #target: RegionTarget
  readonly #ready: CompiledModule[] = []

  constructor(target: RegionTarget) {
    this.#target = target
  }

  request(requests: readonly RegionRequest[]): void {
    const compiled = compileRegions(this.#target, requests)
    if (compiled !== null) this.#ready.push(compiled)
  }

  take(): CompiledModule | null {
    return this.#ready.shift() ?? null
  }
}
