/**
 * What the Output Rule adds to a request: an answer of a protected guest leaves only when the backup has the log up to
 * it. One client, one small command at a time; a protected and an unprotected guest stand side by side and take turns.
 */
import type { OpenedImage } from '../src/image/directory.ts'
import { startRedisGuest } from '../test/redis-guest.ts'
import type { TestCluster } from '../test/test-cluster.ts'
import { inMeasuredCluster } from './measured-cluster.ts'
import { RedisConnection } from './redis-connection.ts'
import { progress, type Report, type Row } from './report.ts'
import { quantile, summarize } from './statistics.ts'

const REQUESTS_PER_TURN = 2_000
const WARM_UP_REQUESTS = 1_000

interface Turn {
  readonly medianUs: number
  readonly p99Us: number
}

export interface LatencyTurn {
  readonly protectedTurn: Turn
  readonly unprotectedTurn: Turn
}

export async function measureLatency(rounds: number): Promise<Report> {
  const turns = await inMeasuredCluster((world, image) => latencyTurns(world, image, rounds))
  return {
    subject: 'latency',
    rows: latencyRows(turns),
    notes: [`INCR over one connection through the gateway, ${REQUESTS_PER_TURN} requests a round.`],
  }
}

/** A protected and an unprotected guest, asked in turns. */
export async function latencyTurns(
  world: TestCluster,
  image: OpenedImage,
  rounds: number,
): Promise<LatencyTurn[]> {
  const measured: LatencyTurn[] = []
  const shielded = await startRedisGuest(world, image, 'protected')
  const bare = await startRedisGuest(world, image, 'unprotected', { protect: false })
  shielded.counter.stop()
  bare.counter.stop()
  const toShielded = await RedisConnection.open(shielded.port)
  const toBare = await RedisConnection.open(bare.port)
  await requests(toShielded, WARM_UP_REQUESTS)
  await requests(toBare, WARM_UP_REQUESTS)
  for (let round = 1; round <= rounds; round++) {
    progress(`latency, round ${round} of ${rounds}`)
    const unprotectedTurn = await requests(toBare, REQUESTS_PER_TURN)
    const protectedTurn = await requests(toShielded, REQUESTS_PER_TURN)
    measured.push({ protectedTurn, unprotectedTurn })
  }
  const { protection } = await world.cluster.status('protected')
  if (protection !== 'protected') throw new Error('the pair broke while it was measured')
  toShielded.close()
  toBare.close()
  return measured
}

export function latencyRows(turns: readonly LatencyTurn[]): Row[] {
  const row = (figure: string, of: (turn: LatencyTurn) => number): Row => ({
    ...{ figure, unit: 'us', aim: '-' },
    value: summarize(turns.map(of)),
  })
  return [
    row('protected, median', ({ protectedTurn }) => protectedTurn.medianUs),
    row('protected, 99th percentile', ({ protectedTurn }) => protectedTurn.p99Us),
    row('unprotected, median', ({ unprotectedTurn }) => unprotectedTurn.medianUs),
    row('unprotected, 99th percentile', ({ unprotectedTurn }) => unprotectedTurn.p99Us),
    row('protection adds, median', (turn) => turn.protectedTurn.medianUs - turn.unprotectedTurn.medianUs),
  ]
}

async function requests(connection: RedisConnection, count: number): Promise<Turn> {
  const timesUs: number[] = []
  for (let n = 0; n < count; n++) timesUs.push((await connection.time('INCR', 'latency')) * 1000)
  timesUs.sort((a, b) => a - b)
  return { medianUs: Math.round(quantile(timesUs, 0.5)), p99Us: Math.round(quantile(timesUs, 0.99)) }
}
