/**
 * Steady guest speed. Each kernel is run for a long and for a short while, and only the difference counts: what
 * starting, compiling and ending cost is in both. This machine and QEMU take turns, so that a disturbance hits all.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { QEMU_CPU, qemuVersion } from '../test/isa/qemu.ts'
import { digestLine } from '../test/machine-process.ts'
import { bareProgram, type Kernel } from './bare-program.ts'
import { INTEGER_KERNELS } from './kernels-integer.ts'
import { MIXED_KERNELS } from './kernels-mixed.ts'
import { progress, type Report, type Row } from './report.ts'
import { type Summary, summarize } from './statistics.ts'
import { timeProcess } from './timed-process.ts'

const UNDERSTUDY = join(import.meta.dirname, '../bin/understudy.mjs')
const RUN_MS_MAX = 120_000
/** Seconds of work, and far more than regions take to be compiled and optimised. */
const LONG_INSTRUCTIONS = 2_000_000_000
/** The interpreter has nothing to warm up and is slower. */
const INTERPRETER_INSTRUCTIONS = 400_000_000
/** What the short run is of the long one: past the compiling, yet well apart. */
const SHORT_SHARE = 0.3

const AIM_MIPS = 400

/** `run` times one program, in seconds. */
interface Engine {
  readonly name: string
  readonly instructions: number
  run(elf: string): Promise<number>
}

interface Length {
  readonly repeats: number
  readonly retired: number
}

export async function measureSpeed(rounds: number): Promise<Report> {
  const directory = await mkdtemp(join(tmpdir(), 'understudy-speed-'))
  try {
    const version = await qemuVersion()
    const engines = [ours('regions', LONG_INSTRUCTIONS), ours('interpreter', INTERPRETER_INSTRUCTIONS)]
    if (version !== null) engines.push(qemu())
    const rows: Row[] = []
    for (const kernel of [...INTEGER_KERNELS, ...MIXED_KERNELS]) {
      rows.push(...(await measureKernel(kernel, engines, rounds, directory)))
    }
    const notes = [version === null ? 'QEMU is not installed: no ratios.' : `Beside ${version}, -bios none.`]
    return { subject: 'speed', rows, notes }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

async function measureKernel(
  kernel: Kernel,
  engines: readonly Engine[],
  rounds: number,
  directory: string,
): Promise<Row[]> {
  const perRepeat = await instructionsPerRepeat(kernel, directory)
  const mips = new Map<string, number[]>(engines.map(({ name }) => [name, []]))
  for (let round = 1; round <= rounds; round++) {
    progress(`${kernel.name}, round ${round} of ${rounds}`)
    for (const engine of engines) {
      const long = lengthOf(engine.instructions, perRepeat)
      const short = lengthOf(engine.instructions * SHORT_SHARE, perRepeat)
      const shortSeconds = await engine.run(await programFile(kernel, short.repeats, directory))
      const longSeconds = await engine.run(await programFile(kernel, long.repeats, directory))
      mips.get(engine.name)?.push((long.retired - short.retired) / (longSeconds - shortSeconds) / 1e6)
    }
  }
  const rows = engines.map(({ name }): Row => {
    const value = summarize(mips.get(name) ?? [])
    const aim = name === 'regions' && kernel.isInteger ? { aim: `${AIM_MIPS} or more` } : {}
    return { figure: `${kernel.name}, ${name}`, unit: 'MIPS', value, ...aim }
  })
  const [own, others] = [mips.get('regions'), mips.get('qemu')]
  if (own !== undefined && others !== undefined)
    rows.push({ figure: `${kernel.name}, regions / QEMU`, unit: '', value: ratios(own, others) })
  return rows
}

/** Of runs of the same round, which had the same neighbours. */
function ratios(own: readonly number[], others: readonly number[]): Summary {
  return summarize(own.map((value, round) => value / others[round]))
}

function lengthOf(instructions: number, perRepeat: number): Length {
  const repeats = Math.max(1, Math.round(instructions / perRepeat))
  return { repeats, retired: repeats * perRepeat }
}

/** Counted by this machine. The same holds for any other: the programs read neither clock nor device. */
async function instructionsPerRepeat(kernel: Kernel, directory: string): Promise<number> {
  const retired = async (repeats: number) => {
    const elf = await programFile(kernel, repeats, directory)
    const { stderr } = await timeProcess(process.execPath, runArguments(elf, 'regions'), RUN_MS_MAX)
    return digestLine({ status: 0, signal: null, stdout: '', stderr }).retired
  }
  return (await retired(11)) / 10 - (await retired(1)) / 10
}

async function programFile(kernel: Kernel, repeats: number, directory: string): Promise<string> {
  const path = join(directory, `${kernel.name}.elf`)
  await writeFile(path, bareProgram(kernel, repeats))
  return path
}

function runArguments(elf: string, engine: 'regions' | 'interpreter'): string[] {
  return [UNDERSTUDY, 'machine', 'run', '--bare', elf, '--engine', engine, '--digest']
}

function ours(name: 'regions' | 'interpreter', instructions: number): Engine {
  return {
    name,
    instructions,
    run: async (elf) => (await timeProcess(process.execPath, runArguments(elf, name), RUN_MS_MAX)).seconds,
  }
}

function qemu(): Engine {
  const options = [
    '-M',
    'virt',
    '-cpu',
    QEMU_CPU,
    '-m',
    '512',
    '-bios',
    'none',
    '-nodefaults',
    '-display',
    'none',
  ]
  return {
    name: 'qemu',
    instructions: LONG_INSTRUCTIONS,
    run: async (elf) =>
      (await timeProcess('qemu-system-riscv64', [...options, '-kernel', elf], RUN_MS_MAX)).seconds,
  }
}
