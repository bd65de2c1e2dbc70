/**
 * What a replica measures of itself. Recording is an addition or two, for the I/O thread handles thousands of frames a
 * second; whoever asks pays for the rest. Pure: times come in as arguments.
 */

import { z } from 'zod'
import { REFUSAL_REASONS, type RefusalCounts } from '../security/refusals.ts'
import {
  CLONE_OUTCOMES,
  type CloneOutcome,
  HEARTBEAT_REFUSALS,
  type HeartbeatRefusal,
  REPLICA_METRICS,
  type ReplicaMetric,
} from './metric-table.ts'

/** More samples than a replica has; its answer is bounded by it. */
const SAMPLES_MAX = 200
/** Longer than any name or label of the table. */
const NAME_CHARS_MAX = 100
const BUCKETS_MAX = 64

const measured = z.number().min(0)

export const metricSampleSchema = z.object({
  name: z.string().max(NAME_CHARS_MAX),
  /** The value of the metric's own label; null when it has none. */
  label: z.string().max(NAME_CHARS_MAX).nullable(),
  value: z.union([
    measured,
    z.object({
      /** Observations that fell into each bucket, not cumulated; the last one is without a bound. */
      counts: z.array(z.int().min(0)).max(BUCKETS_MAX),
      sum: measured,
    }),
  ]),
})

export type MetricSample = z.infer<typeof metricSampleSchema>

/** What a replica answers to `GET /v1/metrics`. A sample that has no meaning now (a lag without a pair) is absent. */
export const replicaMetricsSchema = z.object({
  vm: z.string(),
  host: z.string(),
  role: z.enum(['primary', 'backup']),
  samples: z.array(metricSampleSchema).max(SAMPLES_MAX),
})

export type ReplicaMetricsAnswer = z.infer<typeof replicaMetricsSchema>

/** Counts observations by the bucket they fall into. */
export class Histogram {
  readonly #bounds: readonly number[]
  readonly #counts: number[]
  #sum = 0

  /** `bounds` ascend; a value equal to a bound belongs below it. */
  constructor(bounds: readonly number[]) {
    this.#bounds = bounds
    this.#counts = new Array<number>(bounds.length + 1).fill(0)
  }

