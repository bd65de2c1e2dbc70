import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { EVENT_TYPES } from '../replica/event-log.ts'
import { type MetricDefinition, REPLICA_METRICS } from '../replica/metric-table.ts'
import { type ReplicaGauges, ReplicaMetrics, type ReplicaMetricsAnswer } from '../replica/metrics.ts'
import { Refusals, STDERR_LOG } from '../security/refusals.ts'
import { HOST_METRICS, HostMetrics, METRICS_CONTENT_TYPE } from './metrics.ts'
import { type Family, lint, parseExposition } from './testing/exposition.ts'

const LOG_FIELDS = ['time', 'level', 'part', 'host', 'vm', 'replica', 'pid', 'msg', 'code', 'next']

const gauges: ReplicaGauges = {
  protected: true,
  refusals: new Refusals(STDERR_LOG).counts(),
  lagMs: 12,
  cpuShare: 0.5,
  heartbeatAgeMs: 20,
  heldBytes: 100,
  logFrames: 7,
  logBytes: 800,
  droppedFrames: 5,
  retired: 2 ** 52,
  memoryBytes: 64 * 1024 * 1024,
}

function answer(
  vm: string,
  role: 'primary' | 'backup',
  metrics = new ReplicaMetrics(),
): ReplicaMetricsAnswer {
  return { vm, host: 'elsewhere', role, samples: metrics.samples(gauges, 1000) }
}

async function families(
  replicas: { vm: string; answer: ReplicaMetricsAnswer | null }[],
): Promise<Map<string, Family>> {
  const metrics = new HostMetrics({
    host: 'host-1',
    replicas: async () => replicas,
    eventsWaiting: () => 3,
    refusals: () => new Refusals(STDERR_LOG).counts(),
  })
  return parseExposition(await metrics.text())
}

function value(all: Map<string, Family>, name: string, labels: Record<string, string>): number | undefined {
  const family = all.get(name.replace(/_(bucket|sum|count)$/, '')) ?? all.get(name)
  const samples = family?.samples.filter((sample) => sample.name === name) ?? []
  return samples.find((sample) => JSON.stringify(sorted(sample.labels)) === JSON.stringify(sorted(labels)))
    ?.value
}
const sorted = (labels: Readonly<Record<string, string>>) => Object.entries(labels).sort()

test('the text is whole, and every metric of this project keeps the conventions', async () => {
  const metrics = new ReplicaMetrics()
  metrics.lagSampled(3)
  metrics.outputsReleased(0.2, 5)
  metrics.cloneEnded({ durationMs: 4000, guestStopMs: 12 })
  const all = await families([
    { vm: 'demo', answer: answer('demo', 'primary', metrics) },
    { vm: 'other', answer: answer('other', 'backup') },
  ])
  const own = [...all.values()].filter(({ name }) => name.startsWith('understudy_'))
  expect(own.map(({ name }) => name).sort()).toEqual(
    [...Object.keys(REPLICA_METRICS), ...Object.keys(HOST_METRICS)].sort(),
  )
  expect(own.flatMap(lint)).toEqual([])
  for (const [name, definition] of Object.entries<MetricDefinition>(REPLICA_METRICS)) {
    expect(all.get(name)).toMatchObject({ type: definition.type, help: definition.help })
    expect(all.get(name)!.samples.length).toBeGreaterThan(0)
  }
  // The defaults of the process are there as well.
  expect(value(all, 'process_resident_memory_bytes', { host: 'host-1' })).toBeGreaterThan(0)
  expect(METRICS_CONTENT_TYPE).toMatch(/^text\/plain; version=0\.0\.4/)
})

test('replicas keep apart by vm and role, under the name of the host that was asked', async () => {
  const all = await families([
    { vm: 'demo', answer: answer('demo', 'primary') },
    { vm: 'other', answer: answer('other', 'backup') },
    { vm: 'hung', answer: null },
  ])
  const host = 'host-1'
  expect(value(all, 'understudy_log_bytes_total', { vm: 'demo', host, role: 'primary' })).toBe(800)
  expect(value(all, 'understudy_log_bytes_total', { vm: 'other', host, role: 'backup' })).toBe(800)
  expect(value(all, 'understudy_execution_lag_seconds', { vm: 'demo', host, role: 'primary' })).toBe(0.012)
  expect(value(all, 'understudy_retired_instructions_total', { vm: 'demo', host, role: 'primary' })).toBe(
    2 ** 52,
  )
  // A takeover is counted where the role changes.
  expect(value(all, 'understudy_takeovers_total', { vm: 'other', host })).toBe(0)
  expect(value(all, 'understudy_replica_up', { vm: 'demo', host })).toBe(1)
  expect(value(all, 'understudy_replica_up', { vm: 'hung', host })).toBe(0)
  expect(value(all, 'understudy_events_waiting', { host })).toBe(3)
})

