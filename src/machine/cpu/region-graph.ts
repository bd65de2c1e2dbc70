/**
 * Finds the region of guest code that belongs to an entry point: the blocks reachable from it, with small callees.
 * What only the interpreter executes ends it, and so do pages of which nothing is known.
 *
 * A block lies in one page: fetches ask the fetch TLB whenever the page changes, on every path, so a region asks it
 * between blocks.
 */
import { expandCompressed } from './compressed.ts'
import { type GuestCode, inPage, pageOf } from './guest-code.ts'
import { inlineCalls } from './inlined-calls.ts'
import { decode, immediateOf } from './instruction-set.ts'
import { PAGE_BYTES } from './layout.ts'
import type { Instruction } from './semantics.ts'

/** A decoded instruction at a byte offset from the start of the entry's page; other pages are beside that one. */
export interface PlacedInstruction {
  readonly offset: number
  readonly length: 2 | 4
  readonly word: number
  readonly instruction: Instruction
  readonly immediate: number
}

/** A block is known by its offset and by the call that was inlined to get there; see inlined-calls.ts. */
export interface Place {
  readonly context: number
  readonly offset: number
}

/**
 * Where control goes at the end of a block. Offsets are relative to the page and may lie outside it; without a
 * context they are in the block's own.
 */
export type Terminator =
  | { readonly kind: 'fall'; readonly to: number }
  | { readonly kind: 'branch'; readonly taken: number; readonly otherwise: number }
  /** A jump without link, to a known place. */
  | { readonly kind: 'jump'; readonly to: number }
  /** A call, of a known place or null; control is expected back at `returnTo`. */
  | { readonly kind: 'call'; readonly target: number | null; readonly returnTo: number }
  /** A call whose callee is part of the region. */
  | { readonly kind: 'enter'; readonly to: Place }
  /** A return, in an inlined callee most likely to `to`. */
  | { readonly kind: 'return'; readonly to: Place | null }
  /** Jumps to a computed place, most likely one of those that the region's `switch` knows. */
  | { readonly kind: 'computed' }
  /** Where all computed jumps of a region meet: `targets` are places inside it where such jumps were seen to go. */
  | { readonly kind: 'switch'; readonly targets: readonly number[] }
  /** Leaves the region. */
  | { readonly kind: 'leave' }
  /** The next instruction is the interpreter's. */
  | { readonly kind: 'stop'; readonly at: number }

export interface Block extends Place {
  readonly instructions: readonly PlacedInstruction[]
  readonly terminator: Terminator
}

/**
 * Large functions cost more than proportionally to optimise (5,000 instructions took 8.6 s), and small ones lose
 * loops; between 300 and 500 was best.
 */
export const REGION_INSTRUCTIONS_MAX = 400

/** System instructions that only the interpreter executes: rare, or ending in its run loop. */
const INTERPRETED: ReadonlySet<string> = new Set([
  'ebreak',
  'mret',
  'wfi',
  'cbo.inval',
  'cbo.clean',
  'cbo.flush',
])

/** A read-modify-write of mip is more than reading and writing it. */
const MIP = 0x344

/**
 * The blocks of the region, the entry first. Empty when its first instruction is not one to compile.
 * Small callees that are known are part of it.
 *
 * Where control was hardly seen to go, the region ends. If it holds a computed jump that is no return,
 * places nearby where control arrives are taken for its targets, as the cases of a switch are: a wrong guess costs only code.
 */
export function findRegion(code: GuestCode, entry: number): Block[] {
  return inlineCalls(bodyFrom(code, entry, true), (target) =>
    code.isUsual(target) ? bodyFrom(code, target, false) : [],
  )
}

/** The blocks reachable from `entry` without the bodies of calls. */
function bodyFrom(code: GuestCode, entry: number, guesses: boolean): Block[] {
  const placed = explore(code, [entry])
  if (!placed.has(entry)) return []
  const hasComputedJump = [...placed.values()].some((one) => terminatorOf(one).kind === 'computed')
  const near = hasComputedJump && guesses ? nearTargets(code, entry) : []
  if (near.length === 0) return cutBlocks(code, entry, placed, leadersOf(entry, placed, []))
  const withTargets = explore(code, [entry, ...near])
  const targets = near.filter((t) => withTargets.has(t))
  return [
    ...cutBlocks(code, entry, withTargets, leadersOf(entry, withTargets, targets)),
    { context: 0, offset: SWITCH_OFFSET, instructions: [], terminator: { kind: 'switch', targets } },
  ]
}

/** Where the region's switch is: at no place, since instructions are at even ones, but in the entry's page, as its targets are. */
export const SWITCH_OFFSET = 1

/** Where control arrives near an entry point, but for places behind calls: there it arrives by returns. */
function nearTargets(code: GuestCode, entry: number): number[] {
  const isBehindCall = (offset: number): boolean =>
    [2, 4].some((length) => {
      const before = place(code, offset - length)
      return before?.length === length && terminatorOf(before).kind === 'call'
    })
  return code
    .usualNear(entry, SWITCH_SPAN_BYTES)
    .filter((offset) => !isBehindCall(offset))
    .slice(0, COMPUTED_TARGETS_MAX)
}

/** Cases of a switch lie close to it; further away other functions begin. */
const SWITCH_SPAN_BYTES = 1024
/** More targets than this make the region too large to be compiled soon. */
const COMPUTED_TARGETS_MAX = 32

