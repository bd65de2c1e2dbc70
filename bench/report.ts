/** What a measurement prints: where and when it was made, one row per figure, and how far the runs lay apart. */
import { spawnSync } from 'node:child_process'
import { cpus, loadavg } from 'node:os'
import { formatTable } from '../src/cli/output.ts'
import type { Summary } from './statistics.ts'

/** One figure. */
export interface Row {
  readonly figure: string
  readonly unit: string
  readonly value: Summary
  /** What this figure is promised or hoped to be, in words. */
  readonly aim?: string
}

export interface Report {
  readonly subject: string
  readonly rows: readonly Row[]
  /** Sentences that belong to the figures: versions, counts, what was not measured and why. */
  readonly notes: readonly string[]
}

export interface Circumstances {
  readonly cpu: string
  readonly cores: number
  /** Of the minute before the measurement, in runnable threads. Well below the cores, or the figures are of a busy machine. */
  readonly loadBefore: number
  readonly node: string
  readonly date: string
  readonly commit: string
}

/** Ask before measuring: the load is that of the minute before. */
export function circumstances(): Circumstances {
  const processors = cpus()
  return {
    cpu: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    loadBefore: Math.round(loadavg()[0] * 100) / 100,
    node: process.version,
    date: new Date().toISOString(),
    commit: commit(),
  }
}

function commit(): string {
  const git = (...args: string[]) => {
    const { status, stdout } = spawnSync('git', args, { cwd: import.meta.dirname, encoding: 'utf8' })
    return status === 0 ? stdout.trim() : null
  }
  const hash = git('rev-parse', '--short', 'HEAD')
  if (hash === null) return 'unknown'
  return git('status', '--porcelain', '--', '../src') === '' ? hash : `${hash} with changes`
}

export function printReport(report: Report, around: Circumstances, asJson: boolean): void {
  if (asJson) {
    process.stdout.write(`${JSON.stringify({ ...report, circumstances: around })}\n`)
    return
  }
  const { cpu, cores, loadBefore, node, date, commit } = around
  const header = ['FIGURE', 'MEDIAN', 'LEAST', 'GREATEST', 'UNIT', 'RUNS', 'AIM']
  const rows = report.rows.map(({ figure, unit, value, aim }) => [
    figure,
    formatFigure(value.median),
    formatFigure(value.least),
    formatFigure(value.greatest),
    unit,
    String(value.count),
    aim ?? '-',
  ])
  process.stdout.write(`${report.subject}: ${cpu}, ${cores} cores, load before ${loadBefore}, Node ${node}\n`)
  process.stdout.write(`${date}, commit ${commit}\n\n${formatTable(header, rows)}`)
  for (const note of report.notes) process.stdout.write(`${note}\n`)
}

/** Three significant digits are more than measurements of this kind are worth; whole numbers stay whole. */
export function formatFigure(value: number): string {
  if (Number.isInteger(value)) return String(value)
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value) || 1)))
  return value.toFixed(Math.min(digits, 3))
}

/** For the impatient: what is being measured now. */
export function progress(text: string): void {
  process.stderr.write(`${text}\n`)
}