test('buckets are cumulated', async () => {
  const metrics = new ReplicaMetrics()
  metrics.outputsReleased(1, 2)
  metrics.outputsReleased(3, 1)
  metrics.outputsReleased(5_000, 1)
  const all = await families([{ vm: 'demo', answer: answer('demo', 'primary', metrics) }])
  const labels = { vm: 'demo', host: 'host-1', role: 'primary' }
  const bucket = (le: string) => value(all, 'understudy_output_held_seconds_bucket', { ...labels, le })
  expect([bucket('0.0005'), bucket('0.001'), bucket('0.005'), bucket('1'), bucket('+Inf')]).toEqual([
    0, 2, 3, 3, 4,
  ])
  expect(value(all, 'understudy_output_held_seconds_count', labels)).toBe(4)
  expect(value(all, 'understudy_output_held_seconds_sum', labels)).toBeCloseTo(5.005)
})

test('what a replica of another version says beyond the table is left out, the rest is not', async () => {
  const known = answer('demo', 'primary')
  const samples = [
    ...known.samples.filter(({ name }) => name === 'understudy_guest_memory_bytes'),
    { name: 'understudy_new_total', label: null, value: 1 },
    { name: 'constructor', label: null, value: 1 },
    { name: 'understudy_log_frames_total', label: 'surprise', value: 1 },
    { name: 'understudy_log_bytes_total', label: null, value: { counts: [1], sum: 1 } },
    { name: 'understudy_output_held_seconds', label: null, value: { counts: [1, 2], sum: 1 } },
  ]
  const all = await families([{ vm: 'demo', answer: { ...known, samples } }])
  const filled = [...all.values()].filter(
    ({ samples, name }) => name in REPLICA_METRICS && samples.length > 0,
  )
  expect(filled.map(({ name }) => name)).toEqual(['understudy_guest_memory_bytes'])
  expect(all.has('understudy_new_total')).toBe(false)
})

describe('docs/observability.md', () => {
  const page = readFileSync(new URL('../../docs/observability.md', import.meta.url), 'utf8')
  const rows = [...page.matchAll(/^\| (`[^|]+) \|(.*)\|$/gm)].map(([, names, rest]) => ({
    names: [...names.matchAll(/`([^`]+)`/g)].map(([, name]) => name),
    cells: rest.split('|').map((cell) => cell.trim()),
  }))

  test('has every metric, with its type and labels, and no other', () => {
    const documented = rows
      .filter(({ names }) => names[0].startsWith('understudy_'))
      .map(({ names, cells: [type, label, meaning] }) => {
        const values = /: (`[^.]+`)$/.exec(meaning)?.[1].split(', ') ?? []
        return [names[0], type, label, label === '' ? [] : values]
      })
    const code = (text: string) => `\`${text}\``
    const table = Object.entries<MetricDefinition>({ ...REPLICA_METRICS, ...HOST_METRICS })
    const defined = table.map(([name, { type, label }]) => [
      name,
      type,
      label === undefined ? '' : code(label.name),
      label?.values.map(code) ?? [],
    ])
    expect(documented.toSorted()).toEqual(defined.toSorted())
  })

  test('has every type of event, and no other', () => {
    const types = page.slice(page.indexOf('## Events'))
    const documented = rows.flatMap(({ names }) => names).filter((name) => types.includes(`\`${name}\``))
    const events = documented.filter((name) => !name.startsWith('understudy_') && !LOG_FIELDS.includes(name))
    expect(events.toSorted()).toEqual([...EVENT_TYPES].toSorted())
  })

  test('has every field of a log line', () => {
    const documented = rows.flatMap(({ names }) => names)
    expect(LOG_FIELDS.filter((field) => !documented.includes(field))).toEqual([])
  })
})

test('the reader of the text refuses what a scraper would not read', () => {
  const head = '# HELP a_total A.\n# TYPE a_total counter\n'
  expect(parseExposition(`${head}a_total{b="c"} 1\n`).get('a_total')?.samples).toHaveLength(1)
  for (const text of [
    'a_total 1\n',
    '# TYPE a_total counter\na_total 1\n',
    `${head}${head}`,
    `${head}b_total 1\n`,
    `${head}a_total{b=c} 1\n`,
    `${head}a_total{b="c",b="d"} 1\n`,
    `${head}a_total one\n`,
    `${head}a_total 1`,
  ]) {
    expect(() => parseExposition(text), text).toThrow()
  }
  const family = (name: string, type: string, help = 'A.'): Family => ({ name, type, help, samples: [] })
  for (const wrong of [
    family('a', 'counter'),
    family('a_total', 'gauge'),
    family('a_ms', 'gauge'),
    family('a', 'histogram'),
    family('a_gauge_bytes', 'gauge'),
    family('a_bytes', 'gauge', 'no sentence'),
  ]) {
    expect(lint(wrong), wrong.name).not.toEqual([])
  }
})
