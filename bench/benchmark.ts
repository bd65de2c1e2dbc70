/**
 * `npm run bench`: the same work in the same guest on this machine and on QEMU, in turns, and the ratios of their
 * speeds. Each side's guest boots once and stays up; time is taken outside, between two lines on the guest's console.
 */
import { parseArgs } from 'node:util'
import { reportError } from '../src/cli/exit-codes.ts'
import { formatTable } from '../src/cli/output.ts'
import { qemuVersion } from '../test/isa/qemu.ts'
import { prepareGuestImage } from './guest-image.ts'
import { circumstances, formatFigure, progress } from './report.ts'
import { geometricMean, runWorkload, type Sample, speedRatios } from './samples.ts'
import { type RunningSide, SIDES, type Side } from './sides.ts'
import { summarize } from './statistics.ts'
import { QUICK_SHARE, WORKLOADS, type Workload } from './workloads.ts'

interface Options {
  readonly workloads: readonly Workload[]
  readonly sides: readonly Side[]
  readonly rounds: number
  readonly quick: boolean
  readonly json: boolean
}

const ROUNDS_DEFAULT = 3
const ROUNDS_MAX = 100
const REFERENCE = 'qemu'

function usage(problem: string): never {
  const list = (entries: readonly (readonly [string, string])[]) =>
    entries.map(([name, what]) => `  ${name.padEnd(12)} ${what}`).join('\n')
  process.stderr.write(
    `${problem}\nusage: npm run bench -- [--quick] [--only NAME,...] [--sides NAME,...] [--rounds N] [--json]\n\n` +
      `sides\n${list(SIDES.map(({ name, what }) => [name, what]))}\n\n` +
      `workloads\n${list(WORKLOADS.map(({ name, work }) => [name, work]))}\n`,
  )
  process.exit(2)
}

function parse(): Options {
  try {
    const { values } = parseArgs({
      options: {
        quick: { type: 'boolean', default: false },
        only: { type: 'string' },
        sides: { type: 'string' },
        rounds: { type: 'string' },
        json: { type: 'boolean', default: false },
      },
    })
    const rounds = Number(values.rounds ?? (values.quick ? 1 : ROUNDS_DEFAULT))
    if (!Number.isInteger(rounds) || rounds < 1 || rounds > ROUNDS_MAX)
      usage(`--rounds takes 1 to ${ROUNDS_MAX}`)
    return {
      workloads: pick(WORKLOADS, values.only),
      sides: pick(SIDES, values.sides),
      rounds,
      quick: values.quick,
      json: values.json,
    }
  } catch (error) {
    usage((error as Error).message)
  }
}

function pick<T extends { readonly name: string }>(
  all: readonly T[],
  names: string | undefined,
): readonly T[] {
  if (names === undefined) return all
  return names.split(',').map((name) => {
    const found = all.find((candidate) => candidate.name === name)
    if (found === undefined) throw new RangeError(`there is no ${name}`)
    return found
  })
}

async function measure(options: Options): Promise<Sample[]> {
  const guest = await prepareGuestImage()
  const running: { side: Side; machine: RunningSide; from: number }[] = []
  try {
    for (const side of options.sides) {
      progress(`${side.name}: booting`)
      const machine = await side.start(guest)
      running.push({ side, machine, from: 0 })
      running.at(-1)!.from = (await machine.console.marker('@ready', 0)).end
    }
    const samples: Sample[] = []
    for (let round = 1; round <= options.rounds; round++) {
      for (const workload of options.workloads) {
        const repeats = Math.ceil(workload.repeats * (options.quick ? QUICK_SHARE : 1))
        for (const entry of running) {
          const { side, machine } = entry
          const { sample, end } = await runWorkload(side.name, machine, workload, repeats, round, entry.from)
          entry.from = end
          samples.push(sample)
        }
        progress(describe(samples.slice(-running.length)))
        checkResults(samples.slice(-running.length))
      }
    }
    return samples
  } finally {
    await Promise.all(running.map(({ machine }) => machine.close()))
  }
}

