/**
 * Which registers of a region must be loaded into their locals, and which must be stored back, where.
 *
 * A register is *dirty* where its local may hold another value than memory, because some way from the entry, or from
 * the last call, wrote it. It is *live* where its local will be read before it is written: by an instruction, or by
 * an exit or call that stores it because it may be dirty there. What is live at the entry is loaded there, what is
 * live after a call is loaded again; every other local holds nothing of interest.
 */
import type { Block, PlacedInstruction } from './region-graph.ts'
import type { RegisterFile } from './register-use.ts'

/** A region as a graph of blocks, by index; node 0 is the entry. */
export interface RegionFlow {
  readonly blocks: readonly Block[]
  /** Reachable nodes in reverse postorder. */
  readonly order: readonly number[]
  /** Successors inside the region. */
  readonly successors: readonly (readonly number[])[]
  /** Whether the region may be left at the beginning of a block, before its first instruction. */
  readonly mayLeaveBefore: readonly boolean[]
  /** Whether it may be left at a block's end. */
  readonly mayLeaveAfter: readonly boolean[]
}

export interface RegisterFlow {
  /** Registers the region reads or writes anywhere. */
  readonly touched: number
  /** Registers that may be dirty where a block begins. */
  readonly dirtyIn: Int32Array
  /** Registers that are live where a block begins. */
  readonly liveIn: Int32Array
}

/**
 * A block with more instructions for each access than this leaves its registers to its ways out: storing each of
 * them would cost more than it saves (SHA-256 ran at 0.78 of its speed).
 */
const INSTRUCTIONS_PER_ACCESS_MAX = 4

/**
 * Whether what is dirty is stored ahead of what may leave the region in the middle of the block, on the usual way, so
 * that those ways out, two for most stores, need not. They were half of all code that was made.
 */
export function storesAhead({ instructions }: Block): boolean {
  const accesses = instructions.filter(({ instruction }) => instruction.uses.includes('memory')).length
  return instructions.length <= INSTRUCTIONS_PER_ACCESS_MAX * accesses
}

/** One bit for each register of `file`. */
export function registerFlow(region: RegionFlow, file: RegisterFile): RegisterFlow {
  const { blocks, order, successors } = region
  const dirtyIn = new Int32Array(blocks.length)
  const isStored = blocks.map((b) => storesAhead(b) && b.instructions.some(file.isStoredBefore))
  const written = Int32Array.from(blocks, ({ instructions }, node) =>
    isStored[node] ? writtenSinceStore(instructions, file) : union(instructions, file.written),
  )
  const dirtyAtEnd = (node: number): number => (isStored[node] ? 0 : dirtyIn[node]) | written[node]
  const dirtyOut = (node: number): number => (isCall(blocks[node]) ? 0 : dirtyAtEnd(node))
  settle(order, (node) => {
    const out = dirtyOut(node)
    let changed = false
    for (const to of successors[node]) {
      const before = dirtyIn[to]
      dirtyIn[to] = before | out
      if (dirtyIn[to] !== before) changed = true
    }
    return changed
  })

  const liveIn = new Int32Array(blocks.length)
  settle([...order].reverse(), (node) => {
    const block = blocks[node]
    let live = region.mayLeaveAfter[node] || isCall(block) ? dirtyAtEnd(node) : 0
    // What a call leaves in registers is loaded after it.
    if (!isCall(block)) for (const to of successors[node]) live |= liveIn[to]
    live = liveBefore(block.instructions, live, dirtyIn[node], file, isStored[node])
    if (region.mayLeaveBefore[node]) live |= dirtyIn[node]
    const changed = live !== liveIn[node]
    liveIn[node] = live
    return changed
  })
  let touched = 0
  for (const node of order) {
    const { instructions } = blocks[node]
    touched |= union(instructions, file.written) | union(instructions, file.read)
  }
  return { touched, dirtyIn, liveIn }
}

function isCall(block: Block): boolean {
  return block.terminator.kind === 'call'
}

/** What is live before some instructions, if `liveAfter` is live after them and `dirtyBefore` may be dirty before. */
function liveBefore(
  instructions: readonly PlacedInstruction[],
  liveAfter: number,
  dirtyBefore: number,
  file: RegisterFile,
  isStored: boolean,
): number {
  const dirty: number[] = []
  let sofar = dirtyBefore
  for (const one of instructions) {
    dirty.push(sofar)
    sofar = (isStored && file.isStoredBefore(one) ? 0 : sofar) | file.written(one)
  }
  let live = liveAfter
  for (let i = instructions.length - 1; i >= 0; i--) {
    const one = instructions[i]
    live = (live & ~file.written(one)) | file.read(one)
    // Whatever is more than arithmetic may leave the region before it has happened.
    if (one.instruction.uses.length > 0) live |= dirty[i]
  }
  return live
}

/** What some instructions write behind the last one before which everything is stored. */
function writtenSinceStore(instructions: readonly PlacedInstruction[], file: RegisterFile): number {
  let mask = 0
  for (const one of instructions) mask = (file.isStoredBefore(one) ? 0 : mask) | file.written(one)
  return mask
}

function union(instructions: readonly PlacedInstruction[], of: (one: PlacedInstruction) => number): number {
  let mask = 0
  for (const one of instructions) mask |= of(one)
  return mask
}

/** Visits the nodes in turn until no visit changes anything. */
export function settle(nodes: readonly number[], visit: (node: number) => boolean): void {
  let changed = true
  while (changed) {
    changed = false
    for (const node of nodes) if (visit(node)) changed = true
  }
}
