/**
 * Long random runs: `npm run fuzz -- --minutes 30 --seed 1`. Stops at the first difference, shrinks it, prints it
 * and ends with status 1. Plain programs and system programs are compared with QEMU on both engines; system
 * programs also between the engines, with timers, unfenced changes and every division into runs; busy programs
 * both ways. `--repeat` runs one case of busy programs again, as a report names it.
 */
import { parseArgs } from 'node:util'
import { ENGINES } from '../../src/machine/cpu/isa-test/engine.ts'
import { busyCase, runBusyCase } from './busy/differential.ts'
import { investigateBusy } from './busy/investigate.ts'
import { caseNamed } from './busy/report.ts'
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
const BUSY_PROGRAMS = 12
const BUSY_FLAVOURS = ['engines', 'qemu'] as const
const KINDS = ['plain', 'system', 'engines', 'busy'] as const
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
    case 'busy':
      return busyRound(seed, progress)
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

async function busyRound(seed: number, progress: Progress): Promise<string | null> {
  for (const flavour of BUSY_FLAVOURS) {
    const which = busyCase(seed, BUSY_PROGRAMS, flavour)
    const { retired, traps, failure } = await runBusyCase(which)
    progress.programs += BUSY_PROGRAMS
    progress.retired += retired
    progress.traps += traps
    if (failure !== null) return investigateBusy(which, failure, SHRINK_ATTEMPTS_MAX)
  }
  return null
}

async function repeat(name: string): Promise<number> {
  const which = caseNamed(name)
  const { retired, failure } = await runBusyCase(which)
  console.log(failure === null ? `${retired} instructions, no difference` : failure.lines.join('\n'))
  if (failure === null) return 0
  console.log(await investigateBusy(which, failure, SHRINK_ATTEMPTS_MAX))
  return 1
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '1' },
      seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
      kind: { type: 'string', multiple: true, default: [...KINDS] },
      repeat: { type: 'string' },
    },
  })
  if ((await qemuVersion()) === null) {
    console.error('qemu-system-riscv64 is not installed (Debian package qemu-system-misc)')
    return 2
  }
  if (values.repeat !== undefined) return repeat(values.repeat)
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
      `round ${n}: ${progress.programs} programs, ${progress.retired} instructions, ${progress.traps} traps compared in ${cpuSeconds().toFixed(1)} s of CPU time`,
    )
  }
  return 0
}

process.exitCode = await main()
