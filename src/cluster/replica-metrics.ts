/** Asks the replicas of a host for their metrics. */
import { existsSync } from 'node:fs'
import { callControl } from '../control/client.ts'
import { type ReplicaMetricsAnswer, replicaMetricsSchema } from '../replica/metrics.ts'
import { processOf } from './background.ts'
import type { HostLayout } from './layout.ts'

/** A replica answers from memory; one that does not is stopped or dead, and a scrape must not wait for it. */
const METRICS_MS_MAX = 1_000

/** Of each of these VMs whose replica has a process here; null when that does not answer as it should. */
export async function askForMetrics(
  layout: HostLayout,
  vms: readonly string[],
): Promise<{ vm: string; answer: ReplicaMetricsAnswer | null }[]> {
  const running = vms.filter((vm) => processOf(layout.vm(vm).pidFile) !== null)
  return Promise.all(
    running.map(async (vm) => {
      const socket = layout.vm(vm).controlSocket
      if (!existsSync(socket)) return { vm, answer: null }
      const call = { socket, method: 'GET', path: '/v1/metrics', timeoutMs: METRICS_MS_MAX } as const
      const answer = await callControl(call, replicaMetricsSchema).catch(() => null)
      // It speaks for itself only.
      return { vm, answer: answer?.vm === vm ? answer : null }
    }),
  )
}
