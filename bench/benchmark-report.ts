/** What `npm run bench` leaves: tables for people, one JSON object for programs. */
import { formatTable } from '../src/cli/output.ts'
import { type Comparison, type Ratio, type Timing, timingOf } from './comparisons.ts'
import { type Circumstances, formatFigure } from './report.ts'
import type { Sample } from './samples.ts'
import type { Summary } from './statistics.ts'

export interface BenchmarkReport {
  readonly circumstances: Circumstances
  /** QEMU, the guest's kernel and compiler. */
  readonly versions: { readonly [what: string]: string }
  readonly quick: boolean
  readonly rounds: number
  readonly sides: readonly string[]
  /** In the order of the tables. */
  readonly workloads: readonly string[]
  readonly comparisons: readonly Comparison[]
  readonly notes: readonly string[]
  readonly samples: readonly Sample[]
}

/** One object; a sample a line, so that two of them can be compared line by line. */
export function benchmarkJson({ samples, ...rest }: BenchmarkReport): string {
  const lines = samples.map((sample) => JSON.stringify(sample)).join(',\n')
  return `${JSON.stringify(rest).slice(0, -1)},\n"samples":[\n${lines}\n]}\n`
}

export function formatBenchmark(report: BenchmarkReport): string {
  const { cpu, cores, loadBefore, node, date, commit } = report.circumstances
  const versions = Object.entries(report.versions).map(([what, version]) => `${what} ${version}`)
  return [
    `${cpu}, ${cores} cores, load before ${loadBefore}, Node ${node}, ${versions.join(', ')}`,
    `${date}, commit ${commit}, ${report.rounds} rounds${report.quick ? ', quick' : ''}`,
    '',
    'Seconds of host time',
    timings(report, ({ wallSeconds }) => formatFigure(wallSeconds)),
    'Seconds of CPU time, user and system; of a pair, the primary’s',
    timings(report, ({ cpuSeconds }) => formatFigure(cpuSeconds)),
    'Million guest instructions a second of host time',
    timings(report, ({ mips }) => (mips === null ? '-' : String(Math.round(mips)))),
    ...(report.comparisons.length === 0 ? [] : ratioTables(report.comparisons)),
    ...report.notes,
    '',
  ].join('\n')
}

function timings({ sides, workloads, samples }: BenchmarkReport, show: (timing: Timing) => string): string {
  const header = ['WORKLOAD', ...sides.map((side) => side.toUpperCase())]
  const rows = workloads.map((workload) => [
    workload,
    ...sides.map((side) => {
      const timing = timingOf(samples, workload, side)
      return timing === null ? '-' : show(timing)
    }),
  ])
  return formatTable(header, rows)
}

function ratioTables(comparisons: readonly Comparison[]): string[] {
  const aims = comparisons.map(({ aim }) => {
    if (aim === null) return '-'
    return aim.each === null ? `${aim.mean}` : `${aim.mean}, each ${aim.each}`
  })
  const byWall = ratios(
    comparisons,
    ({ wall }) => `${factor(wall.median)} (${spread(wall)})`,
    ({ meanWall }) => factor(meanWall),
  )
  const byCpu = ratios(
    comparisons,
    ({ cpu }) => (cpu === null ? '-' : `${factor(cpu.median)} (${spread(cpu)})`),
    ({ meanCpu }) => (meanCpu === null ? '-' : factor(meanCpu)),
  )
  return [
    'Times as fast as, by host time: median (least to greatest)',
    formatTable(byWall.header, [...byWall.rows, ['aim, at least', ...aims]]),
    'The same by CPU time',
    formatTable(byCpu.header, byCpu.rows),
  ]
}

function ratios(
  comparisons: readonly Comparison[],
  show: (ratio: Ratio) => string,
  mean: (comparison: Comparison) => string,
): { readonly header: string[]; readonly rows: string[][] } {
  const workloads = [...new Set(comparisons.flatMap(({ ratios }) => ratios.map(({ workload }) => workload)))]
  const rows = workloads.map((workload) => [
    workload,
    ...comparisons.map(({ ratios }) => {
      const ratio = ratios.find((candidate) => candidate.workload === workload)
      return ratio === undefined ? '-' : show(ratio)
    }),
  ])
  return {
    header: ['WORKLOAD', ...comparisons.map(({ side, reference }) => `${side}/${reference}`.toUpperCase())],
    rows: [...rows, ['geometric mean', ...comparisons.map(mean)]],
  }
}

function spread({ least, greatest }: Summary): string {
  return `${factor(least)}-${factor(greatest)}`
}

/** Two decimals: a difference of one in a hundred is what recording is promised to stay within. */
export function factor(value: number): string {
  return value.toFixed(2)
}
