/**
 * Seeded random programs that never trap and always end, made to differ between a right and a wrong CPU.
 *
 * A program is a tree of items, not a list of bytes, so that a failing one can be shrunk by dropping items. Five
 * registers, chosen anew for each program, hold the structure together and are never written by random
 * instructions: the base of the data area, a scratch register for addresses, two loop counters, a link register;
 * a sixth folds results and floating-point flags into a hash, since most results are overwritten before the end.
 */
import { nastyFloat, nastyInteger, Random } from '../../src/machine/cpu/isa-test/random.ts'
import { BRANCHES, ItemGenerator, type Roles, type RunKind } from './item-generator.ts'
import { DATA_BYTES, type Item, POOL_FLOATS, POOL_INTEGERS, type Program } from './program.ts'

const DEPTH_MAX = 3

/** What kinds of item a program is made of, as weights. */
export type Mix = { readonly [kind in RunKind | 'control']: number } & {
  /** Runs made by the caller: traps, mode changes, whatever is beyond plain programs. */
  readonly extra?: number
}

export const EVEN_MIX: Mix = {
  integer: 26,
  compressed: 16,
  floating: 26,
  memory: 14,
  atomic: 6,
  csr: 3,
  control: 9,
}

/** Makes runs of kinds that this file does not know. */
export type ExtraRun = (random: Random, generator: ItemGenerator) => Item

export interface ProgramOptions {
  readonly mix?: Mix
  readonly extra?: ExtraRun
  /** Registers fixed by the caller instead of chosen at random. */
  readonly roles?: Roles
  readonly reserved?: readonly number[]
}

export function randomProgram(seed: number, length: number, options: ProgramOptions = {}): Program {
  return new Generator(seed, options).program(length)
}

/** x8-x15 are all that compressed loads and stores can use as base: half of the programs use them so. */
function randomRoles(random: Random): Roles {
  const taken = new Set<number>()
  const take = (low: number, high: number) => {
    let register = random.between(low, high)
    while (taken.has(register)) register = random.between(low, high)
    taken.add(register)
    return register
  }
  const base = random.chance(50) ? take(8, 15) : take(1, 31)
  const scratch = random.chance(50) ? take(8, 15) : take(1, 31)
  return { base, scratch, counters: [take(1, 31), take(1, 31)], link: take(1, 31), hash: take(1, 31) }
}

class Generator {
  readonly #seed: number
  readonly #random: Random
  readonly #mix: Mix
  readonly #roles: Roles
  readonly #runs: ItemGenerator
  readonly #extra: ExtraRun | undefined

  constructor(seed: number, { mix = EVEN_MIX, extra, roles, reserved }: ProgramOptions) {
    this.#seed = seed
    this.#mix = mix
    this.#extra = extra
    this.#random = new Random(seed)
    this.#roles = roles ?? randomRoles(this.#random)
    this.#runs = new ItemGenerator(this.#random, this.#roles, reserved)
  }

  program(length: number): Program {
    const random = this.#random
    return {
      seed: this.#seed,
      baseRegister: this.#roles.base,
      items: this.#items(length, 0, false, 0),
      integers: Array.from({ length: 32 }, () => nastyInteger(random)),
      floats: Array.from({ length: 32 }, () => nastyFloat(random)),
      fcsr: random.below(32) | (random.below(5) << 5),
      pool: Array.from({ length: POOL_INTEGERS + POOL_FLOATS }, (_, n) =>
        n < POOL_INTEGERS ? nastyInteger(random) : nastyFloat(random),
      ),
      data: Uint8Array.from({ length: DATA_BYTES }, () =>
        random.chance(30) ? random.pick([0, 0xff, 0x80, 0x7f]) : random.below(256),
      ),
    }
  }

  #items(length: number, depth: number, inCall: boolean, loops: number): Item[] {
    const items: Item[] = []
    const weights = Object.entries(this.#mix) as [keyof Mix, number][]
    const total = weights.reduce((sum, [, weight]) => sum + weight, 0)
    for (let n = 0; n < length; n++) {
      let roll = this.#random.below(total)
      const kind = weights.find(([, weight]) => {
        roll -= weight
        return roll < 0
      })![0]
      if (kind === 'control') {
        if (depth < DEPTH_MAX) items.push(this.#control(depth, inCall, loops))
      } else if (kind === 'extra') {
        if (this.#extra !== undefined) items.push(this.#extra(this.#random, this.#runs))
      } else items.push(this.#runs.run(kind))
    }
    return items
  }

  #control(depth: number, inCall: boolean, loops: number): Item {
    const random = this.#random
    const roll = random.below(100)
    if (roll < 30 && loops < this.#roles.counters.length) {
      const counter = this.#roles.counters[loops]!
      return {
        kind: 'loop',
        counter,
        times: random.between(2, 5),
        items: this.#items(random.between(2, 12), depth + 1, inCall, loops + 1),
      }
    }
    if (roll < 45 && !inCall) {
      const items = this.#items(random.between(1, 8), depth + 1, true, loops)
      return {
        kind: 'call',
        link: this.#roles.link,
        scratch: this.#roles.scratch,
        indirect: random.chance(50),
        items,
      }
    }
    const inside = this.#items(random.between(0, 5), depth + 1, inCall, loops)
    const choice = random.below(100)
    if (choice < 70) {
      const operands = [this.#runs.source(), random.chance(25) ? 0 : this.#runs.source()]
      return { kind: 'skip', branch: { mnemonic: random.pick(BRANCHES), operands }, items: inside }
    }
    if (choice < 90) {
      const mnemonic = random.pick(['c.beqz', 'c.bnez'] as const)
      // Compressed branches reach 254 bytes: few items, and none that hold others.
      const near = inside.filter((item) => item.kind === 'run').slice(0, 3)
      return { kind: 'skip', branch: { mnemonic, operands: [random.between(8, 15)] }, items: near }
    }
    return {
      kind: 'skip',
      branch: { mnemonic: 'jal', operands: [random.chance(50) ? 0 : this.#runs.destination()] },
      items: inside,
    }
  }
}
