import { expect, it } from 'vitest'
import { structure } from './control-flow.ts'
import { decode, immediateOf } from './instruction-set.ts'
import { encode, type Mnemonic } from './isa-test/instructions.ts'
import { planAccesses } from './known-pages.ts'
import type { Block, PlacedInstruction, Terminator } from './region-graph.ts'

type Line = readonly [Mnemonic, ...number[]]

function placed([mnemonic, ...operands]: Line): PlacedInstruction {
  const word = encode(mnemonic, ...operands) | 0
  const instruction = decode(word)
  if (instruction === null) throw new Error(`no instruction: ${mnemonic}`)
  return { offset: 0, length: 4, word, instruction, immediate: immediateOf(word, instruction.immediate) }
}

/** Who asks the TLB: for each block a word of `L` (a leader, asks), `f` (a follower) and `-` (no access). */
function plan(
  code: readonly (readonly Line[])[],
  successors: readonly (readonly number[])[] = [[]],
  calls: readonly number[] = [],
): string {
  const leave: Terminator = { kind: 'leave' }
  const call: Terminator = { kind: 'call', target: null, returnTo: 0 }
  const blocks = code.map((lines, node): Block => {
    const terminator = calls.includes(node) ? call : leave
    return { context: 0, offset: node, instructions: lines.map(placed), terminator }
  })
  return planAccesses(blocks, structure({ successors }))
    .map((block) => block.map((one) => (one === null ? '-' : one.isLeader ? 'L' : 'f')).join(''))
    .join(' ')
}

it('asks once for accesses off one register, once more for the other direction', () => {
  expect(
    plan([
      [
        ['ld', 5, 10, 0],
        ['lw', 6, 10, 16],
        ['sd', 5, 10, 8],
        ['sb', 6, 10, 24],
      ],
    ]),
  ).toBe('LfLf')
})

it('follows constants added to a register, and copies of it', () => {
  const code: Line[] = [
    ['ld', 5, 10, 0],
    ['addi', 10, 10, 64],
    ['ld', 5, 10, -8],
    ['add', 11, 0, 10],
    ['ld', 5, 11, 16],
  ]
  expect(plan([code])).toBe('L-f-f')
})

it('asks anew for a register that was written otherwise, even by the load itself', () => {
  expect(
    plan([
      [
        ['ld', 10, 10, 0],
        ['ld', 10, 10, 0],
      ],
    ]),
  ).toBe('LL')
  expect(
    plan([
      [
        ['ld', 5, 10, 0],
        ['add', 10, 10, 11],
        ['ld', 5, 10, 0],
      ],
    ]),
  ).toBe('L-L')
})

it('does not take a floating-point register for the integer one of the same number', () => {
  expect(
    plan([
      [
        ['fld', 10, 10, 0],
        ['fadd.d', 10, 10, 10, 7],
        ['fld', 11, 10, 8],
      ],
    ]),
  ).toBe('L-f')
})

it('asks anew where the addresses are too far apart to lie in one page mostly', () => {
  expect(
    plan([
      [
        ['ld', 5, 10, 0],
        ['ld', 5, 10, 1024],
        ['ld', 5, 10, 8],
      ],
    ]),
  ).toBe('LLf')
})

it('asks anew after what may change translations', () => {
  expect(
    plan([
      [
        ['ld', 5, 10, 0],
        ['csrrw', 0, 0x180, 5],
        ['ld', 5, 10, 8],
      ],
    ]),
  ).toBe('L-L')
  expect(
    plan([
      [
        ['sd', 5, 10, 0],
        ['cbo.zero', 11],
        ['sd', 5, 10, 8],
      ],
    ]),
  ).toBe('L-L')
  expect(plan([[['sd', 5, 10, 0]], [['sd', 5, 10, 8]]], [[1], []], [0])).toBe('L L')
})

it('carries knowledge into both ways of a branch, not to where they meet, nor around a loop', () => {
  const load: Line[] = [['ld', 5, 10, 0]]
  expect(plan([load, load, load, load], [[1, 2], [3], [3], []])).toBe('L f f L')
  expect(plan([load, load, load], [[1], [1, 2], []])).toBe('L L f')
})

it('tells each miss which groups of its direction may have lost their page', () => {
  const code: Line[] = [
    ['ld', 5, 10, 0],
    ['sd', 5, 12, 0],
    ['ld', 6, 11, 0],
    ['ld', 5, 10, 8],
    ['sd', 5, 12, 8],
  ]
  const block: Block = {
    context: 0,
    offset: 0,
    instructions: code.map(placed),
    terminator: { kind: 'leave' },
  }
  const [accesses] = planAccesses([block], structure({ successors: [[]] }))
  const [first, , second, third, store] = accesses
  expect(second?.others).toEqual([first?.group])
  expect(third?.others).toEqual([second?.group])
  expect(store?.others).toEqual([])
})