  /** Counts `times` observations of one value. */
  observe(value: number, times = 1): void {
    let bucket = 0
    while (bucket < this.#bounds.length && value > this.#bounds[bucket]) bucket++
    this.#counts[bucket] += times
    this.#sum += value * times
  }

  sample(): { counts: number[]; sum: number } {
    return { counts: [...this.#counts], sum: this.#sum }
  }
}

/** Adds up the time during which something was on. */
export class Stopwatch {
  #sumMs = 0
  #sinceMs: number | null = null

  set(on: boolean, nowMs: number): void {
    if (on) this.#sinceMs ??= nowMs
    else if (this.#sinceMs !== null) {
      this.#sumMs += nowMs - this.#sinceMs
      this.#sinceMs = null
    }
  }

  /** What was added up until now, ms. */
  ms(nowMs: number): number {
    return this.#sumMs + (this.#sinceMs === null ? 0 : nowMs - this.#sinceMs)
  }
}

/** What is read off the replica when it is asked; null where it has no meaning now. */
export interface ReplicaGauges {
  readonly protected: boolean
  readonly lagMs: number | null
  readonly cpuShare: number | null
  readonly heartbeatAgeMs: number | null
  readonly heldBytes: number
  readonly logFrames: number
  readonly logBytes: number
  readonly droppedFrames: number
  readonly retired: number
  readonly memoryBytes: number
  readonly refusals: RefusalCounts
}

export interface CompletedClone {
  /** From the order to a pair that stands. */
  readonly durationMs: number
  /** How long the machine stood still for it. */
  readonly guestStopMs: number
}

export class ReplicaMetrics {
  readonly #lag = new Histogram(REPLICA_METRICS.understudy_execution_lag_sampled_seconds.buckets)
  readonly #held = new Histogram(REPLICA_METRICS.understudy_output_held_seconds.buckets)
  readonly #clone = new Histogram(REPLICA_METRICS.understudy_clone_seconds.buckets)
  readonly #guestStop = new Histogram(REPLICA_METRICS.understudy_clone_guest_stop_seconds.buckets)
  readonly #stall = new Stopwatch()
  readonly #refused = zeros(HEARTBEAT_REFUSALS)
  readonly #clones = zeros(CLONE_OUTCOMES)
  #cloneBytes = 0
  #takeovers = 0

  lagSampled(lagMs: number): void {
    this.#lag.observe(lagMs / 1000)
  }

  /** That many outputs left that had been held this long. */
  outputsReleased(heldMs: number, outputs: number): void {
    this.#held.observe(heldMs / 1000, outputs)
  }

  /** The protocol lets the live machine run, or not. */
  mayRun(run: boolean, nowMs: number): void {
    this.#stall.set(!run, nowMs)
  }

  heartbeatRefused(reason: HeartbeatRefusal): void {
    this.#refused[reason]++
  }

  tookOver(): void {
    this.#takeovers++
  }

  /** Part of a copy of the running machine was sent. */
  cloneSent(bytes: number): void {
    this.#cloneBytes += bytes
  }

  /** A copy of the running machine became the backup, or `failed`. */
  cloneEnded(result: CompletedClone | 'failed'): void {
    this.#clones[result === 'failed' ? 'failed' : 'cloned']++
    if (result === 'failed') return
    this.#clone.observe(result.durationMs / 1000)
    this.#guestStop.observe(result.guestStopMs / 1000)
  }

  samples(gauges: ReplicaGauges, nowMs: number): MetricSample[] {
    const samples: MetricSample[] = []
    const add = (name: ReplicaMetric, value: MetricSample['value'] | null, label: string | null = null) => {
      if (value !== null) samples.push({ name, label, value })
    }
    add('understudy_protected', gauges.protected ? 1 : 0)
    add('understudy_execution_lag_seconds', seconds(gauges.lagMs))
    add('understudy_execution_lag_sampled_seconds', this.#lag.sample())
    add('understudy_log_frames_total', gauges.logFrames)
    add('understudy_log_bytes_total', gauges.logBytes)
    add('understudy_network_frames_dropped_total', gauges.droppedFrames)
    add('understudy_output_held_seconds', this.#held.sample())
    add('understudy_output_held_bytes', gauges.heldBytes)
    add('understudy_primary_stall_seconds_total', seconds(this.#stall.ms(nowMs)))
    add('understudy_primary_cpu_share', gauges.cpuShare)
    add('understudy_heartbeat_age_seconds', seconds(gauges.heartbeatAgeMs))
    for (const reason of HEARTBEAT_REFUSALS) {
      add('understudy_heartbeats_refused_total', this.#refused[reason], reason)
    }
    for (const reason of REFUSAL_REASONS) add('understudy_refusals_total', gauges.refusals[reason], reason)
    add('understudy_takeovers_total', this.#takeovers)
    for (const outcome of CLONE_OUTCOMES) add('understudy_clones_total', this.#clones[outcome], outcome)
    add('understudy_clone_bytes_total', this.#cloneBytes)
    add('understudy_clone_seconds', this.#clone.sample())
    add('understudy_clone_guest_stop_seconds', this.#guestStop.sample())
    add('understudy_retired_instructions_total', gauges.retired)
    add('understudy_guest_memory_bytes', gauges.memoryBytes)
    return samples
  }
}

function zeros<K extends HeartbeatRefusal | CloneOutcome>(names: readonly K[]): Record<K, number> {
  return Object.fromEntries(names.map((name) => [name, 0])) as Record<K, number>
}

function seconds(ms: number | null): number | null {
  return ms === null ? null : Math.max(0, ms) / 1000
}
