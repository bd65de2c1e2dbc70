import { expect, test } from 'vitest'
import { GuestCode } from './guest-code.ts'
import { Assembler } from './isa-test/assembler.ts'
import { PAGE_BYTES } from './layout.ts'
import { findRegion, REGION_INSTRUCTIONS_MAX } from './region-graph.ts'

function guestCode(asm: Assembler): GuestCode {
  const code = new Uint8Array(PAGE_BYTES)
  code.set(asm.finish())
  return new GuestCode({ page: 0, code, heat: new Int32Array(PAGE_BYTES / 2) }, 0, () => null)
}

function straightLine(instructions: number): Assembler {
  const asm = new Assembler(0)
  for (let i = 0; i < instructions; i++) asm.emit('addi', 10, 10, 1)
  return asm
}

test('behind a full region control may arrive, so that what follows becomes hot itself', () => {
  const asm = straightLine(REGION_INSTRUCTIONS_MAX + 1)
  const [block] = findRegion(guestCode(asm), 0)
  expect(block.instructions).toHaveLength(REGION_INSTRUCTIONS_MAX)
  expect(block.terminator).toEqual({ kind: 'fall', to: REGION_INSTRUCTIONS_MAX * 4 })
})

test('what only the interpreter executes is left to it', () => {
  const asm = straightLine(2)
  asm.emit('ebreak')
  const [block] = findRegion(guestCode(asm), 0)
  expect(block.terminator).toEqual({ kind: 'stop', at: 8 })
})
