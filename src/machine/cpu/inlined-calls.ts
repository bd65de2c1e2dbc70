/**
 * Makes small callees part of a region, once for each call: what a call costs (storing and loading registers, finding
 * the callee's code, checking on return that the page is still the same) is then not paid at all.
 *
 * Each inlined call has a number, its *context*; blocks are told apart by it, since a callee may be inlined several
 * times. A return in it goes on behind the call if the return address says so, which it nearly always does.
 */
import type { Block, Place, Terminator } from './region-graph.ts'

/** A region with its inlined callees is not larger than a large one without any. */
const INLINED_TOTAL_MAX = 400
/** Larger callees do enough work for what their call costs. */
const CALLEE_INSTRUCTIONS_MAX = 60
/** Calls within calls. */
const INLINE_DEPTH_MAX = 3

interface Context {
  readonly depth: number
}

/** `body` gives the blocks of a callee by its entry, or none if it is not to be inlined. */
export function inlineCalls(root: readonly Block[], body: (entry: number) => readonly Block[]): Block[] {
  const blocks = [...root]
  const contexts: Context[] = [{ depth: 0 }]
  let total = size(root)
  // Breadth first: calls of the function itself come before calls of its callees.
  for (let i = 0; i < blocks.length; i++) {
    const { context, instructions, offset, terminator } = blocks[i]
    if (terminator.kind !== 'call' || terminator.target === null) continue
    const { depth } = contexts[context]
    if (depth === INLINE_DEPTH_MAX) continue
    const callee = body(terminator.target)
    const length = size(callee)
    if (length === 0 || length > CALLEE_INSTRUCTIONS_MAX || total + length > INLINED_TOTAL_MAX) continue
    total += length
    const inlined = contexts.push({ depth: depth + 1 }) - 1
    const to = { context: inlined, offset: terminator.target }
    blocks[i] = { context, offset, instructions, terminator: { kind: 'enter', to } }
    const back = { context, offset: terminator.returnTo }
    blocks.push(
      ...callee.map((block) => ({
        ...block,
        context: inlined,
        terminator: returning(block.terminator, back),
      })),
    )
  }
  return blocks
}

function returning(terminator: Terminator, to: Place): Terminator {
  return terminator.kind === 'return' ? { kind: 'return', to } : terminator
}

function size(blocks: readonly Block[]): number {
  return blocks.reduce((sum, block) => sum + block.instructions.length, 0)
}
