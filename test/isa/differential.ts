/**
 * Compares a subject (one engine) with an oracle (QEMU) over batches of random programs, and shrinks what differs.
 *
 * Starting an emulator costs more than a program, so shrinking is done in rounds too: each round builds one batch
 * of all candidates that drop one item, and keeps the smallest candidate that still differs.
 */

import { type Engine, ProgramStuckError, runEngine } from '../../src/machine/cpu/isa-test/engine.ts'
import type { Environment } from '../../src/machine/cpu/isa-test/exit.ts'
import { listing } from '../../src/machine/cpu/isa-test/instructions.ts'
import { type Batch, type BatchResult, buildBatch, readResults, withTrap } from './batch.ts'
import type { Item, Program } from './program.ts'
import { type ProgramResult, programListing } from './program-code.ts'
import { runQemu } from './qemu.ts'
import { reductions } from './reductions.ts'

export interface RunnerResult {
  readonly results: Uint8Array
  /** Zero where nobody counts. */
  readonly retired: bigint
  readonly compiledEntries: number
}

export interface Runner {
  readonly name: string
  readonly environment: Environment
  run(batch: Batch): Promise<RunnerResult>
}

export const QEMU: Runner = {
  name: 'qemu',
  environment: 'qemu',
  async run(batch) {
    return { results: await runQemu(batch.elf), retired: 0n, compiledEntries: 0 }
  },
}

export function engineRunner(engine: Engine): Runner {
  return {
    name: engine,
    environment: 'tohost',
    async run(batch) {
      try {
        return runEngine(engine, batch.elf, batch.results, batch.resultsBytes)
      } catch (error) {
        // Shown as a trap where it went astray, so that it can be shrunk like any other difference.
        if (!(error instanceof ProgramStuckError)) throw error
        return { results: withTrap(error.results, error.pc), retired: 0n, compiledEntries: 0 }
      }
    },
  }
}

export interface Outcome {
  readonly batch: Batch
  readonly result: BatchResult
  readonly retired: bigint
  readonly compiledEntries: number
}

export async function runPrograms(runner: Runner, programs: readonly Program[]): Promise<Outcome> {
  const batch = buildBatch(programs, runner.environment)
  const { results, retired, compiledEntries } = await runner.run(batch)
  return { batch, result: readResults(results, programs.length), retired, compiledEntries }
}

/** Index of the first program whose results differ, or -1. A trap that only one side took counts at the program it hit. */
export function firstDifference(subject: Outcome, oracle: Outcome): number {
  const { trap } = subject.result
  const trapped =
    trap === null ? -1 : subject.batch.programAddresses.findLastIndex((address) => BigInt(address) <= trap.pc)
  const differs = subject.result.programs.findIndex(
    (program, n) => differences(program, oracle.result.programs[n]!).length > 0,
  )
  if (trap !== null && oracle.result.trap === null) return Math.max(0, trapped)
  return differs
}

/** What differs between two results of one program, one line each. */
export function differences(subject: ProgramResult, oracle: ProgramResult): string[] {
  const lines: string[] = []
  subject.registers.forEach((value, n) => {
    const wanted = oracle.registers[n]!
    if (value !== wanted)
      lines.push(`${registerName(n)}: got 0x${value.toString(16)}, expected 0x${wanted.toString(16)}`)
  })
  subject.data.forEach((value, offset) => {
    if (value !== oracle.data[offset])
      lines.push(`data[${offset}]: got ${value}, expected ${oracle.data[offset]}`)
  })
  return lines
}

function registerName(n: number): string {
  if (n < 32) return `x${n}`
  return n < 64 ? `f${n - 32}` : 'fcsr'
}

/** Candidates are tried in batches of at most this many programs. */
const CANDIDATES_MAX = 400
const SHRINK_ROUNDS_MAX = 40

/** The smallest program found that still differs. */
export async function shrink(subject: Runner, oracle: Runner, failing: Program): Promise<Program> {
  let best = failing
  for (let round = 0; round < SHRINK_ROUNDS_MAX; round++) {
    const candidates = reductions(best.items)
      .slice(0, CANDIDATES_MAX)
      .map((items) => ({ ...best, items }))
    if (candidates.length === 0) return best
    const next = await firstFailing(subject, oracle, candidates)
    if (next === null) return best
    best = next
  }
  return best
}

async function firstFailing(
  subject: Runner,
  oracle: Runner,
  candidates: readonly Program[],
): Promise<Program | null> {
  let rest = candidates
  while (rest.length > 0) {
    try {
      const [got, wanted] = [await runPrograms(subject, rest), await runPrograms(oracle, rest)]
      const index = firstDifference(got, wanted)
      return index < 0 ? null : rest[index]!
    } catch {
      // One candidate hangs or crashes a side: halve until it stands alone.
      if (rest.length === 1) return null
      const half = rest.slice(0, Math.ceil(rest.length / 2))
      const found = await firstFailing(subject, oracle, half)
      if (found !== null) return found
      rest = rest.slice(half.length)
    }
  }
  return null
}

/** A report of a failure for people: the seed, the program, what differs. */
export async function report(subject: Runner, oracle: Runner, program: Program): Promise<string> {
  const [got, wanted] = [await runPrograms(subject, [program]), await runPrograms(oracle, [program])]
  const trap = got.result.trap
  const lines = differences(got.result.programs[0]!, wanted.result.programs[0]!)
  const used = usedRegisters(program.items)
  const initial = [
    ...[...used.x].map((x) => `x${x}=0x${program.integers[x]!.toString(16)}`),
    ...[...used.f].map((f) => `f${f}=0x${program.floats[f]!.toString(16)}`),
    `fcsr=0x${program.fcsr.toString(16)}`,
  ]
  return [
    `${subject.name} differs from ${oracle.name} (program seed ${program.seed}, base register x${program.baseRegister})`,
    `initially: ${initial.join(' ')}`,
    programListing(program.items),
    ...(trap === null
      ? []
      : [`trapped: cause ${trap.cause} pc 0x${trap.pc.toString(16)} value 0x${trap.value.toString(16)}`]),
    ...lines.slice(0, 20),
  ].join('\n')
}

function usedRegisters(items: readonly Item[]): { x: Set<number>; f: Set<number> } {
  const x = new Set<number>()
  const f = new Set<number>()
  for (const item of items) {
    if (item.kind === 'run') {
      for (const { mnemonic, operands } of item.instructions) {
        for (const [, file, number] of listing(mnemonic, operands).matchAll(/\b([xf])(\d+)\b/g)) {
          if (file === 'x') x.add(Number(number))
          else f.add(Number(number))
        }
      }
    } else if (item.kind !== 'word') {
      const inside = usedRegisters(item.items)
      for (const register of inside.x) x.add(register)
      for (const register of inside.f) f.add(register)
    }
  }
  return { x, f }
}
