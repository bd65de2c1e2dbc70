/** The measurement `lag` as a picture: for each load the execution lag and the primary's share of CPU over time. */
import { LAG_LIMIT_MS } from '../src/ft/timing.ts'
import { LOADS } from './busy-guest.ts'
import type { LagMoment, LagRun } from './lag.ts'

const WIDTH = 880
const LEFT = 70
const RIGHT = 30
const TOP = 84
const PANEL = 120
const GAP = 62
const TICK_MS = 5_000
const LAG_TICKS_MS = [0, 500, 1_000, 1_500, 2_000]
const SHARE_TICKS = [0, 0.25, 0.5, 0.75, 1]

const STYLE = `
    .sheet { fill: #ffffff; stroke: #d0d7de }
    .ink { fill: #1f2328 }
    .soft { fill: #59636e }
    .bold { font-weight: 600 }
    .grid { stroke: #d0d7de }
    .slow { fill: #fff8c5 }
    .limit { stroke: #cf222e; stroke-dasharray: 6 4 }
    .line { stroke: #0969da; stroke-width: 1.8; fill: none }
    @media (prefers-color-scheme: dark) {
      .sheet { fill: #0d1117; stroke: #3d444d }
      .ink { fill: #f0f6fc }
      .soft { fill: #9198a1 }
      .grid { stroke: #3d444d }
      .slow { fill: #2d2a12 }
      .limit { stroke: #f85149 }
      .line { stroke: #4493f8 }
    }`

interface Panel {
  readonly title: string
  readonly run: LagRun
  readonly of: (moment: LagMoment) => number
  readonly ticks: readonly number[]
  readonly limit: number | null
}

/** An SVG of one run for each load. `replayShare` is what the backup was slowed down to. Throws a RangeError without runs. */
export function drawLagChart(runs: readonly LagRun[], replayShare: number): string {
  const panels = runs.flatMap(panelsOf)
  const moments = runs.flatMap((run) => run.moments)
  if (moments.length === 0) throw new RangeError('nothing was measured')
  const fromMs = Math.min(...moments.map(({ atMs }) => atMs))
  const toMs = Math.max(...moments.map(({ atMs }) => atMs))
  const x = (atMs: number) => LEFT + ((atMs - fromMs) / (toMs - fromMs)) * (WIDTH - LEFT - RIGHT)
  const height = TOP + panels.length * (PANEL + GAP)
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-labelledby="title"
  font-family="system-ui, 'Segoe UI', Helvetica, Arial, sans-serif" font-size="13">
  <title id="title">Execution lag and share of CPU while the backup is slow</title>
  <style>${STYLE}
  </style>
  <rect class="sheet" x="0.5" y="0.5" width="${WIDTH - 1}" height="${height - 1}" rx="8"/>
  ${text(24, 34, `A backup at ${percent(replayShare)} of its speed, then freed`, 'ink bold')}
  ${text(24, 54, 'Shaded: while it is slow. Dashed: the limit of the lag. Seconds since it became slow.', 'soft')}
  ${panels.map((panel, index) => draw(panel, TOP + index * (PANEL + GAP), x)).join('\n  ')}
</svg>
`
}

function panelsOf(run: LagRun): Panel[] {
  const lags = run.moments.map(({ lagMs }) => lagMs)
  const top = LAG_TICKS_MS.findIndex((tick) => tick >= Math.max(LAG_LIMIT_MS, ...lags))
  const ticks =
    top < 0 ? [...LAG_TICKS_MS, Math.ceil(Math.max(...lags) / 500) * 500] : LAG_TICKS_MS.slice(0, top + 1)
  return [
    {
      title: `Execution lag in ms, ${LOADS[run.load]}`,
      run,
      of: ({ lagMs }) => lagMs,
      ticks,
      limit: LAG_LIMIT_MS,
    },
    {
      title: `Share of a core, ${LOADS[run.load]}`,
      run,
      of: ({ share }) => share,
      ticks: SHARE_TICKS,
      limit: null,
    },
  ]
}

function draw({ title, run, of, ticks, limit }: Panel, top: number, x: (atMs: number) => number): string {
  const greatest = ticks.at(-1)!
  const y = (value: number) => top + PANEL - (value / greatest) * PANEL
  const across = (value: number, type: string) =>
    `<line class="${type}" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(value).toFixed(1)}" y2="${y(value).toFixed(1)}"/>`
  const first = run.moments[0]!.atMs
  const last = run.moments.at(-1)!.atMs
  const seconds: number[] = []
  for (let atMs = Math.ceil(first / TICK_MS) * TICK_MS; atMs <= last; atMs += TICK_MS) seconds.push(atMs)
  const points = run.moments.map((moment) => `${x(moment.atMs).toFixed(1)},${y(of(moment)).toFixed(1)}`)
  const slow = { left: x(0), right: x(run.freedAtMs) }
  return [
    `<rect class="slow" x="${slow.left.toFixed(1)}" y="${top}" width="${(slow.right - slow.left).toFixed(1)}" height="${PANEL}"/>`,
    text(LEFT, top - 8, title, 'ink'),
    ...ticks.map((tick) => across(tick, 'grid')),
    ...ticks.map((tick) => text(LEFT - 8, y(tick) + 4, String(tick), 'soft', 'end')),
    ...seconds.map((atMs) => text(x(atMs), top + PANEL + 18, String(atMs / 1000), 'soft', 'middle')),
    ...(limit === null ? [] : [across(limit, 'limit')]),
    `<polyline class="line" points="${points.join(' ')}"/>`,
  ].join('\n  ')
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`
}

function text(x: number, y: number, words: string, type: string, anchor = 'start'): string {
  return `<text class="${type}" x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}">${words}</text>`
}
