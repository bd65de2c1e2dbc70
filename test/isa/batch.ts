/**
 * Many programs in one bare-metal image, so that the cost of starting an emulator is paid once.
 *
 * Each program owns a slot of 4 KiB with its data, its constants, its initial registers and, in the end, the dump
 * of its registers. The image is the same for every emulator but for its last instructions, which hand the
 * results out: QEMU writes them to a file by semihosting; on our machine the test reads them from RAM.
 */
import { Assembler } from '../../src/machine/cpu/isa-test/assembler.ts'
import { writeElf } from '../../src/machine/cpu/isa-test/elf.ts'
import { type Environment, emitExit } from '../../src/machine/cpu/isa-test/exit.ts'
import type { Program } from './program.ts'
import {
  emitProgram,
  emitSlot,
  type ProgramResult,
  readSlot,
  SLOT_BYTES,
  SLOT_PAGE_OFFSET,
} from './program-code.ts'

export const RAM_BASE = 0x8000_0000
const PAGE_BYTES = 4096
/**
 * Regions are compiled after a first visit, and all programs of a pass before the next: from the second pass on,
 * compiled code runs. Each pass starts from the data that the one before left, so all of them count.
 */
const PASSES = 3
const MSTATUS = 0x300
const MTVEC = 0x305
const MEPC = 0x341
const MCAUSE = 0x342
const MTVAL = 0x343
const MSTATUS_FS_BIT = 13

const A0 = 10
const T0 = 5
const T1 = 6

export interface Batch {
  readonly elf: Uint8Array
  /** Address and length of the results: a page for unexpected traps, then the slots. */
  readonly results: number
  readonly resultsBytes: number
  /** Static count of the programs' own instructions, without loading and dumping. */
  readonly instructions: number
  /** Where each program's code lies, to find the program that trapped. */
  readonly programAddresses: readonly number[]
}

export interface UnexpectedTrap {
  readonly cause: bigint
  readonly pc: bigint
  readonly value: bigint
}

export interface BatchResult {
  readonly trap: UnexpectedTrap | null
  readonly programs: readonly ProgramResult[]
}

export function buildBatch(programs: readonly Program[], environment: Environment): Batch {
  const asm = new Assembler(RAM_BASE)
  const results = asm.label('results')
  const tohost = asm.label('tohost')
  const exit = asm.label('exit')
  const handler = asm.label('handler')
  const resultsBytes = PAGE_BYTES + SLOT_BYTES * (programs.length + 1)

  asm.loadAddress(T0, handler)
  asm.emit('csrrw', 0, MTVEC, T0)
  asm.emit('lui', T0, 3 << (MSTATUS_FS_BIT - 12))
  asm.emit('csrrs', 0, MSTATUS, T0)

  let instructions = 0
  const slots = programs.map((_, n) => asm.label(`slot ${n}`))
  const firstProgram = asm.here('first program')
  const programAddresses = programs.map((program, n) => {
    const address = asm.address
    instructions += emitProgram(asm, program, slots[n]!)
    return address
  })
  const passesLeft = asm.label('passes left')
  asm.loadAddress(T0, passesLeft)
  asm.emit('lw', T1, T0, 0)
  asm.emit('addi', T1, T1, -1)
  asm.emit('sw', T1, T0, 0)
  asm.emitTo(exit, 'beq', T1, 0)
  // The programs together may be longer than JAL reaches.
  asm.loadAddress(T0, firstProgram)
  asm.emit('jalr', 0, T0, 0)
  asm.bind(exit)
  emitExit(asm, environment, { results, resultsBytes, tohost })

  asm.align(4)
  asm.bind(handler)
  asm.loadAddress(A0, results)
  for (const [n, csr] of [MCAUSE, MEPC, MTVAL].entries()) {
    asm.emit('csrrs', T1, csr, 0)
    asm.emit('sd', T1, A0, 8 * n + 8)
  }
  asm.emit('addi', T1, 0, 1)
  asm.emit('sd', T1, A0, 0)
  asm.emitTo(exit, 'jal', 0)

  asm.align(PAGE_BYTES)
  asm.bind(results)
  asm.advanceTo(asm.address + SLOT_PAGE_OFFSET)
  programs.forEach((program, n) => {
    asm.bind(slots[n]!)
    emitSlot(asm, program)
  })
  asm.align(PAGE_BYTES)
  asm.bind(tohost)
  asm.double(0n)
  asm.align(PAGE_BYTES)
  asm.bind(passesLeft)
  asm.word(PASSES)
  const bytes = asm.finish()
  const symbols = { tohost: asm.addressOf(tohost) }
  return {
    elf: writeElf({ base: RAM_BASE, bytes, symbols }),
    results: asm.addressOf(results),
    resultsBytes,
    instructions,
    programAddresses,
  }
}

/** Results in which a trap at `pc` is noted, for a program that did not end. */
export function withTrap(results: Uint8Array, pc: bigint): Uint8Array {
  const view = new DataView(results.buffer, results.byteOffset, results.byteLength)
  view.setBigUint64(0, 1n, true)
  view.setBigUint64(16, pc, true)
  return results
}

export function readResults(bytes: Uint8Array, programs: number): BatchResult {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const u64 = (offset: number) => view.getBigUint64(offset, true)
  const trap = u64(0) === 0n ? null : { cause: u64(8), pc: u64(16), value: u64(24) }
  return {
    trap,
    programs: Array.from({ length: programs }, (_, n) => readSlot(bytes, SLOT_PAGE_OFFSET + n * SLOT_BYTES)),
  }
}
