/** Runs a bare-metal image on our machine, in either engine, and reads RAM when it has ended. */
import { createMachine } from '../../create.ts'

export type Engine = 'interpreter' | 'regions'
export const ENGINES: readonly Engine[] = ['interpreter', 'regions']

export interface EngineRun {
  readonly results: Uint8Array
  readonly retired: bigint
  /** Entry points that were compiled; none in the interpreter. */
  readonly compiledEntries: number
}

export const MEMORY_BYTES = 64 * 1024 * 1024
/** Far more than any test program runs; only ends a program that a broken CPU keeps in a loop. */
const INSTRUCTIONS_MAX = 50_000_000n
/** Short, because what is queued for compilation is compiled at the latest when a run ends. */
const RUN_BUDGET = 20_000
/** A tick of guest time every 100 instructions, as on a hart of 1000 MIPS, in 0.32 fixed point. */
export const CLOCK_RATE = Math.floor(2 ** 32 / 100)
/** Regions are compiled at their first execution, so that both engines run every case. */
export const HOT_THRESHOLD = 1

/** A program that does not end: a broken CPU went astray or waits for ever. */
export class ProgramStuckError extends Error {
  readonly pc: bigint
  readonly results: Uint8Array

  constructor(engine: Engine, retired: bigint, pc: bigint, results: Uint8Array) {
    super(`${engine}: not ended after ${retired} instructions, pc 0x${pc.toString(16)}`)
    this.pc = pc
    this.results = results
  }
}

/** Throws a ProgramStuckError when the image does not end by itself. */
export function runEngine(engine: Engine, elf: Uint8Array, results: number, resultsBytes: number): EngineRun {
  const machine = createMachine(
    {
      memoryBytes: MEMORY_BYTES,
      boot: { kind: 'bare', elf },
      nics: [],
      disks: [],
      rngSeed: new Uint8Array(32),
    },
    { engine, hotThreshold: HOT_THRESHOLD },
  )
  machine.beginSlice({ clock: 0n, clockRate: CLOCK_RATE, inputs: [] })
  while (!machine.halted && machine.retired < INSTRUCTIONS_MAX) {
    const { reason } = machine.run(RUN_BUDGET)
    if (reason !== 'idle') continue
    const deadline = machine.timerDeadline()
    if (deadline === null) break
    machine.beginSlice({ clock: deadline, clockRate: CLOCK_RATE, inputs: [] })
  }
  const bytes = machine.debug.readPhysical(results, resultsBytes).slice()
  if (!machine.halted) {
    throw new ProgramStuckError(engine, machine.retired, machine.debug.readRegister(0, 'pc'), bytes)
  }
  return {
    results: bytes,
    retired: machine.retired,
    compiledEntries: machine.debug.compiledEntries(),
  }
}
