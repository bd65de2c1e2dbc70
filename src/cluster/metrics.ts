/**
 * The metrics of a host in Prometheus's text format, version 0.0.4: those of its agent's process, and those of all its
 * replicas with the labels `vm`, `host` and `role`. Replicas are asked when somebody asks here, so that a figure is never
 * older than the scrape.
 */
import { AggregatorRegistry, Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import { type MetricDefinition, REPLICA_METRICS, replicaMetric } from '../replica/metric-table.ts'
import type { MetricSample, ReplicaMetricsAnswer } from '../replica/metrics.ts'
import { REFUSAL_REASONS, type RefusalCounts } from '../security/refusals.ts'

export const METRICS_CONTENT_TYPE = Registry.PROMETHEUS_CONTENT_TYPE

/** The agent's own, beside the defaults of its process (`process_…`, `nodejs_…`). */
export const HOST_METRICS = {
  understudy_replica_up: { type: 'gauge', help: 'Whether the replica answered this scrape: 1 or 0.' },
  understudy_agent_refusals_total: {
    type: 'counter',
    help: 'Connections and requests that this agent refused because of who sent them, by reason.',
    label: { name: 'reason', values: REFUSAL_REASONS },
  },
  understudy_events_waiting: {
    type: 'gauge',
    help: 'Events of this host that are not in the store yet.',
  },
} as const satisfies { readonly [name: string]: MetricDefinition }

export interface HostMetricsSource {
  readonly host: string
  /** What each replica of this host answers; null for one that does not. */
  replicas(): Promise<readonly { readonly vm: string; readonly answer: ReplicaMetricsAnswer | null }[]>
  /** Who was refused here so far. */
  refusals(): RefusalCounts
  /** Events not in the store yet. */
  eventsWaiting(): number
}

export class HostMetrics {
  readonly #source: HostMetricsSource
  readonly #registry = new Registry()
  readonly #up: Gauge<'vm'>

  constructor(source: HostMetricsSource) {
    this.#source = source
    this.#registry.setDefaultLabels({ host: source.host })
    collectDefaultMetrics({ register: this.#registry })
    const registers = [this.#registry]
    this.#up = new Gauge({
      name: 'understudy_replica_up',
      help: HOST_METRICS.understudy_replica_up.help,
      labelNames: ['vm'],
      registers,
    })
    new Counter({
      name: 'understudy_agent_refusals_total',
      help: HOST_METRICS.understudy_agent_refusals_total.help,
      labelNames: ['reason'],
      registers,
      collect() {
        this.reset()
        for (const [reason, count] of Object.entries(source.refusals())) this.inc({ reason }, count)
      },
    })
    new Gauge({
      name: 'understudy_events_waiting',
      help: HOST_METRICS.understudy_events_waiting.help,
      registers,
      collect() {
        this.set(source.eventsWaiting())
      },
    })
  }

  /** The answer to a scrape, of METRICS_CONTENT_TYPE. */
  async text(): Promise<string> {
    const replicas = await this.#source.replicas()
    // Nothing is awaited between the two, lest another scrape mixes in.
    this.#up.reset()
    for (const { vm, answer } of replicas) this.#up.set({ vm }, answer === null ? 0 : 1)
    const own = this.#registry.metrics()
    const answers = replicas.flatMap(({ answer }) => (answer === null ? [] : [answer]))
    return `${await own}\n${await replicaText(this.#source.host, answers)}`
  }
}

interface ExposedValue {
  readonly metricName?: string
  readonly labels: Readonly<Record<string, string | number>>
  readonly value: number
}

/** Every metric of the table, also one that no replica has a value of now. */
function replicaText(host: string, answers: readonly ReplicaMetricsAnswer[]): Promise<string> {
  const metrics = Object.entries<MetricDefinition>(REPLICA_METRICS).map(([name, definition]) => ({
    name,
    help: definition.help,
    type: definition.type,
    aggregator: 'first',
    values: answers.flatMap((answer) =>
      answer.samples
        .filter((sample) => sample.name === name)
        .flatMap((sample) => exposed(sample, host, answer)),
    ),
  }))
  return AggregatorRegistry.aggregate([metrics]).metrics()
}

/**
 * A sample as lines of text. What this version does not know, or knows otherwise, is left out: a replica may be newer or
 * older than its agent.
 */
function exposed(sample: MetricSample, host: string, { vm, role }: ReplicaMetricsAnswer): ExposedValue[] {
  const definition = replicaMetric(sample.name)
  if (definition === undefined || (definition.label === undefined) !== (sample.label === null)) return []
  const labels: Record<string, string> = { vm, host }
  if (definition.outlivesRole !== true) labels.role = role
  if (definition.label !== undefined && sample.label !== null) labels[definition.label.name] = sample.label
  const { value } = sample
  const { buckets } = definition
  if (typeof value === 'number') return buckets === undefined ? [{ labels, value }] : []
  if (buckets === undefined || value.counts.length !== buckets.length + 1) return []
  let count = 0
  const lines = value.counts.map((inBucket, i): ExposedValue => {
    count += inBucket
    return {
      metricName: `${sample.name}_bucket`,
      labels: { ...labels, le: buckets[i] ?? '+Inf' },
      value: count,
    }
  })
  return [
    ...lines,
    { metricName: `${sample.name}_sum`, labels, value: value.sum },
    { metricName: `${sample.name}_count`, labels, value: count },
  ]
}
