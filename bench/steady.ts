/**
 * A protected pair in its steady state, idle and under two loads: how far the backup is behind, what the log takes of the
 * network, and what the Output Rule adds to a small request.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { OpenedImage } from '../src/image/directory.ts'
import type { TestCluster } from '../test/test-cluster.ts'
import { LOADS, type LoadName, withBusyPair } from './busy-guest.ts'
import { latencyRows, latencyTurns } from './latency.ts'
import { inMeasuredCluster } from './measured-cluster.ts'
import { progress, type Report, type Row } from './report.ts'
import { quantile, summarize } from './statistics.ts'

/** After its boot the guest's kernel still has things to finish. */
const SETTLE_MS = 5_000
const WATCH_MS = 20_000
const LOOK_MS = 20
const MEASURED: readonly LoadName[] = ['idle', 'redis', 'cpu']
/** Published by Scales, Nelson and Venkitachalam (2010), section 4.1: from a compilation to a database under load. */
const PAPER_LOG = 'paper: 1.5 to 18'
const PAPER_LAG = 'paper: under 100'

interface Watched {
  readonly load: LoadName
  readonly lagsMs: readonly number[]
  readonly logMbits: number
  readonly framesPerSecond: number
  readonly requestsPerSecond: number
  readonly leastShare: number
}

export async function measureSteady(rounds: number): Promise<Report> {
  const { watched, turns } = await inMeasuredCluster(async (world, image) => {
    const all: Watched[] = []
    for (let round = 1; round <= rounds; round++) {
      for (const load of MEASURED) {
        progress(`steady, ${LOADS[load]}, round ${round} of ${rounds}: ${(SETTLE_MS + WATCH_MS) / 1000} s`)
        all.push(await watch(world, image, load, `steady-${load}-${round}`))
      }
    }
    return { watched: all, turns: await latencyTurns(world, image, rounds) }
  })
  const rows = MEASURED.flatMap((load) =>
    rowsOf(
      load,
      watched.filter((one) => one.load === load),
    ),
  )
  return {
    subject: 'steady',
    rows: [...rows, ...latencyRows(turns)],
    notes: [
      `${MEASURED.map((load) => `${load}: ${LOADS[load]}`).join('; ')}; ${WATCH_MS / 1000} s each, on loopback, looked at every ${LOOK_MS} ms. ` +
        'Latency: INCR over one connection, a protected and an unprotected guest in turns.',
    ],
  }
}

async function watch(world: TestCluster, image: OpenedImage, load: LoadName, name: string): Promise<Watched> {
  return withBusyPair(world, image, load, name, async (pair, work) => {
    await sleep(SETTLE_MS)
    const lagsMs: number[] = []
    const [before, requestsBefore, begunMs] = [await pair.primary(), work.requests, performance.now()]
    let after = before
    let leastShare = 1
    while (performance.now() - begunMs < WATCH_MS) {
      await sleep(LOOK_MS)
      after = await pair.primary()
      lagsMs.push(after.lagMs ?? 0)
      leastShare = Math.min(leastShare, after.share)
    }
    const seconds = (performance.now() - begunMs) / 1000
    return {
      load,
      lagsMs: lagsMs.sort((a, b) => a - b),
      logMbits: ((after.logBytes - before.logBytes) * 8) / seconds / 1e6,
      framesPerSecond: (after.logFrames - before.logFrames) / seconds,
      requestsPerSecond: (work.requests - requestsBefore) / seconds,
      leastShare,
    }
  })
}

function rowsOf(load: LoadName, watched: readonly Watched[]): Row[] {
  const row = (figure: string, unit: string, of: (one: Watched) => number, aim = '-'): Row => ({
    ...{ figure: `${load}: ${figure}`, unit, aim },
    value: summarize(watched.map(of)),
  })
  return [
    row('lag, median', 'ms', ({ lagsMs }) => quantile(lagsMs, 0.5), PAPER_LAG),
    row('lag, 99th percentile', 'ms', ({ lagsMs }) => quantile(lagsMs, 0.99)),
    row('share of the primary, least', '', ({ leastShare }) => leastShare, '1'),
    row('log', 'Mbit/s', ({ logMbits }) => logMbits, load === 'idle' ? '-' : PAPER_LOG),
    row('log', 'frames/s', ({ framesPerSecond }) => framesPerSecond),
    ...(load === 'redis' ? [row('requests', '1/s', ({ requestsPerSecond }) => requestsPerSecond)] : []),
  ]
}
