/**
 * Long random runs: `npm run fuzz -- --minutes 30 --seed 1`. Stops at the first difference, shrinks it, prints it
 * and ends with status 1. Plain programs and system programs are compared with QEMU on both engines; system
 * programs also between the engines, with timers, unfenced changes and every division into runs.
 */
import { parseArgs } from 'node:util'
import { ENGINES } from '../../src/machine/cpu/isa-test/engine.ts'
import { engineRunner, firstDifference, QEMU, report, runPrograms, shrink } from './differential.ts'
import { MIXES } from './mixes.ts'
import { qemuVersion } from './qemu.ts'
import { randomProgram } from './random-program.ts'
import { shrinkOneByOne } from './reductions.ts'
import { compareBothEngines, compareWithQemu, systemOracle, systemReport } from './system-differential.ts'
import { systemProgram } from './system-program.ts'

const PLAIN_PROGRAMS = 40
const SYSTEM_PROGRAMS = 8
const ITEMS = 150
const SHRINK_ATTEMPTS_MAX = 1500
const KINDS = ['plain', 'system', 'engines'] as const
type Kind = (typeof KINDS)[number]

interface Progress {
  programs: number
  retired: bigint
  traps: number
}

/** One round of a kind; the report of a difference, or null. */
async function round(kind: Kind, seed: number, progress: Progress): Promise<string | null> {
  switch (kind) {
    case 'plain':
      return plainRound(seed, progress)
    case 'system':
      return systemRound(seed, progress)
    case 'engines':
      return enginesRound(seed, progress)
  }
}

async function plainRound(seed: number, progress: Progress): Promise<string | null> {
  const mixes = Object.values(MIXES)
  const mix = mixes[seed % mixes.length]!
  const programs = Array.from({ length: PLAIN_PROGRAMS }, (_, n) =>
    randomProgram((seed + n) >>> 0, ITEMS, { mix }),
  )
  const oracle = await runPrograms(QEMU, programs)
  for (const engine of ENGINES) {
    const runner = engineRunner(engine)
    const subject = await runPrograms(runner, programs)
    progress.programs += programs.length
    progress.retired += subject.retired
    const index = firstDifference(subject, oracle)
    if (index >= 0) return report(runner, QEMU, await shrink(runner, QEMU, programs[index]!))
  }
  return null
}

async function systemRound(seed: number, progress: Progress): Promise<string | null> {
  for (let n = 0; n < SYSTEM_PROGRAMS; n++) {
    const program = systemProgram((seed + n) >>> 0, ITEMS, 'qemu')
    const oracle = await systemOracle(program)
    for (const engine of ENGINES) {
      const { lines, retired, traps } = compareWithQemu(engine, program, oracle)
      progress.programs += 1
      progress.retired += retired
      progress.traps += traps
      if (lines.length === 0) continue
      const differs = async (candidate: typeof program) =>
        compareWithQemu(engine, candidate, await systemOracle(candidate)).lines.length > 0
      const smallest = await shrinkOneByOne(program, differs, SHRINK_ATTEMPTS_MAX)
      const difference = compareWithQemu(engine, smallest, await systemOracle(smallest))
      return systemReport(`${engine} differs from QEMU`, smallest, difference.lines)
    }
  }
  return null
}

async function enginesRound(seed: number, progress: Progress): Promise<string | null> {
  for (let n = 0; n < SYSTEM_PROGRAMS; n++) {
    const program = systemProgram((seed + n) >>> 0, ITEMS, 'engines')
    const { lines, retired } = compareBothEngines(program)
    progress.programs += 1
    progress.retired += retired
    if (lines.length === 0) continue
    const differs = async (candidate: typeof program) => compareBothEngines(candidate).lines.length > 0
    const smallest = await shrinkOneByOne(program, differs, SHRINK_ATTEMPTS_MAX)
    return systemReport('regions differ from the interpreter', smallest, compareBothEngines(smallest).lines)
  }
  return null
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '1' },
      seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
      kind: { type: 'string', multiple: true, default: [...KINDS] },
    },
  })
  if ((await qemuVersion()) === null) {
    console.error('qemu-system-riscv64 is not installed (Debian package qemu-system-misc)')
    return 2
  }
  const seed = Number(values.seed)
  const kinds = KINDS.filter((kind) => values.kind.includes(kind))
  const endMs = performance.now() + Number(values.minutes) * 60_000
  const progress: Progress = { programs: 0, retired: 0n, traps: 0 }
  console.log(`seed ${seed}, ${kinds.join(', ')}`)
  for (let n = 0; performance.now() < endMs; n++) {
    // Far apart, so that no two rounds share a program.
    const roundSeed = (seed + 1000 * n) >>> 0
    const failure = await round(kinds[n % kinds.length]!, roundSeed, progress)
    if (failure !== null) {
      console.error(`round ${n}, seed ${roundSeed}\n${failure}`)
      return 1
    }
    console.log(
      `round ${n}: ${progress.programs} programs, ${progress.retired} instructions, ${progress.traps} traps compared`,
    )
  }
  return 0
}

process.exitCode = await main()
