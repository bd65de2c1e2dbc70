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

/** One bit for each register of `file`. */
export function registerFlow(region: RegionFlow, file: RegisterFile): RegisterFlow {
  const { blocks, order, successors } = region
  const written = Int32Array.from(blocks, (b) => union(b.instructions, file.written))
  const dirtyIn = new Int32Array(blocks.length)
  const dirtyOut = (node: number): number => (isCall(blocks[node]) ? 0 : dirtyIn[node] | written[node])
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
    const dirtyAtEnd = dirtyIn[node] | written[node]
    let live = region.mayLeaveAfter[node] || isCall(block) ? dirtyAtEnd : 0
    // What a call leaves in registers is loaded after it.
    if (!isCall(block)) for (const to of successors[node]) live |= liveIn[to]
    live = liveBefore(block.instructions, live, dirtyIn[node], file)
    if (region.mayLeaveBefore[node]) live |= dirtyIn[node]
    const changed = live !== liveIn[node]
    liveIn[node] = live
    return changed
  })
  let touched = 0
  for (const node of order) touched |= written[node] | union(blocks[node].instructions, file.read)
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
): number {
  const dirty: number[] = []
  let sofar = dirtyBefore
  for (const one of instructions) {
    dirty.push(sofar)
    sofar |= file.written(one)
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
