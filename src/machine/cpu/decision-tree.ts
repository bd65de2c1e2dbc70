import { type Expr, i32 } from '../../wasm/expr.ts'
import type { FunctionBuilder, Label, Local } from '../../wasm/function.ts'
import type { Instruction } from './semantics.ts'

/** How the interpreter tells instructions apart: switches on fields that all candidates fix, then single tests. */
export type DecisionNode =
  | { readonly kind: 'illegal' }
  | { readonly kind: 'leaf'; readonly instruction: Instruction }
  | {
      readonly kind: 'test'
      readonly mask: number
      readonly match: number
      readonly yes: DecisionNode
      readonly no: DecisionNode
    }
  /** `cases` has `size` (a power of two) entries for the field of the word at `shift`. */
  | {
      readonly kind: 'switch'
      readonly shift: number
      readonly size: number
      readonly cases: readonly DecisionNode[]
    }

/** Fields in the order in which they are tried: major opcode, funct3, funct7 without and with its lowest bits, rs2. */
const fields: readonly { shift: number; bits: number }[] = [
  { shift: 2, bits: 5 },
  { shift: 12, bits: 3 },
  { shift: 27, bits: 5 },
  { shift: 25, bits: 2 },
  { shift: 20, bits: 5 },
]

const ILLEGAL: DecisionNode = { kind: 'illegal' }
/** Fewer candidates than this are told apart by single tests. */
const SWITCH_MIN = 3

export function decisionTree(instructions: readonly Instruction[]): DecisionNode {
  return build(instructions, 3)
}

/** `known` are the bits that the path here has already compared. */
function build(candidates: readonly Instruction[], known: number): DecisionNode {
  if (candidates.length === 0) return ILLEGAL
  if (candidates.length >= SWITCH_MIN) {
    for (const { shift, bits } of fields) {
      const fieldMask = (((1 << bits) - 1) << shift) | 0
      const fresh = (known & fieldMask) === 0
      if (!fresh || !candidates.every((c) => (c.mask & fieldMask) === fieldMask)) continue
      const size = 1 << bits
      const groups = Array.from({ length: size }, (): Instruction[] => [])
      for (const c of candidates) groups[(c.match >>> shift) & (size - 1)].push(c)
      if (groups.filter((g) => g.length > 0).length < 2) continue
      return { kind: 'switch', shift, size, cases: groups.map((g) => build(g, known | fieldMask)) }
    }
  }
  const [first, ...rest] = candidates
  return {
    kind: 'test',
    mask: first.mask,
    match: first.match,
    yes: { kind: 'leaf', instruction: first },
    no: build(rest, known),
  }
}

/** Emits the decisions over an instruction word; what `leaf` and `illegal` emit must end in a branch. */
export function emitDecisions(
  f: FunctionBuilder,
  node: DecisionNode,
  word: Expr,
  at: { readonly leaf: (instruction: Instruction) => void; readonly illegal: () => void },
): void {
  switch (node.kind) {
    case 'illegal':
      at.illegal()
      return
    case 'leaf':
      at.leaf(node.instruction)
      return
    case 'test':
      f.if(
        i32.eq(i32.and(word, i32.const(node.mask)), i32.const(node.match)),
        () => emitDecisions(f, node.yes, word, at),
        () => emitDecisions(f, node.no, word, at),
      )
      return
    case 'switch': {
      const field = i32.and(i32.shrU(word, i32.const(node.shift)), i32.const(node.size - 1))
      emitSwitch(f, field, node.cases, (one) => emitDecisions(f, one, word, at))
      return
    }
  }
}

/**
 * Cases that are reached by one br_table, together, have less than this share of all visits. Found by trial: with
 * more branches, or fewer, short loops or long paths were a fifth slower.
 */
const TABLE_SHARE_MAX = 0.235

/**
 * A switch that is reached very often with an index that is hard to guess. One br_table is one indirect jump, and
 * the host predicts few targets of one jump; so branches first tell the likeliest cases from the others. `cases`
 * come likeliest first. Each case must end in a branch of its own.
 */
export function emitLikelySwitch<T>(
  f: FunctionBuilder,
  index: Local,
  cases: readonly T[],
  frequencyOf: (one: T) => number,
  emit: (one: T) => void,
): void {
  const labels: Label[] = []
  const sum = (from: number, to: number): number =>
    cases.slice(from, to).reduce((total, one) => total + frequencyOf(one), 0)
  const limit = sum(0, cases.length) * TABLE_SHARE_MAX
  const decide = (from: number, to: number): void => {
    if (to - from === 1) {
      f.br(labels[from])
      return
    }
    const total = sum(from, to)
    if (total < limit && to - from > 2) {
      f.brTable(i32.sub(index.get, i32.const(from)), labels.slice(from, to - 1), labels[to - 1])
      return
    }
    const cuts = Array.from({ length: to - from - 1 }, (_, n) => from + 1 + n)
    const imbalance = (cut: number): number => Math.abs(total - 2 * sum(from, cut))
    const middle = cuts.reduce((best, cut) => (imbalance(cut) < imbalance(best) ? cut : best))
    f.if(
      i32.ltU(index.get, i32.const(middle)),
      () => decide(from, middle),
      () => decide(middle, to),
    )
  }
  const open = (last: number): void => {
    if (last < 0) {
      decide(0, cases.length)
      return
    }
    f.block((label) => {
      labels[last] = label
      open(last - 1)
    })
    emit(cases[last])
  }
  open(cases.length - 1)
}

/** Nested blocks with one br_table; each case must end in a branch of its own. The last case is also that of any larger index. */
export function emitSwitch<T>(
  f: FunctionBuilder,
  index: Expr,
  cases: readonly T[],
  emit: (one: T) => void,
): void {
  const open = (labels: Label[]): void => {
    if (labels.length < cases.length) {
      f.block((label) => open([label, ...labels]))
      // After the block of case k comes case k; labels[0] belongs to the innermost block.
      emit(cases[cases.length - 1 - labels.length])
      return
    }
    f.brTable(index, labels.slice(0, -1), labels[labels.length - 1])
  }
  open([])
}
