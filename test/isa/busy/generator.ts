/**
 * Makes busy programs: functions that call only later ones, so that every program ends, and so few instructions in
 * each that the cost of a whole iteration stays bounded.
 */
import { STATUS } from '../../../src/machine/cpu/isa-test/privileged.ts'
import { nastyFloat, nastyInteger, Random } from '../../../src/machine/cpu/isa-test/random.ts'
import { BRANCHES, ItemGenerator, type RunKind } from '../item-generator.ts'
import { DATA_BYTES, type Instruction, POOL_FLOATS, POOL_INTEGERS } from '../program.ts'
import {
  ALIASES,
  CODE_BYTES,
  EDITS,
  FUNCTIONS_OFFSET,
  PAGE_BYTES,
  REGISTER,
  regionOf,
  SERVICE,
} from './layout.ts'
import { MACHINE_STEP_COST, MachineSteps } from './machine-steps.ts'
import type { BusyFunction, BusyProgram, Flavour, FunctionKind, Step } from './program.ts'
import { FLOW_WORDS, functionBytes, HARMLESS } from './step-words.ts'
import { randomEdit, randomOwnEdit } from './tables.ts'

const FUNCTIONS_MAX = 18
/** No more functions once there is so much code: the last one and main must fit as well. */
const CODE_BYTES_AIM = CODE_BYTES / 2
const DEPTH_MAX = 3
/** Instructions that one call of a function may take, its callees included. */
const FUNCTION_COST_MAX = 1500
const MAIN_COST_MAX = 4000
/** Instructions that a program takes, as far as can be told beforehand. */
const PROGRAM_COST = 60_000
const ITERATIONS_MAX = 400
/** Deeper than compiled code nests calls. */
const DEEP = 450
const PATCH_AHEAD_PERCENT = 6
const ILLEGAL_WORDS = [0xffff_ffff, 0x0000_0000, 0x0000_1067, 0x0200_101b, 0x7e00_0033]
const RUNS: readonly RunKind[] = [
  'integer',
  'integer',
  'compressed',
  'compressed',
  'memory',
  'memory',
  'floating',
  'atomic',
  'csr',
]

export function busyProgram(seed: number, slot: number, flavour: Flavour): BusyProgram {
  return new Generator(seed, slot, flavour).program()
}

interface Draft {
  readonly kind: FunctionKind
  readonly link: number
  readonly steps: readonly Step[]
  readonly skewed: boolean
  readonly tail: number | null
  readonly cost: number
}

class Generator {
  readonly #seed: number
  readonly #slot: number
  readonly #flavour: Flavour
  readonly #random: Random
  readonly #runs: ItemGenerator
  readonly #machine: MachineSteps
  readonly #region: number
  /** The one that main runs in. */
  readonly #alias: number
  /** Later functions, made before the ones that call them; by number. */
  readonly #drafts: Draft[] = []
  #points = 0
  /** Cost of the function being made, and how often its present place is executed in one call. */
  #cost = 0
  #times = 1
  #costMax = 0
  /** The number of the function being made, counted from the last one. */
  #kind: FunctionKind = 'leaf'

