/** Compares system programs: an engine with QEMU by traps and results, and the two engines with each other by digests. */
import { type Engine, runEngine } from '../../src/machine/cpu/isa-test/engine.ts'
import { compareEngines } from '../../src/machine/cpu/isa-test/engine-pair.ts'
import { Random } from '../../src/machine/cpu/isa-test/random.ts'
import { differences } from './differential.ts'
import type { Program } from './program.ts'
import { programListing } from './program-code.ts'
import { runQemu } from './qemu.ts'
import { buildSystemImage, readSystemResult, type SystemResult, type TrapRecord } from './system-image.ts'

/** A program takes a tenth of a second; one that was shrunk into an endless loop should not hold up the others. */
const TIMEOUT_MS = 10_000

export interface Comparison {
  /** Empty when both agree. */
  readonly lines: readonly string[]
  /** Instructions that the subject retired. */
  readonly retired: bigint
  readonly traps: number
}

export async function systemOracle(program: Program): Promise<SystemResult> {
  return readSystemResult(
    await runQemu(buildSystemImage(program, 'qemu', 'qemu').elf, { timeoutMs: TIMEOUT_MS }),
  )
}

/** An engine against what QEMU made of the same program. */
export function compareWithQemu(engine: Engine, program: Program, oracle: SystemResult): Comparison {
  const image = buildSystemImage(program, 'qemu', 'tohost')
  const { results, retired } = runEngine(engine, image.elf, image.results, image.resultsBytes)
  const subject = readSystemResult(results)
  const length = Math.max(subject.log.length, oracle.log.length)
  let n = 0
  while (n < length && show(subject.log[n]) === show(oracle.log[n])) n += 1
  const lines = differences(subject.program, oracle.program)
  if (n < length) lines.unshift(`trap ${n}: got ${show(subject.log[n])}, expected ${show(oracle.log[n])}`)
  return { lines, retired, traps: oracle.log.length }
}

function show(record: TrapRecord | undefined): string {
  if (record === undefined) return 'none'
  const { cause, pc, value, status } = record
  return `cause 0x${cause.toString(16)} pc 0x${pc.toString(16)} value 0x${value.toString(16)} status 0x${status.toString(16)}`
}

/** Regions against the interpreter; `hotThreshold` and the pieces come from the program's seed. */
export function compareBothEngines(program: Program): Comparison {
  const random = new Random(program.seed ^ 0x5eed)
  const image = buildSystemImage(program, 'engines', 'tohost')
  const { retired, halted, divergence } = compareEngines(image.elf, random, {
    hotThreshold: random.pick([1, 1, 3, 20]),
  })
  const lines =
    divergence !== null
      ? [
          `between ${divergence.lastEqual} and ${divergence.retired} retired instructions:`,
          ...divergence.lines,
        ]
      : halted
        ? []
        : ['the program did not end']
  return { lines, retired, traps: 0 }
}

export function systemReport(what: string, program: Program, lines: readonly string[]): string {
  return [
    `${what} (system program seed ${program.seed})`,
    programListing(program.items),
    ...lines.slice(0, 20),
  ].join('\n')
}
