/** One test of partitions from beginning to end, for `npm test` in its short form and `npm run measure` in its long one. */
import { setTimeout as sleep } from 'node:timers/promises'
import { NamespaceCluster, type NamespaceClusterOptions } from './namespace-cluster.ts'
import { brokenPromises, type Evidence } from './partition-checks.ts'
import { planRounds } from './partition-plan.ts'
import { type RoundReport, runPlan } from './partitions.ts'

export interface PartitionRun {
  readonly rounds: readonly RoundReport[]
  readonly evidence: Evidence
  /** Of every operation that was answered. */
  readonly answersMs: readonly number[]
  readonly problems: readonly string[]
  /** What this kernel could not do to the network. */
  readonly shortcomings: string | null
}

export interface PartitionRunOptions extends NamespaceClusterOptions {
  readonly rounds: number
  readonly onRound?: (report: RoundReport) => void
}

const CLOCK = { nowMs: () => performance.now(), sleep }

/** Rejects when the machine did not come back, or could not be harmed; what was broken otherwise is in `problems`. */
export async function runPartitions(options: PartitionRunOptions): Promise<PartitionRun> {
  const cluster = await NamespaceCluster.up(options)
  try {
    const plan = planRounds(options.seed, options.rounds)
    const rounds = await runPlan(cluster, plan, CLOCK, options.onRound)
    const evidence = await cluster.evidence()
    const problems = brokenPromises(evidence)
    if (problems.length > 0) problems.push(await cluster.describe())
    const { counters, registers } = evidence.history
    const answersMs = [...counters, ...registers].flatMap(({ callMs, returnMs }) =>
      returnMs === null ? [] : [returnMs - callMs],
    )
    return { rounds, evidence, answersMs, problems, shortcomings: cluster.network.shortcomings }
  } finally {
    await cluster.down()
  }
}
