/**
 * Which accesses of a region are to the same page as one before them, so that one look-up serves them all: the slots of
 * a stack frame, the fields of a structure, the words of an unrolled loop.
 *
 * Accesses whose addresses differ by constants known here, and that nothing separates which could change a
 * translation, form a group. Its first access asks the TLB whether all bytes that the group touches lie in one
 * page that hits. If so, the others need not ask: an entry that hits stays until a miss evicts it. If not, or
 * after such a miss, each of them asks for itself.
 *
 * Knowledge is carried from a block to the blocks that only it leads to, not around loops and not past calls.
 */
import type { Structure } from './control-flow.ts'
import type { Block, PlacedInstruction } from './region-graph.ts'
import { integerFile } from './register-use.ts'

/** Reads and writes have TLBs of their own: a hit in one says nothing of the other. */
export type Direction = 'read' | 'write'

/** Accesses served by one look-up. Offsets are relative to the group's origin, a value some register had. */
export interface AccessGroup {
  readonly direction: Direction
  readonly origin: number
  /** Bytes the group touches: from `first` up to `end`. */
  first: number
  end: number
  /** Accesses beside the leader. */
  followers: number
  /** Groups known at the same place have different slots. */
  readonly slot: number
}

export interface PlannedAccess {
  readonly group: AccessGroup
  readonly isLeader: boolean
  /** Offset of the access from the group's origin. */
  readonly offset: number
  /** Other groups of the same direction that are known here: a miss of this access may evict what they rely on. */
  readonly others: readonly AccessGroup[]
}

/** A longer group would more often straddle two pages, and then its look-up is for nothing. */
const GROUP_BYTES_MAX = 512
/** More groups known at a time than this occupy more registers of the host than their look-ups cost. */
const GROUPS_KNOWN_MAX = 6

/**
 * How each load and store of the region is to find its page: for each block, by the instruction's place in it. An
 * instruction may be part of several blocks.
 */
export function planAccesses(
  blocks: readonly Block[],
  structure: Structure,
): readonly (readonly (PlannedAccess | null)[])[] {
  const plan: (PlannedAccess | null)[][] = blocks.map(() => [])
  let origins = 0
  const newOrigin = (): number => origins++
  const visit = (node: number, known: Knowledge): void => {
    const block = blocks[node]
    plan[node] = block.instructions.map((one) => known.step(one))
    const ends = block.terminator.kind === 'call'
    for (const child of structure.children[node]) {
      const isFresh = ends || structure.isMerge[child] || structure.isLoopHeader[child]
      visit(child, isFresh ? new Knowledge(newOrigin) : known.copy())
    }
  }
  visit(0, new Knowledge(newOrigin))
  return plan
}

/** What is known where an instruction begins: registers as constants added to origins, and the groups. */
class Knowledge {
  readonly #newOrigin: () => number
  readonly #origin: number[]
  readonly #offset: number[]
  #groups: AccessGroup[]

  constructor(newOrigin: () => number, from?: Knowledge) {
    this.#newOrigin = newOrigin
    this.#origin = from === undefined ? new Array<number>(32).fill(-1) : from.#origin.slice()
    this.#offset = from === undefined ? new Array<number>(32).fill(0) : from.#offset.slice()
    this.#groups = from === undefined ? [] : from.#groups.slice()
  }

  copy(): Knowledge {
    return new Knowledge(this.#newOrigin, this)
  }

  /** Goes past an instruction. */
  step(one: PlacedInstruction): PlannedAccess | null {
    const access = accessOf(one)
    const planned = access === null ? null : this.#place(one, access)
    if (access === null && mayChangeTranslations(one)) this.#groups = []
    this.#follow(one)
    return planned
  }

  #follow(one: PlacedInstruction): void {
    const written = integerFile.written(one)
    if (written === 0) return
    const rd = (one.word >>> 7) & 31
    const sum = sumOf(one)
    if (sum === null) {
      this.#origin[rd] = -1
      return
    }
    const origin = this.#originOf(sum.register)
    this.#offset[rd] = this.#offset[sum.register] + sum.addend
    this.#origin[rd] = origin
  }

  #place(one: PlacedInstruction, { direction, bytes }: MemoryAccess): PlannedAccess {
    const base = (one.word >>> 15) & 31
    const origin = this.#originOf(base)
    const offset = this.#offset[base] + one.immediate
    const end = offset + bytes
    const rivals = this.#groups.filter((g) => g.direction === direction)
    const own = rivals.find(
      (g) => g.origin === origin && Math.max(g.end, end) - Math.min(g.first, offset) <= GROUP_BYTES_MAX,
    )
    if (own !== undefined) {
      own.first = Math.min(own.first, offset)
      own.end = Math.max(own.end, end)
      own.followers++
      return { group: own, isLeader: false, offset, others: rivals.filter((g) => g !== own) }
    }
    if (this.#groups.length === GROUPS_KNOWN_MAX) this.#groups.shift()
    const group = { direction, origin, first: offset, end, followers: 0, slot: this.#freeSlot() }
    this.#groups.push(group)
    return { group, isLeader: true, offset, others: rivals }
  }

  #originOf(register: number): number {
    if (this.#origin[register] === -1) {
      this.#origin[register] = this.#newOrigin()
      this.#offset[register] = 0
    }
    return this.#origin[register]
  }

  #freeSlot(): number {
    for (let slot = 0; ; slot++) if (!this.#groups.some((g) => g.slot === slot)) return slot
  }
}

interface MemoryAccess {
  readonly direction: Direction
  readonly bytes: number
}

const OPCODE = { load: 0x03, loadFloat: 0x07, store: 0x23, storeFloat: 0x27, atomic: 0x2f } as const

/** Plain loads and stores of both register files; atomics are none of this module's. */
function accessOf({ word }: PlacedInstruction): MemoryAccess | null {
  const bytes = 1 << ((word >>> 12) & 3)
  switch (word & 0x7f) {
    case OPCODE.load:
    case OPCODE.loadFloat:
      return { direction: 'read', bytes }
    case OPCODE.store:
    case OPCODE.storeFloat:
      return { direction: 'write', bytes }
    default:
      return null
  }
}

/** Control registers, fences, and accesses that may miss, other than plain ones, whose misses are followed. Atomics that miss are the interpreter's. */
function mayChangeTranslations({ word, instruction }: PlacedInstruction): boolean {
  return (
    instruction.uses.includes('system') ||
    (instruction.uses.includes('memory') && (word & 0x7f) !== OPCODE.atomic)
  )
}

/** For an instruction that only adds a constant to a register, or copies one. */
function sumOf({
  instruction,
  word,
  immediate,
}: PlacedInstruction): { register: number; addend: number } | null {
  const rs1 = (word >>> 15) & 31
  if (instruction.name === 'addi') return { register: rs1, addend: immediate }
  if (instruction.name === 'add' && rs1 === 0) return { register: (word >>> 20) & 31, addend: 0 }
  return null
}
