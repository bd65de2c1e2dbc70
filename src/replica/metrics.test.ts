import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Refusals, STDERR_LOG } from '../security/refusals.ts'
import { type MetricDefinition, REPLICA_METRICS } from './metric-table.ts'
import { Histogram, type ReplicaGauges, ReplicaMetrics, replicaMetricsSchema, Stopwatch } from './metrics.ts'

const gauges: ReplicaGauges = {
  refusals: new Refusals(STDERR_LOG).counts(),
  protected: false,
  lagMs: null,
  cpuShare: null,
  heartbeatAgeMs: null,
  heldBytes: 0,
  logFrames: 0,
  logBytes: 0,
  droppedFrames: 0,
  retired: 0,
  memoryBytes: 1,
}

test('a histogram counts each observation once, in the first bucket that holds it', () => {
  const bounds = fc.uniqueArray(fc.integer({ min: 0, max: 50 }), { minLength: 1, maxLength: 6 })
  const observations = fc.array(fc.tuple(fc.integer({ min: 0, max: 60 }), fc.integer({ min: 1, max: 4 })))
  fc.assert(
    fc.property(bounds, observations, (unsorted, observed) => {
      const ascending = unsorted.sort((a, b) => a - b)
      const histogram = new Histogram(ascending)
      for (const [value, times] of observed) histogram.observe(value, times)
      const all = observed.flatMap(([value, times]) => new Array<number>(times).fill(value))
      const { counts, sum } = histogram.sample()
      let cumulated = 0
      ;[...ascending, Number.POSITIVE_INFINITY].forEach((bound, i) => {
        cumulated += counts[i]
        expect(cumulated).toBe(all.filter((value) => value <= bound).length)
      })
      expect(sum).toBe(all.reduce((total, value) => total + value, 0))
    }),
  )
})

test('a stopwatch adds up while it is on, and knows of the time that still runs', () => {
  const watch = new Stopwatch()
  watch.set(false, 5)
  watch.set(true, 10)
  watch.set(true, 12)
  expect(watch.ms(15)).toBe(5)
  watch.set(false, 20)
  watch.set(false, 25)
  watch.set(true, 30)
  expect(watch.ms(31)).toBe(11)
})

test('samples fit the schema and the table, also after JSON', () => {
  const metrics = new ReplicaMetrics()
  const full = { ...gauges, lagMs: 1, cpuShare: 1, heartbeatAgeMs: 1 }
  const samples = metrics.samples(full, 0)
  const answer = { vm: 'a', host: 'b', role: 'primary' as const, samples }
  expect(replicaMetricsSchema.parse(JSON.parse(JSON.stringify(answer)))).toEqual(answer)
  for (const [name, { label, buckets }] of Object.entries<MetricDefinition>(REPLICA_METRICS)) {
    const own = samples.filter((sample) => sample.name === name)
    expect(own.map((sample) => sample.label)).toEqual(label?.values ?? [null])
    for (const { value } of own) {
      const shape = typeof value === 'number' ? null : value.counts.length - 1
      expect(shape).toBe(buckets?.length ?? null)
    }
  }
  expect(samples.filter(({ name }) => !(name in REPLICA_METRICS))).toEqual([])
})

test('what has no meaning now is absent; what was recorded is there', () => {
  const metrics = new ReplicaMetrics()
  const value = (name: string, label: string | null = null, nowMs = 0) =>
    metrics.samples(gauges, nowMs).find((sample) => sample.name === name && sample.label === label)?.value
  expect(value('understudy_execution_lag_seconds')).toBeUndefined()
  expect(value('understudy_heartbeat_age_seconds')).toBeUndefined()
  expect(value('understudy_primary_cpu_share')).toBeUndefined()
  metrics.mayRun(false, 1_000)
  expect(value('understudy_primary_stall_seconds_total', null, 1_500)).toBe(0.5)
  metrics.mayRun(true, 2_000)
  expect(value('understudy_primary_stall_seconds_total', null, 9_000)).toBe(1)
  metrics.heartbeatRefused('replayed')
  metrics.tookOver()
  metrics.cloneSent(10)
  metrics.cloneSent(20)
  metrics.cloneEnded('failed')
  metrics.cloneEnded({ durationMs: 2_000, guestStopMs: 3 })
  expect(value('understudy_heartbeats_refused_total', 'replayed')).toBe(1)
  expect(value('understudy_heartbeats_refused_total', 'forged')).toBe(0)
  expect(value('understudy_takeovers_total')).toBe(1)
  expect(value('understudy_clone_bytes_total')).toBe(30)
  expect(value('understudy_clones_total', 'failed')).toBe(1)
  expect(value('understudy_clones_total', 'cloned')).toBe(1)
  expect(value('understudy_clone_seconds')).toMatchObject({ sum: 2 })
  expect(value('understudy_clone_guest_stop_seconds')).toMatchObject({ sum: 0.003 })
})
