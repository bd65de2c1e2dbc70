/** Which hosts carry a virtual machine's replicas. Pure. */
import { ClusterError } from './errors.ts'

export interface HostLoad {
  readonly host: string
  /** Replicas that run there now. */
  readonly replicas: number
}

export interface Placement {
  readonly primary: string
  /** Never the primary's host: they would die together. */
  readonly backup: string | null
}

/** The hosts with the fewest replicas, in the order given among equals. */
export function place(hosts: readonly HostLoad[], protect: boolean): Placement {
  const byLoad = [...hosts].sort((a, b) => a.replicas - b.replicas)
  const wanted = protect ? 2 : 1
  if (byLoad.length < wanted) {
    throw new ClusterError(
      'CLUSTER_TOO_FEW_HOSTS',
      `${wanted} hosts are needed, ${byLoad.length} ${byLoad.length === 1 ? 'answers' : 'answer'}.`,
    )
  }
  return { primary: byLoad[0].host, backup: protect ? byLoad[1].host : null }
}