  constructor(seed: number, slot: number, flavour: Flavour) {
    this.#seed = seed
    this.#slot = slot
    this.#flavour = flavour
    this.#random = new Random(seed)
    this.#alias = this.#random.below(ALIASES.length)
    this.#region = regionOf(slot)
    const { return: link, base, scratch, hash, ...others } = REGISTER
    const [outer, inner] = REGISTER.counters
    const reserved = Object.values(others).flat()
    this.#runs = new ItemGenerator(
      this.#random,
      { base, scratch, counters: [outer!, inner!], link, hash },
      reserved,
    )
    this.#machine = new MachineSteps(this.#random, this.#runs, this.#region, this.#alias, flavour)
  }

  program(): BusyProgram {
    const random = this.#random
    const count = random.between(6, FUNCTIONS_MAX)
    let bytes = 0
    while (this.#drafts.length < count && bytes < CODE_BYTES_AIM) {
      const draft = this.#function()
      this.#drafts.push(draft)
      bytes += functionBytes(draft.steps)
    }
    const main = this.#main()
    // Made from the last to the first, and main comes before the first.
    const number = (draft: number) => this.#drafts.length - draft
    const drafts = [main, ...this.#drafts.toReversed()]
    const offsets = this.#place(drafts)
    const functions = drafts.map(
      ({ kind, link, steps, skewed, tail }, n): BusyFunction => ({
        kind,
        link,
        offset: offsets[n]!,
        steps: renumber(steps, number),
        skewed,
        tail: tail === null ? null : number(tail),
      }),
    )
    return {
      seed: this.#seed,
      flavour: this.#flavour,
      slot: this.#slot,
      functions,
      iterations: Math.max(3, Math.min(ITERATIONS_MAX, Math.floor(PROGRAM_COST / main.cost))),
      alias: this.#alias,
      edits: Array.from({ length: EDITS }, () =>
        randomEdit(random, this.#region, this.#alias, this.#flavour),
      ),
      memorySeed: random.u32(),
      ...this.#privileges(),
      integers: Array.from({ length: 32 }, () => nastyInteger(random)),
      floats: Array.from({ length: 32 }, () => nastyFloat(random)),
      fcsr: random.below(32) | (random.below(5) << 5),
      pool: Array.from({ length: POOL_INTEGERS + POOL_FLOATS }, (_, n) =>
        n < POOL_INTEGERS ? nastyInteger(random) : nastyFloat(random),
      ),
      data: Uint8Array.from({ length: DATA_BYTES }, () => random.below(256)),
    }
  }

  /** Page faults, refused instructions and calls from U-mode go to S-mode or not; so does the software interrupt. */
  #privileges(): { medeleg: number; mideleg: number; status: bigint } {
    const random = this.#random
    const delegated = [1, 2, 3, 5, 7, 8, 12, 13, 15].filter(() => random.chance(60))
    return {
      medeleg: delegated.reduce((bits, cause) => bits | (1 << cause), 0),
      mideleg: random.pick([0, 0x2, 0x22]),
      status:
        (random.pick([1n, 2n, 3n]) * (STATUS.fs & -STATUS.fs)) |
        (random.chance(50) ? STATUS.spie | STATUS.sie : 0n) |
        (random.chance(50) ? STATUS.mpie | STATUS.mie : 0n) |
        (random.chance(20) ? STATUS.sum : 0n) |
        (random.chance(20) ? STATUS.mxr : 0n),
    }
  }

  /** Offsets in the code: in random order, many at the end of a page, so that they and their instructions cross it. */
  #place(drafts: readonly Draft[]): number[] {
    const random = this.#random
    const offsets: number[] = []
    const order = drafts.map((_, n) => ({ n, key: random.u32() })).sort((a, b) => a.key - b.key)
    let left = drafts.reduce((bytes, { steps }) => bytes + functionBytes(steps), 0)
    let at = FUNCTIONS_OFFSET
    for (const { n } of order) {
      const bytes = functionBytes(drafts[n]!.steps)
      const room = CODE_BYTES - at - left
      const toEnd = PAGE_BYTES - (at % PAGE_BYTES) - 2 * random.between(1, 40)
      if (random.chance(50) && toEnd > 0 && toEnd < room) at += toEnd
      else at += 2 * random.below(Math.max(1, Math.min(room, 200) / 2))
      offsets[n] = at
      at += bytes + (bytes & 1)
      left -= bytes
    }
    return offsets
  }

  #begin(kind: FunctionKind, costMax: number): void {
    this.#kind = kind
    this.#cost = 12
    this.#times = 1
    this.#costMax = costMax
  }

  #function(): Draft {
    const random = this.#random
    const roll = random.below(100)
    const kind = roll < 20 ? 'leaf' : roll < 32 ? 'recursive' : 'plain'
    this.#begin(kind, kind === 'recursive' ? 60 : FUNCTION_COST_MAX)
    const steps = this.#steps(random.between(2, kind === 'plain' ? 9 : 5), 0, 0)
    const tails = this.#callees(['plain'])
    const tail = kind === 'plain' && random.chance(20) && tails.length > 0 ? random.pick(tails) : null
    if (tail !== null) this.#cost += this.#drafts[tail]!.cost
    return {
      kind,
      link: kind === 'leaf' && random.chance(50) ? REGISTER.leafLink : REGISTER.return,
      steps,
      skewed: tail === null && random.chance(20),
      tail,
      cost: this.#cost,
    }
  }

  #main(): Draft {
    this.#begin('main', MAIN_COST_MAX)
    const steps = this.#steps(this.#random.between(4, 10), 0, 0)
    // Every program calls something, often the functions that call most.
    for (let n = 0; n < 3; n++) {
      const callees = this.#callees(['plain', 'leaf'])
      const callee = callees.at(-1 - n)
      if (callee !== undefined) steps.push(this.#invoke(callee))
    }
    return { kind: 'main', link: REGISTER.return, steps, skewed: false, tail: null, cost: this.#cost }
  }

  /** Numbers of drafts of these kinds that can be called without passing the bound of costs. */
  #callees(kinds: readonly FunctionKind[]): number[] {
    return this.#drafts.flatMap(({ kind, cost }, n) =>
      kinds.includes(kind) && this.#cost + this.#times * cost <= this.#costMax ? [n] : [],
    )
  }

  #steps(length: number, depth: number, loops: number): Step[] {
    const steps: Step[] = []
    for (let n = 0; n < length; n++) {
      const step = this.#random.chance(45) ? this.#plain() : this.#special(depth, loops)
      if (step !== null) steps.push(step)
      if (!this.#random.chance(PATCH_AHEAD_PERCENT)) continue
      // What it rewrites comes right behind it, in its own block.
      steps.push(this.#patch(this.#points))
      if (this.#random.chance(50)) steps.push(this.#plain())
      steps.push(this.#point(this.#points++))
    }
    return steps
  }

  #plain(): Step {
    const instructions: Instruction[] = []
    for (let n = this.#random.between(1, 3); n > 0; n--) {
      const item = this.#runs.run(this.#random.pick(RUNS))
      if (item.kind !== 'run') continue
      // A trap on the way may make an SC fail, and does in QEMU.
      const isFragile = item.instructions.some(({ mnemonic }) => mnemonic.startsWith('sc.'))
      if (!isFragile || this.#flavour === 'engines') instructions.push(...item.instructions)
    }
    this.#cost += this.#times * instructions.length
    return { kind: 'run', instructions }
  }

  #special(depth: number, loops: number): Step | null {
    const random = this.#random
    const nested = depth < DEPTH_MAX
    const calls = this.#kind !== 'leaf' && this.#kind !== 'recursive'
    const roll = random.below(100)
    if (roll < 14) return this.#point(this.#points++)
    if (roll < 24) return nested ? this.#structure(depth, loops, calls) : null
    if (roll < 40) return calls ? this.#someCall() : null
    if (roll < 74) {
      if (!nested) return null
      const bits = random.between(1, 5)
      const outside = this.#times
      this.#times /= 2 ** bits
      const inside = random.chance(70) ? this.#event() : null
      const steps = inside === null ? this.#steps(random.between(1, 3), depth + 1, loops) : [inside]
      this.#times = outside
      this.#cost += this.#times * 5
      return { kind: 'sometimes', bits, steps }
    }
    if (roll < 83) return this.#charged(this.#machine.window())
    if (roll < 88) return this.#patch()
    if (roll < 90) return this.#charged(this.#machine.status())
    if (roll < 95) return this.#charged(this.#machine.translation())
    return this.#charged(this.#machine.service())
  }

  #charged(step: Step): Step {
    this.#cost += this.#times * MACHINE_STEP_COST
    return step
  }

  /** What happens now and then: an edit, a patch, a change of space, a trap, a throw. */
  #event(): Step {
    const random = this.#random
    this.#cost += this.#times * 60
    const roll = random.below(100)
    if (roll < 30) return { kind: 'service', service: SERVICE.edit, value: null }
    if (roll < 42)
      return { kind: 'edit', edit: randomOwnEdit(random, this.#region, this.#alias, this.#flavour) }
    if (roll < 62) return this.#patch()
    if (roll < 74) return { kind: 'throw' }
    if (roll < 78) return this.#charged(this.#machine.translation())
    if (roll < 83) return { kind: 'service', service: SERVICE.switchSpace, value: 0 }
    if (roll < 88) return { kind: 'word', word: random.pick(ILLEGAL_WORDS) }
    return this.#charged(this.#machine.service())
  }

  #structure(depth: number, loops: number, calls: boolean): Step {
    const random = this.#random
    const roll = random.below(100)
    if (roll < 25 && loops < 2 && (calls || this.#kind === 'leaf') && this.#kind !== 'leaf') {
      const times = random.between(2, 9)
      this.#times *= times
      const steps = this.#steps(random.between(1, 4), depth + 1, loops + 1)
      this.#times /= times
      return { kind: 'loop', counter: REGISTER.counters[loops]!, times, steps }
    }
    if (roll < 50) {
      const cases = Array.from({ length: random.between(2, 6) }, () =>
        this.#steps(random.between(0, 2), depth + 1, loops),
      )
      this.#cost += this.#times * 10
      return { kind: 'choice', cases }
    }
    if (roll < 65 && calls) {
      this.#cost += this.#times * 24
      return { kind: 'catch', steps: this.#steps(random.between(2, 4), depth + 1, loops) }
    }
    const operands = [this.#runs.source(), random.chance(25) ? 0 : this.#runs.source()]
    return {
      kind: 'skip',
      branch: { mnemonic: random.pick(BRANCHES), operands },
      steps: this.#steps(random.between(1, 3), depth + 1, loops),
    }
  }

  #someCall(): Step | null {
    const random = this.#random
    const roll = random.below(100)
    if (roll < 12) {
      const callees = this.#callees(['recursive'])
      if (callees.length === 0) return null
      const callee = random.pick(callees)
      const each = this.#drafts[callee]!.cost + 8
      const room = Math.floor((this.#costMax - this.#cost) / (each * this.#times))
      const deep = this.#kind === 'main' && random.chance(30)
      const depth = deep ? DEEP + random.below(100) : Math.min(room, random.between(1, 30))
      if (depth < 1) return null
      this.#cost += this.#times * depth * each
      return { kind: 'recurse', callee, depth }
    }
    if (roll < 40) {
      const callees = this.#callees(['plain'])
      if (callees.length === 0) return null
      const callee = random.pick(callees)
      this.#cost += this.#times * (this.#drafts[callee]!.cost + 120)
      return { kind: 'far', callee, alias: random.below(ALIASES.length) }
    }
    const callees = this.#callees(['plain', 'leaf'])
    return callees.length === 0 ? null : this.#invoke(random.pick(callees))
  }

  #invoke(callee: number): Step {
    this.#cost += this.#times * (this.#drafts[callee]!.cost + 5)
    const how = this.#random.pick(['direct', 'direct', 'computed', 'sibling'] as const)
    return { kind: 'invoke', callee, how }
  }

  #point(point: number): Step {
    const word = (): number =>
      this.#random.chance(85)
        ? this.#random.pick(HARMLESS)(this.#random.between(-2048, 2047))
        : this.#random.pick(FLOW_WORDS)
    this.#cost += this.#times
    return { kind: 'point', point, words: [word(), word()] }
  }

  #patch(ahead?: number): Step {
    const random = this.#random
    const point = ahead ?? random.below(this.#points + 1)
    const varies = random.chance(70)
    this.#cost += this.#times * 12
    return {
      kind: 'patch',
      point,
      word: varies ? random.pick(HARMLESS)(0) : random.pick(FLOW_WORDS),
      varies,
      fenced: this.#flavour === 'qemu' || random.chance(30),
    }
  }
}

/** Calls name their callee by draft at first. */
function renumber(steps: readonly Step[], number: (draft: number) => number): Step[] {
  return steps.map((step): Step => {
    switch (step.kind) {
      case 'invoke':
      case 'recurse':
      case 'far':
        return { ...step, callee: number(step.callee) }
      case 'skip':
      case 'loop':
      case 'sometimes':
      case 'catch':
        return { ...step, steps: renumber(step.steps, number) }
      case 'choice':
        return { ...step, cases: step.cases.map((steps) => renumber(steps, number)) }
      default:
        return step
    }
  })
}