function describe(samples: readonly Sample[]): string {
  const parts = samples.map(
    ({ side, wallSeconds, cpuSeconds }) =>
      `${side} ${formatFigure(wallSeconds)} s (CPU ${formatFigure(cpuSeconds)})`,
  )
  return `${samples[0].round} ${samples[0].workload}: ${parts.join(', ')}`
}

/** A wrong result is no measurement. */
function checkResults(samples: readonly Sample[]): void {
  const results = new Set(samples.map(({ result }) => result))
  if (results.size === 1) return
  const said = samples.map(({ side, result }) => `${side}: ${result}`).join(', ')
  throw new Error(`${samples[0].workload} came out differently: ${said}`)
}

function printTable(options: Options, samples: readonly Sample[]): void {
  const sides = options.sides.map(({ name }) => name)
  const compared = sides.includes(REFERENCE) ? sides.filter((name) => name !== REFERENCE) : []
  const header = [
    'WORKLOAD',
    ...sides.flatMap((name) => [`${name} s`, 'CPU s', 'MIPS']),
    ...compared.flatMap((name) => [`${name}/${REFERENCE}`, 'SPREAD', 'BY CPU']),
  ]
  const median = (name: string, side: string, of: (sample: Sample) => number | null) => {
    const values = samples
      .filter((sample) => sample.workload === name && sample.side === side)
      .flatMap((sample) => of(sample) ?? [])
    return values.length === 0 ? null : summarize(values).median
  }
  const show = (value: number | null) => (value === null ? '-' : formatFigure(value))
  const rows = options.workloads.map(({ name }) => {
    // The instructions of a workload are the same on every side, but for the timer interrupts it meets.
    const retired = median(
      name,
      sides.find((side) => median(name, side, (s) => s.retired) !== null) ?? '',
      (s) => s.retired,
    )
    return [
      name,
      ...sides.flatMap((side) => {
        const wall = median(name, side, (sample) => sample.wallSeconds)
        return [
          show(wall),
          show(median(name, side, (sample) => sample.cpuSeconds)),
          wall === null || retired === null ? '-' : String(Math.round(retired / wall / 1e6)),
        ]
      }),
      ...compared.flatMap((side) => {
        const wall = speedRatios(samples, name, side, REFERENCE, 'wallSeconds')
        const cpu = speedRatios(samples, name, side, REFERENCE, 'cpuSeconds')
        if (wall === null) return ['-', '-', '-']
        return [
          wall.median.toFixed(2),
          `${wall.least.toFixed(2)}-${wall.greatest.toFixed(2)}`,
          cpu === null ? '-' : cpu.median.toFixed(2),
        ]
      }),
    ]
  })
  const means = compared.flatMap((side) => {
    const mean = (seconds: 'wallSeconds' | 'cpuSeconds') => {
      const ratios = options.workloads.flatMap(
        ({ name }) => speedRatios(samples, name, side, REFERENCE, seconds)?.median ?? [],
      )
      return ratios.length === 0 ? '-' : geometricMean(ratios).toFixed(2)
    }
    return [mean('wallSeconds'), '', mean('cpuSeconds')]
  })
  if (compared.length > 0) rows.push(['geometric mean', ...sides.flatMap(() => ['', '', '']), ...means])
  process.stdout.write(formatTable(header, rows))
}

const options = parse()
const around = circumstances()
try {
  const samples = await measure(options)
  if (options.json)
    process.stdout.write(`${JSON.stringify({ circumstances: around, qemu: await qemuVersion(), samples })}\n`)
  else {
    process.stdout.write(
      `${around.cpu}, ${around.cores} cores, load before ${around.loadBefore}, ${around.date}, commit ${around.commit}\n\n`,
    )
    printTable(options, samples)
  }
} catch (error) {
  process.exitCode = reportError(error, (text) => process.stderr.write(text))
}
