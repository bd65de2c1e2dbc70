/**
 * Every metric of a replica: its name, type, meaning, labels and buckets. The replica records and hands out samples
 * (`src/replica/metrics.ts`), its agent makes text of them (`src/cluster/metrics.ts`), and `docs/observability.md` lists
 * them; a test holds the three together. Names follow Prometheus's conventions: base units, `_total` on counters.
 */

import { REFUSAL_REASONS } from '../security/refusals.ts'

export type MetricType = 'counter' | 'gauge' | 'histogram'

export interface MetricDefinition {
  readonly type: MetricType
  readonly help: string
  /** The label besides `vm`, `host` and `role`, and every value it has. */
  readonly label?: { readonly name: string; readonly values: readonly string[] }
  /** Upper bounds of a histogram's buckets, ascending; one without a bound comes after them. */
  readonly buckets?: readonly number[]
  /**
   * A takeover changes a replica's role in the middle of its life. What counts such changes has no label `role`: a series
   * that begins at 1 would show no increase.
   */
  readonly outlivesRole?: true
}

/** Why a datagram that came to the heartbeat socket was not taken for a heartbeat of the peer. */
export const HEARTBEAT_REFUSALS = ['malformed', 'other-vm', 'forged', 'replayed'] as const
export type HeartbeatRefusal = (typeof HEARTBEAT_REFUSALS)[number]

/** How the copying of a running machine to a new backup ended. */
export const CLONE_OUTCOMES = ['cloned', 'failed'] as const
export type CloneOutcome = (typeof CLONE_OUTCOMES)[number]

/** From what a guest cannot notice to the limit of lag (1 s) and beyond. */
const LAG_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]
/** A round trip on one host takes a tenth of a millisecond; a lost backup is given up within a second. */
const HELD_BUCKETS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1]
/** Some hundred megabytes on a fast network, up to gigabytes on a slow one. */
const CLONE_BUCKETS = [0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300]
const GUEST_STOP_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1]

export const REPLICA_METRICS = {
  understudy_protected: {
    type: 'gauge',
    help: 'Whether a backup holds the log up to now: 1 or 0.',
  },
  understudy_execution_lag_seconds: {
    type: 'gauge',
    help: 'Execution lag of the backup as its primary sees it now.',
  },
  understudy_execution_lag_sampled_seconds: {
    type: 'histogram',
    help: 'Execution lag of the backup, sampled by its primary at each tick (every 10 ms).',
    buckets: LAG_BUCKETS,
  },
  understudy_log_frames_total: {
    type: 'counter',
    help: 'Log frames recorded by a primary or accepted by a backup.',
  },
  understudy_log_bytes_total: {
    type: 'counter',
    help: 'Bytes of the log frames recorded by a primary or accepted by a backup.',
  },
  understudy_network_frames_dropped_total: {
    type: 'counter',
    help: 'Frames from the network that a live machine was too far behind to take.',
  },
  understudy_output_held_seconds: {
    type: 'histogram',
    help: 'How long the Output Rule held an output, from recorded to released; without a backup nothing is held.',
    buckets: HELD_BUCKETS,
  },
  understudy_output_held_bytes: {
    type: 'gauge',
    help: 'Bytes of outputs held now by a primary, or kept by a backup that may have to send them.',
  },
  understudy_primary_stall_seconds_total: {
    type: 'counter',
    help: 'Time the protocol kept a live machine from running: a buffer was full, or arbitration was under way.',
  },
  understudy_primary_cpu_share: {
    type: 'gauge',
    help: 'Share of a core that lag control leaves to the live machine, 0.05 to 1.',
  },
  understudy_heartbeat_age_seconds: {
    type: 'gauge',
    help: 'Time since the newest heartbeat of the other replica.',
  },
  understudy_heartbeats_refused_total: {
    type: 'counter',
    help: 'Datagrams that were not taken for heartbeats of the other replica, by reason.',
    label: { name: 'reason', values: HEARTBEAT_REFUSALS },
  },
  understudy_refusals_total: {
    type: 'counter',
    help: 'Connections and datagrams that this replica refused because of who sent them, by reason.',
    label: { name: 'reason', values: REFUSAL_REASONS },
  },
  understudy_takeovers_total: {
    type: 'counter',
    help: 'Times this replica took over from its primary: 0 or 1.',
    outlivesRole: true,
  },
  understudy_clones_total: {
    type: 'counter',
    help: 'Copies of this running machine made for a new backup, by outcome.',
    label: { name: 'outcome', values: CLONE_OUTCOMES },
  },
  understudy_clone_bytes_total: {
    type: 'counter',
    help: 'Bytes sent to new backups as copies of this running machine.',
  },
  understudy_clone_seconds: {
    type: 'histogram',
    help: 'From the order to copy the running machine to a pair that stands; failed copies are not in it.',
    buckets: CLONE_BUCKETS,
  },
  understudy_clone_guest_stop_seconds: {
    type: 'histogram',
    help: 'How long the machine stood still while it was copied; failed copies are not in it.',
    buckets: GUEST_STOP_BUCKETS,
  },
  understudy_retired_instructions_total: {
    type: 'counter',
    help: 'Instructions retired since power-on, those before this replica was copied or restored included.',
  },
  understudy_guest_memory_bytes: {
    type: 'gauge',
    help: 'RAM of the guest.',
  },
} as const satisfies Readonly<Record<string, MetricDefinition>>

export type ReplicaMetric = keyof typeof REPLICA_METRICS

/** The definition by name; undefined for a name that this version does not know. */
export function replicaMetric(name: string): MetricDefinition | undefined {
  return Object.hasOwn(REPLICA_METRICS, name) ? REPLICA_METRICS[name as ReplicaMetric] : undefined
}
