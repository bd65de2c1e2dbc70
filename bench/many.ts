/**
 * Eight small protected machines on three hosts of one machine, all of them serving: what they answer, what they take, and how
 * long it takes to drain a host with all of them on it.
 */
import type { RedisCounter } from '../src/cli/redis-counter.ts'
import { countOn, startRedisGuest } from '../test/redis-guest.ts'
import { inMeasuredCluster } from './measured-cluster.ts'
import { residentBytes } from './process-usage.ts'
import { progress, type Report, type Row } from './report.ts'
import { summarize } from './statistics.ts'

const HOSTS = 3
const MACHINES = 8
const MEMORY_BYTES = 128 * 1024 * 1024
const INCREMENTS = 200

export async function measureMany(rounds: number): Promise<Report> {
  const measured = await inMeasuredCluster(async (world, image) => {
    const counters: RedisCounter[] = []
    const waitsMs: number[] = []
    const onAnswer = (_value: number, tookMs: number) => void waitsMs.push(tookMs)
    for (let n = 1; n <= MACHINES; n++) {
      const { counter } = await startRedisGuest(world, image, `small-${n}`, {
        memoryBytes: MEMORY_BYTES,
        onAnswer,
      })
      counters.push(counter)
      progress(`${n} of ${MACHINES} run`)
    }
    await Promise.all(counters.map((counter) => countOn(counter, INCREMENTS)))
    const replicas = (await world.cluster.hosts()).flatMap(({ status }) => status?.replicas ?? [])
    const resident = replicas.map(({ pid }) => residentBytes(pid) / 1024 / 1024)
    const steadyMs = waitsMs.splice(0)
    const drains: { seconds: number; longestMs: number }[] = []
    for (let round = 1; round <= rounds; round++) {
      const host = `host-${((round - 1) % HOSTS) + 1}`
      for (const counter of counters) counter.takeWorstMs()
      const sinceMs = performance.now()
      await world.cluster.drain(host)
      const seconds = (performance.now() - sinceMs) / 1000
      for (let n = 1; n <= MACHINES; n++)
        await world.status(`small-${n}`, ({ protection }) => protection === 'protected')
      await Promise.all(counters.map((counter) => countOn(counter, INCREMENTS)))
      drains.push({ seconds, longestMs: Math.max(...counters.map((counter) => counter.takeWorstMs())) })
      progress(`drained ${host} in ${seconds.toFixed(1)} s`)
      await world.cluster.undrain(host)
    }
    for (const counter of counters) counter.stop()
    const broken = counters.reduce((sum, { report }) => sum + report.broken + report.wrong, 0)
    return { resident, steadyMs, drains, broken, replicas: replicas.length }
  }, HOSTS)
  const row = (figure: string, unit: string, values: readonly number[], aim = '-'): Row => ({
    ...{ figure, unit, aim },
    value: summarize(values),
  })
  return {
    subject: 'many',
    rows: [
      row('replicas', '', [measured.replicas], String(2 * MACHINES)),
      row('resident memory of a replica', 'MiB', measured.resident),
      row('answer, all machines serving', 'ms', measured.steadyMs),
      row(
        'drain of a host',
        's',
        measured.drains.map(({ seconds }) => seconds),
      ),
      row(
        'longest wait of a client in a drain',
        'ms',
        measured.drains.map(({ longestMs }) => longestMs),
      ),
      row('answers wrong or connections broken', '', [measured.broken], '0'),
    ],
    notes: [
      `${MACHINES} machines of ${MEMORY_BYTES / 1024 / 1024} MiB, each with a client that counts, on ${HOSTS} hosts of this machine.`,
    ],
  }
}
