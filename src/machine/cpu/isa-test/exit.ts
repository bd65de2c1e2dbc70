/** How a bare-metal test program ends and hands out its results in each environment. */
import type { Assembler, Label } from './assembler.ts'

/** `qemu`: semihosting writes a file and ends the emulator. `tohost`: our machine ends on a store, the test reads RAM. */
export type Environment = 'qemu' | 'tohost'

/** The file, in QEMU's working directory, that the results appear in. */
export const RESULTS_FILE = 'results'

/** Both ways of ending take the same room, so that every address in the image is the same in both. */
const EXIT_BYTES = 512

const A0 = 10
const A1 = 11
const T0 = 5
const T1 = 6
/** Semihosting operations (Semihosting for AArch32 and AArch64, chapter 6; RISC-V uses the same numbers). */
const SYS_OPEN = 0x01
const SYS_WRITE = 0x05
const SYS_EXIT = 0x18
const OPEN_MODE_WRITE_BINARY = 5
const APPLICATION_EXIT = 0x20026

export interface ExitLabels {
  readonly results: Label
  readonly resultsBytes: number
  readonly tohost: Label
}

export function emitExit(asm: Assembler, environment: Environment, at: ExitLabels): void {
  const start = asm.address
  emitEnding(asm, environment, at)
  asm.advanceTo(start + EXIT_BYTES)
}

function emitEnding(asm: Assembler, environment: Environment, at: ExitLabels): void {
  if (environment === 'tohost') {
    asm.loadAddress(T0, at.tohost)
    asm.emit('addi', T1, 0, 1)
    asm.emit('sd', T1, T0, 0)
    asm.emit('jal', 0, 0)
    return
  }
  const block = asm.label('semihosting block')
  const name = asm.label('results file name')
  const setBlock = (offset: number, value: Label | number) => {
    asm.loadAddress(A1, block)
    if (typeof value === 'number') asm.li(T1, value)
    else asm.loadAddress(T1, value)
    asm.emit('sd', T1, A1, offset)
  }
  // The three magic instructions must lie in one page; alignment pads with zeroes, which are illegal: jump over them.
  const callAligned = (operation: number) => {
    const aligned = asm.label()
    asm.li(A0, operation)
    asm.loadAddress(A1, block)
    asm.emitTo(aligned, 'jal', 0)
    asm.align(16)
    asm.bind(aligned)
    asm.emit('slli', 0, 0, 0x1f)
    asm.emit('ebreak')
    asm.emit('srai', 0, 0, 7)
  }
  setBlock(0, name)
  setBlock(8, OPEN_MODE_WRITE_BINARY)
  setBlock(16, RESULTS_FILE.length)
  callAligned(SYS_OPEN)
  asm.loadAddress(A1, block)
  asm.emit('sd', A0, A1, 0)
  setBlock(8, at.results)
  setBlock(16, at.resultsBytes)
  callAligned(SYS_WRITE)
  setBlock(0, APPLICATION_EXIT)
  setBlock(8, 0)
  callAligned(SYS_EXIT)
  asm.align(8)
  asm.bind(block)
  for (let n = 0; n < 3; n++) asm.double(0n)
  asm.bind(name)
  asm.bytes(new TextEncoder().encode(`${RESULTS_FILE}\0`))
  asm.align(4)
}
