/**
 * Lowers case groups to one bare-metal image: per group a loop over its vectors, each a record in RAM that the loop
 * loads, runs the group's code on, and overwrites with what came out.
 */
import { Assembler } from './assembler.ts'
import type { CaseGroup, State, Vector } from './cases.ts'
import { MEMORY_BYTES, MEMORY_MIDDLE } from './cases.ts'
import { writeElf } from './elf.ts'
import { type Environment, emitExit } from './exit.ts'

export interface CaseImage {
  readonly elf: Uint8Array
  /** Address and length of the records. */
  readonly results: number
  readonly resultsBytes: number
}

export interface CaseFailure {
  readonly vector: number
  readonly lines: readonly string[]
}

const RAM_BASE = 0x8000_0000
const INTEGER_FIELDS = ['x10', 'x11', 'x12'] as const
const FLOAT_FIELDS = ['f10', 'f11', 'f12', 'f13'] as const
const FLOATS_OFFSET = 8 * INTEGER_FIELDS.length
const FCSR_OFFSET = FLOATS_OFFSET + 8 * FLOAT_FIELDS.length
const MEMORY_OFFSET = FCSR_OFFSET + 8
const RECORD_BYTES = MEMORY_OFFSET + MEMORY_BYTES
const FCSR = 0x003
const MSTATUS = 0x300
const FS_DIRTY_UPPER = 3 << 1
const RECORD = 9
const TEMPORARY = 13
const COUNT = 18

export function buildCaseImage(groups: readonly CaseGroup[], environment: Environment): CaseImage {
  const asm = new Assembler(RAM_BASE)
  const results = asm.label('records')
  const tohost = asm.label('tohost')
  const resultsBytes = RECORD_BYTES * groups.reduce((sum, { vectors }) => sum + vectors.length, 0)
  asm.emit('lui', TEMPORARY, FS_DIRTY_UPPER)
  asm.emit('csrrs', 0, MSTATUS, TEMPORARY)
  asm.loadAddress(RECORD, results)
  for (const group of groups) emitGroup(asm, group)
  emitExit(asm, environment, { results, resultsBytes, tohost })
  asm.align(64)
  asm.bind(tohost)
  asm.double(0n)
  asm.align(64)
  asm.bind(results)
  for (const { vectors } of groups) for (const { before } of vectors) emitRecord(asm, before)
  const bytes = asm.finish()
  const elf = writeElf({ base: RAM_BASE, bytes, symbols: { tohost: asm.addressOf(tohost) } })
  return { elf, results: asm.addressOf(results), resultsBytes }
}

function emitRecord(asm: Assembler, state: State): void {
  for (const field of INTEGER_FIELDS) asm.double(state[field])
  for (const field of FLOAT_FIELDS) asm.double(state[field])
  asm.double(BigInt(state.fcsr))
  asm.bytes(state.memory)
}

function emitGroup(asm: Assembler, group: CaseGroup): void {
  asm.li(COUNT, group.vectors.length)
  const loop = asm.here()
  INTEGER_FIELDS.forEach((field, n) => {
    asm.emit('ld', Number(field.slice(1)), RECORD, 8 * n)
  })
  FLOAT_FIELDS.forEach((field, n) => {
    asm.emit('fld', Number(field.slice(1)), RECORD, FLOATS_OFFSET + 8 * n)
  })
  asm.emit('ld', TEMPORARY, RECORD, FCSR_OFFSET)
  asm.emit('csrrw', 0, FCSR, TEMPORARY)
  if (group.pointer !== undefined) {
    asm.li(TEMPORARY, MEMORY_OFFSET + MEMORY_MIDDLE + group.pointer.offset)
    asm.emit('add', group.pointer.register, RECORD, TEMPORARY)
  }
  for (const { mnemonic, operands } of group.code) asm.emit(mnemonic, ...operands)
  asm.emit('csrrs', TEMPORARY, FCSR, 0)
  asm.emit('sd', TEMPORARY, RECORD, FCSR_OFFSET)
  asm.emit('sd', 10, RECORD, 0)
  asm.emit('sd', 12, RECORD, 16)
  FLOAT_FIELDS.forEach((field, n) => {
    asm.emit('fsd', Number(field.slice(1)), RECORD, FLOATS_OFFSET + 8 * n)
  })
  asm.emit('addi', RECORD, RECORD, RECORD_BYTES)
  asm.emit('addi', COUNT, COUNT, -1)
  const done = asm.label()
  // The loop may be longer than a conditional branch reaches.
  asm.emitTo(done, 'beq', COUNT, 0)
  asm.emitTo(loop, 'jal', 0)
  asm.bind(done)
}

/** Vectors that did not come out as expected, group by group in the order given. */
export function caseFailures(groups: readonly CaseGroup[], results: Uint8Array): CaseFailure[][] {
  const view = new DataView(results.buffer, results.byteOffset, results.byteLength)
  let offset = 0
  return groups.map(({ vectors }) => {
    const failures: CaseFailure[] = []
    vectors.forEach((vector, n) => {
      const lines = mismatches(vector, view, offset)
      if (lines.length > 0)
        failures.push({ vector: n, lines: [...lines, `before: ${describeState(vector.before)}`] })
      offset += RECORD_BYTES
    })
    return failures
  })
}

function mismatches({ before, changes }: Vector, view: DataView, offset: number): string[] {
  const wanted: State = { ...before, ...changes }
  const lines: string[] = []
  const check = (name: string, got: bigint, expected: bigint) => {
    if (got !== expected)
      lines.push(`${name}: got 0x${got.toString(16)}, expected 0x${expected.toString(16)}`)
  }
  check('x10', view.getBigUint64(offset, true), wanted.x10)
  check('x12', view.getBigUint64(offset + 16, true), wanted.x12)
  FLOAT_FIELDS.forEach((field, n) => {
    check(field, view.getBigUint64(offset + FLOATS_OFFSET + 8 * n, true), wanted[field])
  })
  check('fcsr', view.getBigUint64(offset + FCSR_OFFSET, true), BigInt(wanted.fcsr))
  wanted.memory.forEach((byte, n) => {
    check(`memory[${n}]`, BigInt(view.getUint8(offset + MEMORY_OFFSET + n)), BigInt(byte))
  })
  return lines
}

function describeState(state: State): string {
  const registers = [...INTEGER_FIELDS, ...FLOAT_FIELDS].map(
    (field) => `${field}=0x${state[field].toString(16)}`,
  )
  return `${registers.join(' ')} fcsr=0x${state.fcsr.toString(16)} memory=${Array.from(state.memory, (b) => b.toString(16).padStart(2, '0')).join('')}`
}
