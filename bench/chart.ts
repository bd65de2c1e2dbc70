/** The benchmarks as a picture: for each workload how many times as fast as QEMU, and what the other pairs come to. */
import { type BenchmarkReport, factor } from './benchmark-report.ts'
import type { Comparison, Ratio } from './comparisons.ts'

const WIDTH = 880
const ROW = 20
const BAR = 12
const LEFT = 130
const RIGHT = 60
const TOP = 96
const LINE = 22
/** The axis is logarithmic: half as fast is as far from 1 as twice. */
const TICKS = [0.1, 0.2, 0.5, 1, 2, 5, 10]

const STYLE = `
    .sheet { fill: #ffffff; stroke: #d0d7de }
    .ink { fill: #1f2328 }
    .soft { fill: #59636e }
    .bold { font-weight: 600 }
    .faster { fill: #4ac26b }
    .slower { fill: #fb8f44 }
    .grid { stroke: #d0d7de }
    .one { stroke: #59636e; stroke-width: 1.6 }
    .mean { stroke: #0969da; stroke-width: 2; stroke-dasharray: 6 4 }
    .spread { stroke: #1f2328; stroke-width: 1.4 }
    .cpu { fill: #ffffff; stroke: #1f2328; stroke-width: 1.4 }
    @media (prefers-color-scheme: dark) {
      .sheet { fill: #0d1117; stroke: #3d444d }
      .ink { fill: #f0f6fc }
      .soft { fill: #9198a1 }
      .faster { fill: #2ea043 }
      .slower { fill: #db6d28 }
      .grid { stroke: #3d444d }
      .one { stroke: #9198a1 }
      .mean { stroke: #4493f8 }
      .spread { stroke: #f0f6fc }
      .cpu { fill: #0d1117; stroke: #f0f6fc }
    }`

/** An SVG. Throws a RangeError if the report does not compare `plain` with `qemu`. */
export function drawChart(report: BenchmarkReport): string {
  const isMain = ({ side, reference }: Comparison) => side === 'plain' && reference === 'qemu'
  const main = report.comparisons.find(isMain)
  if (main === undefined) throw new RangeError('the chart shows this machine beside QEMU')
  const others = report.comparisons.filter((comparison) => !isMain(comparison))
  const chartTop = TOP + 10
  const chartBottom = chartTop + main.ratios.length * ROW + 8
  const height = chartBottom + 50 + others.length * LINE + 16
  const values = main.ratios.flatMap(({ wall, cpu }) => [wall.least, wall.greatest, cpu?.median ?? 1])
  const x = scale(Math.min(0.5, ...values), Math.max(2, ...values))
  const ticks = TICKS.filter((tick) => x(tick) >= LEFT - 1 && x(tick) <= WIDTH - RIGHT + 1)
  const { cpu, cores } = report.circumstances
  const text = (at: { x: number; y: number }, words: string, type = 'ink', anchor = 'start') =>
    `<text class="${type}" x="${at.x.toFixed(1)}" y="${at.y.toFixed(1)}" text-anchor="${anchor}">${escaped(words)}</text>`
  const vertical = (value: number, type: string) =>
    `<line class="${type}" x1="${x(value).toFixed(1)}" x2="${x(value).toFixed(1)}" y1="${chartTop - 4}" y2="${chartBottom}"/>`
  const parts = [
    text({ x: 24, y: 34 }, 'Times as fast as QEMU, the same guest', 'ink bold'),
    text({ x: 24, y: 56 }, `${cpu}, ${cores} cores, ${versionsOf(report)}`, 'soft'),
    text({ x: 24, y: 76 }, conditionsOf(report), 'soft'),
    ...ticks.map((tick) => vertical(tick, tick === 1 ? 'one' : 'grid')),
    ...ticks.map((tick) => text({ x: x(tick), y: chartBottom + 18 }, String(tick), 'soft', 'middle')),
    ...main.ratios.map((ratio, row) => bar(ratio, chartTop + row * ROW, x, text)),
    vertical(main.meanWall, 'mean'),
    text({ x: 24, y: chartBottom + 42 }, meanWords(main), 'ink bold'),
    ...others.map((other, row) =>
      text(
        { x: 24, y: chartBottom + 42 + (row + 1) * LINE },
        `${other.side} / ${other.reference}: ${meanWords(other)}`,
      ),
    ),
  ]
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-labelledby="title"
  font-family="system-ui, 'Segoe UI', Helvetica, Arial, sans-serif" font-size="13">
  <title id="title">Understudy beside QEMU: geometric mean ${factor(main.meanWall)} times as fast</title>
  <style>${STYLE}
  </style>
  <rect class="sheet" x="0.5" y="0.5" width="${WIDTH - 1}" height="${height - 1}" rx="8"/>
  ${parts.join('\n  ')}
</svg>
`
}

function meanWords({ meanWall, meanCpu }: Comparison): string {
  const byCpu = meanCpu === null ? '' : ` (by CPU time ${factor(meanCpu)})`
  return `geometric mean ${factor(meanWall)}${byCpu}`
}

type Scale = (value: number) => number

function scale(least: number, greatest: number): Scale {
  const [from, to] = [Math.log(least / 1.05), Math.log(greatest * 1.05)]
  return (value) => LEFT + ((Math.log(value) - from) / (to - from)) * (WIDTH - LEFT - RIGHT)
}

function bar(
  { workload, wall, cpu }: Ratio,
  top: number,
  x: Scale,
  text: (at: { x: number; y: number }, words: string, type?: string, anchor?: string) => string,
): string {
  const [one, end] = [x(1), x(wall.median)]
  const middle = top + ROW / 2
  const type = wall.median >= 1 ? 'faster' : 'slower'
  const [least, greatest] = [x(wall.least), x(wall.greatest)]
  return [
    text({ x: LEFT - 10, y: middle + 4 }, workload, 'ink', 'end'),
    `<rect class="${type}" x="${Math.min(one, end).toFixed(1)}" y="${middle - BAR / 2}" width="${Math.abs(end - one).toFixed(1)}" height="${BAR}"/>`,
    `<line class="spread" x1="${least.toFixed(1)}" x2="${greatest.toFixed(1)}" y1="${middle}" y2="${middle}"/>`,
    ...(cpu === null
      ? []
      : [`<circle class="cpu" cx="${x(cpu.median).toFixed(1)}" cy="${middle}" r="3.5"/>`]),
    text({ x: WIDTH - RIGHT + 12, y: middle + 4 }, factor(wall.median), 'soft'),
  ].join('\n  ')
}

function conditionsOf({
  circumstances: { date, commit, loadBefore },
  rounds,
  quick,
}: BenchmarkReport): string {
  const length = `${rounds === 1 ? 'one round' : `medians of ${rounds} rounds`}${quick ? ', quick' : ''}`
  return `${date.slice(0, 10)}, commit ${commit}, load before ${loadBefore}; ${length}; circles: by CPU time`
}

function versionsOf({ versions }: BenchmarkReport): string {
  return Object.entries(versions)
    .map(([what, version]) => `${what} ${version}`)
    .join(', ')
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}
