/**
 * What a slow backup does to its primary: it is made to replay at a quarter of its speed for a while and then freed, under
 * a load that only computes and under one of requests. Watched ten times a second.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { LAG_LIMIT_MS } from '../src/ft/timing.ts'
import type { OpenedImage } from '../src/image/directory.ts'
import type { TestCluster } from '../test/test-cluster.ts'
import { LOADS, type Load, type LoadName, type MeasuredPair, withBusyPair } from './busy-guest.ts'
import { drawLagChart } from './lag-chart.ts'
import { inMeasuredCluster } from './measured-cluster.ts'
import { progress, type Report, type Row } from './report.ts'
import { quantile, summarize } from './statistics.ts'

const WARM_UP_MS = 5_000
const FULL_MS = 5_000
const SLOW_MS = 20_000
const FREED_MS = 15_000
const REPLAY_SHARE = 0.25
const LOOK_MS = 100
/** From the beginning of the slow time: the time it takes to settle is not its amplitude. */
const SETTLED_MS = 10_000
/** What lasts this long was not by chance. */
const STAYS_MS = 1_000
/** A lag that nobody notices in a takeover. */
const CAUGHT_UP_MS = LAG_LIMIT_MS / 4
const CHART = join(import.meta.dirname, '../docs/benchmarks/lag.svg')
const MEASURED: readonly LoadName[] = ['cpu', 'redis']

export interface LagMoment {
  /** Since the backup was slowed down; negative before. */
  readonly atMs: number
  readonly lagMs: number
  readonly share: number
  /** Instructions the guest has retired, and requests it has answered. */
  readonly retired: number
  readonly requests: number
}

export interface LagRun {
  readonly load: LoadName
  readonly moments: readonly LagMoment[]
  /** When the backup was freed, on the moments' clock. */
  readonly freedAtMs: number
}

export async function measureLag(rounds: number): Promise<Report> {
  const runs = await inMeasuredCluster(async (world, image) => {
    const measured: LagRun[] = []
    for (let round = 1; round <= rounds; round++) {
      for (const load of MEASURED) {
        progress(`lag, ${LOADS[load]}, round ${round} of ${rounds}: 45 s`)
        measured.push(await oneRun(world, image, load, `lag-${load}-${round}`))
      }
    }
    return measured
  })
  writeFileSync(CHART, drawLagChart(runs.slice(0, MEASURED.length), REPLAY_SHARE))
  return {
    subject: 'lag',
    rows: MEASURED.flatMap((load) =>
      rowsOf(
        load,
        runs.filter((run) => run.load === load),
      ),
    ),
    notes: [
      `The backup replays at ${REPLAY_SHARE} of its speed for ${SLOW_MS / 1000} s; "settled" is its second half. cpu: ${LOADS.cpu}; ` +
        `redis: ${LOADS.redis}. The chart is docs/benchmarks/lag.svg.`,
    ],
  }
}

async function oneRun(world: TestCluster, image: OpenedImage, load: LoadName, name: string): Promise<LagRun> {
  return withBusyPair(world, image, load, name, async (pair, work) => {
    await sleep(WARM_UP_MS)
    const slowedAtMs = performance.now() + FULL_MS
    const moments: LagMoment[] = []
    await watch(pair, work, moments, slowedAtMs, slowedAtMs)
    await pair.slowDown(REPLAY_SHARE)
    await watch(pair, work, moments, slowedAtMs, slowedAtMs + SLOW_MS)
    const freedAtMs = performance.now() - slowedAtMs
    await pair.slowDown(1)
    await watch(pair, work, moments, slowedAtMs, slowedAtMs + SLOW_MS + FREED_MS)
    return { load, moments, freedAtMs }
  })
}

async function watch(
  pair: MeasuredPair,
  work: Load,
  moments: LagMoment[],
  slowedAtMs: number,
  untilMs: number,
): Promise<void> {
  for (;;) {
    const { lagMs, share, retired } = await pair.primary()
    const nowMs = performance.now()
    moments.push({ atMs: nowMs - slowedAtMs, lagMs: lagMs ?? 0, share, retired, requests: work.requests })
    if (nowMs + LOOK_MS > untilMs) return
    await sleep(LOOK_MS)
  }
}

function rowsOf(load: LoadName, runs: readonly LagRun[]): Row[] {
  const row = (figure: string, unit: string, of: (run: LagRun) => number, aim = '-'): Row => ({
    ...{ figure: `${load}: ${figure}`, unit, aim },
    value: summarize(runs.map(of)),
  })
  const settled = ({ moments, freedAtMs }: LagRun) =>
    moments.filter(({ atMs }) => atMs >= SETTLED_MS && atMs < freedAtMs)
  const sorted = (run: LagRun, of: (moment: LagMoment) => number) =>
    settled(run)
      .map(of)
      .sort((a, b) => a - b)
  const spread = (run: LagRun, of: (moment: LagMoment) => number) => {
    const values = sorted(run, of)
    return values.at(-1)! - values[0]!
  }
  const lag = ({ lagMs }: LagMoment) => lagMs
  const share = ({ share: of }: LagMoment) => of
  return [
    row('lag before', 'ms', ({ moments }) => medianOf(moments.filter(({ atMs }) => atMs < 0).map(lag))),
    row('lag at most', 'ms', ({ moments }) => Math.max(...moments.map(lag))),
    row('lag settled', 'ms', (run) => quantile(sorted(run, lag), 0.5), 'just under 1000'),
    row('lag settled, from least to greatest', 'ms', (run) => spread(run, lag)),
    row('share settled', '', (run) => quantile(sorted(run, share), 0.5)),
    row('share settled, from least to greatest', '', (run) => spread(run, share)),
    row('work settled, of that before', '%', (run) => 100 * (rate(settled(run)) / rate(before(run)))),
    row('freed: to full share', 's', (run) => secondsTo(run, (moment) => moment.share === 1), 'under 5'),
    row('freed: to a lag below 250 ms', 's', (run) => secondsTo(run, ({ lagMs }) => lagMs < CAUGHT_UP_MS)),
  ]
}

function before({ moments }: LagRun): LagMoment[] {
  return moments.filter(({ atMs }) => atMs < 0)
}

function medianOf(values: readonly number[]): number {
  return summarize(values).median
}

/** Requests a second, or instructions of a guest that answers none. */
function rate(moments: readonly LagMoment[]): number {
  const [first, last] = [moments[0]!, moments.at(-1)!]
  const isAnswering = last.requests > first.requests
  const done = isAnswering ? last.requests - first.requests : last.retired - first.retired
  return done / (last.atMs - first.atMs)
}

/** How long after the backup was freed something was so and stayed so for a second. */
function secondsTo({ moments, freedAtMs }: LagRun, isSo: (moment: LagMoment) => boolean): number {
  const freed = moments.filter(({ atMs }) => atMs > freedAtMs)
  const first = freed.find(({ atMs }) =>
    freed.filter((later) => later.atMs >= atMs && later.atMs < atMs + STAYS_MS).every(isSo),
  )
  return ((first ?? freed.at(-1)!).atMs - freedAtMs) / 1000
}
