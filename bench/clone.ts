/**
 * What cloning a busy guest costs (FT VMotion): how long it stands still, what a client notices, how long it takes and how
 * many bytes it moves. A guest of 1 GiB whose Redis holds about half of it; one connection changes large values all the
 * time, another one's small requests are timed: first while the guest is alone, then while it is cloned.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { UnderstudyEvent } from '../src/replica/event-log.ts'
import { startRedisGuest } from '../test/redis-guest.ts'
import type { TestCluster } from '../test/test-cluster.ts'
import { inMeasuredCluster } from './measured-cluster.ts'
import { RedisConnection } from './redis-connection.ts'
import { progress, type Report, type Row } from './report.ts'
import { quantile, summarize } from './statistics.ts'

const NAME = 'cloned'
const MEMORY_BYTES = 1024 * 1024 * 1024
const VALUE_BYTES = 64 * 1024
/** About 450 MiB of them. */
const VALUES = 7_200
/** Between two of the busy connection's changes: it shall not have the guest to itself. */
const CHANGE_EVERY_MS = 5
/** Long enough that a thousandth of its requests are several. */
const USUAL_MS = 8_000

interface Round {
  readonly cloned: UnderstudyEvent
  readonly usualMs: readonly number[]
  readonly duringMs: readonly number[]
}

export async function measureClone(rounds: number): Promise<Report> {
  const measured = await inMeasuredCluster(async (world, image) => {
    const guest = await startRedisGuest(world, image, NAME, { protect: false, memoryBytes: MEMORY_BYTES })
    guest.counter.stop()
    const busy = await RedisConnection.open(guest.port)
    const timed = await RedisConnection.open(guest.port)
    for (let n = 0; n < VALUES; n++) {
      if (n % 1000 === 0) progress(`filling the guest, ${n} of ${VALUES} values`)
      await busy.time('SET', `value-${n}`, valueText(n))
    }
    const ending = new AbortController()
    const changing = keepChanging(busy, ending.signal)
    const list: Round[] = []
    for (let round = 1; round <= rounds; round++) {
      list.push(await oneRound(world, timed))
      progress(`clone, round ${round} of ${rounds}: ${JSON.stringify(list.at(-1)?.cloned)}`)
      await world.cluster.unprotect(NAME)
    }
    ending.abort()
    await changing
    busy.close()
    timed.close()
    return list
  })
  return report(measured)
}

async function oneRound(world: TestCluster, timed: RedisConnection): Promise<Round> {
  const usualMs = await timesUntil(timed, sleep(USUAL_MS))
  const since = (await world.events()).length
  const duringMs = await timesUntil(timed, world.cluster.protect(NAME))
  const cloned = (await world.events()).slice(since).find(({ type }) => type === 'cloned')
  if (cloned === undefined) throw new Error(`it was not cloned at once:\n${world.logs(NAME)}`)
  return { cloned, usualMs, duringMs }
}

/** Milliseconds of small requests, one after the other, for as long as something takes. */
async function timesUntil(connection: RedisConnection, done: Promise<unknown>): Promise<number[]> {
  let isDone = false
  const ended = done.finally(() => {
    isDone = true
  })
  const times: number[] = []
  while (!isDone) times.push(await connection.time('INCR', 'timed'))
  await ended
  return times
}

async function keepChanging(connection: RedisConnection, signal: AbortSignal): Promise<void> {
  for (let n = 0; !signal.aborted; n++) {
    await connection.time('SET', `value-${(n * 7919) % VALUES}`, valueText(n))
    await sleep(CHANGE_EVERY_MS)
  }
}

/** Of which no two pages are the same, and that compresses about as text does. */
function valueText(n: number): string {
  return `${n} understudy `.repeat(VALUE_BYTES / 16).slice(0, VALUE_BYTES)
}

function report(rounds: readonly Round[]): Report {
  const field = (name: string) => rounds.map(({ cloned }) => Number(cloned[name]))
  const sorted = (of: (round: Round) => readonly number[]) =>
    rounds.map((round) => [...of(round)].sort((a, b) => a - b))
  const quantiles = (of: (round: Round) => readonly number[], share: number) =>
    sorted(of).map((times) => quantile(times, share))
  const usual = quantiles(({ usualMs }) => usualMs, 0.999)
  const during = quantiles(({ duringMs }) => duringMs, 0.999)
  const row = (figure: string, unit: string, values: readonly number[], aim = '-'): Row => ({
    ...{ figure, unit, aim },
    value: summarize(values),
  })
  return {
    subject: 'clone',
    rows: [
      row('longest stop of the guest', 'ms', field('stopMsMax'), '20 or less'),
      row('median stop of the guest', 'ms', field('stopMsMedian'), 'under 5'),
      row(
        'request while cloned, median',
        'ms',
        quantiles(({ duringMs }) => duringMs, 0.5),
      ),
      row('request while cloned, 99.9th percentile', 'ms', during),
      row(
        'request while alone, median',
        'ms',
        quantiles(({ usualMs }) => usualMs, 0.5),
      ),
      row('request while alone, 99.9th percentile', 'ms', usual),
      row(
        '99.9th percentile, cloned over alone',
        '',
        during.map((value, n) => value / usual[n]),
        '3 or less',
      ),
      row(
        'from the first connection to a pair',
        's',
        field('durationMs').map((ms) => ms / 1000),
      ),
      row(
        'state sent',
        'MiB',
        field('sentBytes').map((bytes) => bytes / 1024 / 1024),
      ),
    ],
    notes: [
      `A guest of 1 GiB, ${VALUES} values of ${VALUE_BYTES / 1024} KiB in its Redis, one of them changed every ${CHANGE_EVERY_MS} ms.`,
      'Both hosts, the gateway and the clients share this machine; over loopback nothing is compressed.',
    ],
  }
}
