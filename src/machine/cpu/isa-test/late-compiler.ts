/**
 * A compiler whose timing is chance: what was asked for becomes ready after any number of looks, in any order, or
 * never. The machine must come to the same state as without it.
 */
import { type CompilerSetup, type RegionCompiler, SynchronousCompiler } from '../region-compiler.ts'
import type { CompiledModule, RegionPlace } from '../region-module.ts'
import type { Random } from './random.ts'

/** How often a look finds something that is there. */
const READY_PERCENT = 30
const LOST_PERCENT = 5

export class LateCompiler implements RegionCompiler {
  readonly #inner: SynchronousCompiler
  readonly #random: Random
  #waiting: CompiledModule[] = []

  constructor(setup: CompilerSetup, random: Random) {
    this.#inner = new SynchronousCompiler(setup)
    this.#random = random
  }

  request(places: readonly RegionPlace[]): void {
    this.#inner.request(places)
    for (let ready = this.#inner.take(); ready !== null; ready = this.#inner.take()) {
      if (!this.#random.chance(LOST_PERCENT)) this.#waiting.push(ready)
    }
  }

  take(): CompiledModule | null {
    if (this.#waiting.length === 0 || !this.#random.chance(READY_PERCENT)) return null
    const taken = this.#random.pick(this.#waiting)
    this.#waiting = this.#waiting.filter((one) => one !== taken)
    return taken
  }
}
