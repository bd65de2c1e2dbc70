/** Where a new virtual machine begins. Pure. */
import { type Choice, choose, type PlacementHost, type Refusal } from '../redundancy/placement.ts'
import { ClusterError } from './errors.ts'

export interface Placement {
  readonly primary: Choice
  readonly backup: Choice | null
}

/** Hosts for a new virtual machine. Throws CLUSTER_TOO_FEW_HOSTS, saying what is wrong with each host. */
export function place(
  hosts: readonly PlacementHost[],
  wanted: { readonly memoryBytes: number; readonly protect: boolean },
): Placement {
  const { memoryBytes } = wanted
  const primary = chosen(choose(hosts, { memoryBytes, apartFrom: null }), 'no host for it')
  if (!wanted.protect) return { primary, backup: null }
  const { failureDomain } = hosts.find(({ host }) => host === primary.host)!
  const backup = choose(hosts, { memoryBytes, apartFrom: { host: primary.host, failureDomain } })
  return { primary, backup: chosen(backup, `no host for its backup beside ${primary.host}`) }
}

function chosen(result: Choice | Refusal, what: string): Choice {
  if (result.host !== null) return result
  throw new ClusterError('CLUSTER_TOO_FEW_HOSTS', `There is ${what} (${result.reason}).`)
}
