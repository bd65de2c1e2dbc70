/**
 * Bare-metal programs that compute for as long as they are told, and check what they computed. The same file runs on
 * this machine (`understudy machine run --bare`) and on QEMU's `virt`: both have their RAM at 0x80000000 and end when
 * the test finisher is written.
 */
import { Assembler, type Label } from '../src/machine/cpu/isa-test/assembler.ts'
import { writeElf } from '../src/machine/cpu/isa-test/elf.ts'

/** The names of the RISC-V calling convention. */
export const reg = {
  ...{ zero: 0, ra: 1, sp: 2, t0: 5, t1: 6, t2: 7, s0: 8, s1: 9, a0: 10, a1: 11, a2: 12, a3: 13, a4: 14 },
  ...{ a5: 15, a6: 16, a7: 17, s2: 18, s3: 19, s4: 20, s5: 21, s11: 27, t3: 28, t4: 29, t5: 30, t6: 31 },
} as const

export interface Kernel {
  readonly name: string
  /** What a reader should picture. */
  readonly work: string
  /** Whether it does without floating point. */
  readonly isInteger: boolean
  /** What the work leaves in a0, every time it is done. */
  readonly expected: bigint
  /**
   * Emits the work, a function at the place where the assembler stands, and its data behind. It is called with a
   * stack and leaves its result in a0; s11 and the stack pointer are the caller's.
   */
  emit(asm: Assembler): void
}

const RAM_START = 0x8000_0000
/** Above every program here, and within the memory of both machines. */
const STACK_TOP = RAM_START + 16 * 1024 * 1024
const PAGE_BYTES = 4096
const FINISHER = 0x10_0000
const FINISHER_PASS = 0x5555
/** Exit status 1. */
const FINISHER_FAIL = (1 << 16) | 0x3333
const MSTATUS = 0x300
const MSTATUS_FS_DIRTY = 0x6000

/** An ELF that does the work `repeats` times and ends with status 0, or with 1 at the first wrong result. */
export function bareProgram(kernel: Kernel, repeats: number): Uint8Array {
  const asm = new Assembler(RAM_START)
  const { sp, s11, t0, a0 } = reg
  const [work, failed, end] = [asm.label('work'), asm.label('failed'), asm.label('end')]
  asm.li(sp, STACK_TOP)
  asm.li(t0, MSTATUS_FS_DIRTY)
  asm.emit('csrrs', 0, MSTATUS, t0)
  asm.li(s11, repeats)
  const again = asm.here('again')
  asm.emitTo(work, 'jal', reg.ra)
  asm.li(t0, kernel.expected)
  asm.emitTo(failed, 'bne', a0, t0)
  asm.emit('addi', s11, s11, -1)
  asm.emitTo(again, 'bne', s11, 0)
  asm.li(t0, FINISHER_PASS)
  asm.emitTo(end, 'jal', 0)
  asm.bind(failed)
  asm.li(t0, FINISHER_FAIL)
  asm.bind(end)
  asm.li(a0, FINISHER)
  asm.emit('sw', t0, a0, 0)
  asm.emit('jal', 0, 0)
  asm.align(64)
  asm.bind(work)
  kernel.emit(asm)
  return writeElf({ base: RAM_START, bytes: asm.finish() })
}

/** `jalr zero, 0(ra)`. */
export function ret(asm: Assembler): void {
  asm.emit('jalr', 0, reg.ra, 0)
}

/** Registers saved on the stack around `body`, as a compiler does for a function that calls others. */
export function withFrame(asm: Assembler, saved: readonly number[], body: () => void): void {
  const bytes = Math.ceil((saved.length * 8) / 16) * 16
  asm.emit('addi', reg.sp, reg.sp, -bytes)
  saved.forEach((register, n) => {
    asm.emit('sd', register, reg.sp, n * 8)
  })
  body()
  saved.forEach((register, n) => {
    asm.emit('ld', register, reg.sp, n * 8)
  })
  asm.emit('addi', reg.sp, reg.sp, bytes)
}

/** Room of `bytes` zeroes at a label, on pages without code, as linkers place it: writing beside code is dear. */
export function room(asm: Assembler, label: Label, bytes: number): void {
  asm.align(PAGE_BYTES)
  asm.bind(label)
  asm.advanceTo(asm.address + bytes)
}