function explore(code: GuestCode, from: readonly number[]): Map<number, PlacedInstruction> {
  const placed = new Map<number, PlacedInstruction>()
  const open = [...from]
  while (open.length > 0 && placed.size < REGION_INSTRUCTIONS_MAX) {
    let offset = open.shift() as number
    for (;;) {
      if (placed.has(offset) || placed.size >= REGION_INSTRUCTIONS_MAX) break
      const one = place(code, offset)
      if (one === null) break
      placed.set(offset, one)
      const next = offset + one.length
      if (one.instruction.uses.includes('flow')) {
        open.push(
          ...successors(one).filter((target) => {
            // Control that goes on behind a branch arrives nowhere, so it is not counted.
            const isBehind = target === next && one.instruction.immediate === 'B'
            return isBehind || code.isReached(target)
          }),
        )
        break
      }
      offset = next
    }
  }
  return placed
}

/** Where blocks must begin. */
function leadersOf(
  entry: number,
  placed: ReadonlyMap<number, PlacedInstruction>,
  targets: readonly number[],
): Set<number> {
  const leaders = new Set([entry, ...targets])
  for (const one of placed.values()) {
    const next = one.offset + one.length
    if (one.instruction.uses.includes('flow')) for (const target of successors(one)) leaders.add(target)
    else if (inPage(next) === 0) leaders.add(next)
  }
  return leaders
}

/** Decodes at an offset; null for what a region cannot hold: unknown pages, what lies in two, illegal or system instructions. */
function place(code: GuestCode, offset: number): PlacedInstruction | null {
  const page = code.page(pageOf(offset))
  if (page === null) return null
  const at = inPage(offset)
  const half = page.getUint16(at, true)
  const compressed = (half & 3) !== 3
  if (!compressed && at > PAGE_BYTES - 4) return null
  const word = compressed ? expandCompressed(half) | 0 : page.getInt32(at, true)
  const instruction = decode(word)
  if (instruction === null || INTERPRETED.has(instruction.name)) return null
  if (instruction.name.startsWith('csr') && word >>> 20 === MIP) return null
  if (instruction.uses.includes('rounding') && isReservedRounding(word)) return null
  return {
    offset,
    length: compressed ? 2 : 4,
    word,
    instruction,
    immediate: immediateOf(word, instruction.immediate),
  }
}

function isReservedRounding(word: number): boolean {
  const rounding = (word >>> 12) & 7
  return rounding === 5 || rounding === 6
}

/** Known places control may go to inside the region. */
function successors(one: PlacedInstruction): number[] {
  const terminator = terminatorOf(one)
  if (terminator.kind === 'branch') return [terminator.otherwise, terminator.taken]
  if (terminator.kind === 'jump') return [terminator.to]
  if (terminator.kind === 'call') return [terminator.returnTo]
  return []
}

function terminatorOf(one: PlacedInstruction): Terminator {
  const next = one.offset + one.length
  if (one.instruction.immediate === 'B') {
    return { kind: 'branch', taken: one.offset + one.immediate, otherwise: next }
  }
  const { name } = one.instruction
  if (isCall(one.word) && (name === 'jal' || name === 'jalr')) {
    return { kind: 'call', target: name === 'jal' ? one.offset + one.immediate : null, returnTo: next }
  }
  const links = ((one.word >>> 7) & 31) !== 0
  if (name === 'jal' && !links) return { kind: 'jump', to: one.offset + one.immediate }
  // A link through another register is a stub's: it goes to one place, which is not here.
  if (name === 'jalr' && !links)
    return ((one.word >>> 15) & 31) === RETURN_ADDRESS ? { kind: 'return', to: null } : { kind: 'computed' }
  return { kind: 'leave' }
}

/** Calls link through the registers that the specification has return-address stacks look at. */
export function isCall(jump: number): boolean {
  const link = (jump >>> 7) & 31
  return link === RETURN_ADDRESS || link === ALTERNATE_LINK
}

/** Returns use the registers that calls link through (The RISC-V Instruction Set Manual, Volume I, 2.5.1: hints for return-address stacks). */
export function isReturn(jalr: number): boolean {
  const from = (jalr >>> 15) & 31
  return from === RETURN_ADDRESS || from === ALTERNATE_LINK
}

const RETURN_ADDRESS = 1
const ALTERNATE_LINK = 5

function cutBlocks(
  code: GuestCode,
  entry: number,
  placed: ReadonlyMap<number, PlacedInstruction>,
  leaders: ReadonlySet<number>,
): Block[] {
  const blocks: Block[] = []
  const starts = [entry, ...[...leaders].filter((l) => l !== entry && placed.has(l)).sort((a, b) => a - b)]
  for (const start of starts) {
    const instructions: PlacedInstruction[] = []
    let offset = start
    let terminator: Terminator | null = null
    while (terminator === null) {
      const one = placed.get(offset)
      if (one === undefined) {
        const isBorder = instructions.length > 0 && pageOf(offset) !== pageOf(start)
        // Where the region is only full, what follows may become hot itself: long loops without a jump are many regions.
        const goesOn = isBorder || place(code, offset) !== null
        terminator = goesOn ? { kind: 'fall', to: offset } : { kind: 'stop', at: offset }
        break
      }
      instructions.push(one)
      offset += one.length
      if (one.instruction.uses.includes('flow')) terminator = terminatorOf(one)
      else if (leaders.has(offset) || pageOf(offset) !== pageOf(start))
        terminator = { kind: 'fall', to: offset }
    }
    blocks.push({ context: 0, offset: start, instructions, terminator })
  }
  return blocks
}
