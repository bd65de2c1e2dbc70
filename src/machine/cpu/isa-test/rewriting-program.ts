/** A program whose code changes for ever: what compiles it never comes to an end. */
import { Assembler } from './assembler.ts'
import { writeElf } from './elf.ts'
import { encode } from './instructions.ts'

const BASE = 0x8000_0000
const FIRST_FUNCTION = BASE + 0x10_0000
const PAGE_BYTES = 4096
export const FUNCTIONS = 40
/** Rounds between two rewritings: a place is hot by then, and compiled now and then before it is overwritten. */
const REWRITE_ROUNDS = 256

/**
 * Calls functions on pages of their own, round after round for ever. In every 256th round it first writes each anew:
 * ADDI x10, x10, round / 256 modulo 64; RET.
 */
export function rewritingProgram(): Uint8Array {
  const asm = new Assembler(BASE)
  const [round, at, left, step, word, ret, turn] = [21, 23, 24, 25, 26, 28, 29]
  asm.li(step, PAGE_BYTES)
  asm.li(ret, encode('jalr', 0, 1, 0))
  const again = asm.here('again')
  asm.li(at, FIRST_FUNCTION)
  asm.li(left, FUNCTIONS)
  const next = asm.here('next')
  const call = asm.label('call')
  asm.emit('andi', turn, round, REWRITE_ROUNDS - 1)
  asm.emitTo(call, 'bne', turn, 0)
  asm.emit('srli', turn, round, 8)
  asm.emit('andi', turn, turn, 63)
  asm.emit('slli', turn, turn, 20)
  asm.li(word, encode('addi', 10, 10, 0))
  asm.emit('add', word, word, turn)
  asm.emit('sw', word, at, 0)
  asm.emit('sw', ret, at, 4)
  asm.bind(call)
  asm.emit('jalr', 1, at, 0)
  asm.emit('add', at, at, step)
  asm.emit('addi', left, left, -1)
  asm.emitTo(next, 'bne', left, 0)
  asm.emit('addi', round, round, 1)
  asm.emitTo(again, 'jal', 0)
  return writeElf({ base: BASE, bytes: asm.finish(), symbols: {} })
}
