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
