/**
 * `npm run bench`: the same work in the same guest on this machine in all its roles and on QEMU, in turns, and the
 * ratios of their speeds (docs/benchmarks.md).
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { reportError } from '../src/cli/exit-codes.ts'
import { UnderstudyError } from '../src/errors.ts'
import { openImage } from '../src/image/directory.ts'
import { qemuVersion } from '../test/isa/qemu.ts'
import { type BenchmarkReport, benchmarkJson, formatBenchmark } from './benchmark-report.ts'
import { drawChart } from './chart.ts'
import { compare } from './comparisons.ts'
import { circumstances, progress } from './report.ts'
import { type Measured, measure, type Plan } from './sessions.ts'
import { REPLAY, SIDES } from './sides.ts'
import { WORKLOADS } from './workloads.ts'

interface Options {
  readonly plan: Omit<Plan, 'directory' | 'stop'>
  readonly json: boolean
  readonly out: string | null
}

const ROUNDS_DEFAULT = 3
/** The first compiles what the second runs. */
const ROUNDS_QUICK = 2
const ROUNDS_MAX = 100

const BOOT = { name: 'boot', work: 'power-on to the first line of /init and to ready, image tiny' }

function usage(problem: string): never {
  const list = (entries: readonly { readonly name: string; readonly text: string }[]) =>
    entries.map(({ name, text }) => `  ${name.padEnd(12)} ${text}`).join('\n')
  const sides = [...SIDES, REPLAY].map(({ name, what }) => ({ name, text: what }))
  process.stderr.write(
    `${problem}
usage: npm run bench -- [--quick] [--only NAME,...] [--sides NAME,...] [--rounds N] [--json] [--out DIR]

  --quick      a quarter of the work, ${ROUNDS_QUICK} rounds
  --json       one object on standard output instead of tables
  --out        writes bench.json, bench.txt and bench.svg there

sides
${list(sides)}

workloads
${list([BOOT, ...WORKLOADS].map(({ name, work }) => ({ name, text: work })))}
`,
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
        out: { type: 'string' },
      },
    })
    const rounds = Number(values.rounds ?? (values.quick ? ROUNDS_QUICK : ROUNDS_DEFAULT))
    if (!Number.isInteger(rounds) || rounds < 1 || rounds > ROUNDS_MAX)
      throw new RangeError(`--rounds takes 1 to ${ROUNDS_MAX}`)
    const only = values.only?.split(',') ?? [BOOT.name, ...WORKLOADS.map(({ name }) => name)]
    const usual = [...SIDES.filter((side) => side.usual), REPLAY].map(({ name }) => name)
    const sides = values.sides?.split(',') ?? usual
    const known = (names: readonly string[], all: readonly { readonly name: string }[]) => {
      for (const name of names)
        if (!all.some((entry) => entry.name === name)) throw new RangeError(`there is no ${name}`)
    }
    known(only, [BOOT, ...WORKLOADS])
    known(sides, [REPLAY, ...SIDES])
    if (sides.includes(REPLAY.name) && !sides.includes('record')) throw new RangeError('replay needs record')
    const plan = {
      workloads: WORKLOADS.filter(({ name }) => only.includes(name)),
      boot: only.includes(BOOT.name),
      sides: SIDES.filter(({ name }) => sides.includes(name)),
      replay: sides.includes(REPLAY.name),
      rounds,
      quick: values.quick,
    }
    return { plan, json: values.json, out: values.out ?? null }
  } catch (error) {
    usage((error as Error).message)
  }
}

async function versions(): Promise<{ [what: string]: string }> {
  const { packages } = (await openImage('tiny')).manifest
  const kernel = packages.find(({ name }) => /^linux-image-[0-9]/.test(name))
  const qemu = /version (\S+)/.exec((await qemuVersion()) ?? '')
  return { QEMU: qemu?.[1] ?? 'none', Linux: kernel?.version ?? 'unknown' }
}

async function main({ plan, json, out }: Options): Promise<void> {
  const around = circumstances()
  const directory = await mkdtemp(join(tmpdir(), 'understudy-bench-'))
  const into: Measured = { samples: [], notes: [] }
  const stopping = new AbortController()
  // Once: whoever has no patience for what still has to be closed asks again.
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => stopping.abort(new Error(`stopped by ${signal}`)))
  try {
    await measure({ ...plan, directory, stop: stopping.signal }, into)
  } finally {
    await rm(directory, { recursive: true, force: true })
    // What was measured before something failed is still worth having.
    if (into.samples.length > 0) await leave(await reportOf(plan, around, into), json, out)
  }
}

async function reportOf(
  plan: Options['plan'],
  around: BenchmarkReport['circumstances'],
  { samples, notes }: Measured,
): Promise<BenchmarkReport> {
  const names = (of: 'workload' | 'side') => [...new Set(samples.map((sample) => sample[of]))]
  const order = [...SIDES, REPLAY].map(({ name }) => name)
  const workloads = names('workload')
  return {
    circumstances: around,
    versions: await versions(),
    ...{ quick: plan.quick, rounds: plan.rounds, workloads, notes, samples },
    sides: names('side').sort((a, b) => order.indexOf(a) - order.indexOf(b)),
    comparisons: compare(samples, workloads),
  }
}

async function leave(report: BenchmarkReport, json: boolean, out: string | null): Promise<void> {
  process.stdout.write(json ? benchmarkJson(report) : formatBenchmark(report))
  if (out === null) return
  await mkdir(out, { recursive: true })
  await writeFile(join(out, 'bench.json'), benchmarkJson(report))
  await writeFile(join(out, 'bench.txt'), formatBenchmark(report))
  const drawn = report.comparisons.some(({ side, reference }) => side === 'plain' && reference === 'qemu')
  if (drawn) await writeFile(join(out, 'bench.svg'), drawChart(report))
  progress(`written to ${out}`)
}

try {
  await main(parse())
} catch (error) {
  const say = (text: string) => process.stderr.write(text)
  if (error instanceof UnderstudyError) process.exitCode = reportError(error, say)
  else {
    // Of a guest, or of whoever stopped this: the words say all.
    say(`error ${(error as Error).message}\n`)
    process.exitCode = 1
  }
}
