/**
 * Which hosts carry a virtual machine's replicas, and why. Pure.
 *
 * Two rules may not be broken: the replicas of one machine never share a host or a failure domain, for they would die
 * together; and a host gets no more guests than its memory holds. Among what is left the least loaded is taken, by memory and
 * then by count, so that the same hosts always give the same answer.
 */
import { ClusterError } from './errors.ts'

export interface PlacementHost {
  readonly host: string
  readonly failureDomain: string
  /** Whether it shall carry nothing. */
  readonly draining: boolean
  /** Memory for guests, and how much of it guests have. */
  readonly memoryBytes: number
  readonly usedBytes: number
  readonly cpus: number
  /** Replicas that run there now. */
  readonly replicas: number
}

export interface Choice {
  readonly host: string
  /** For people: why this one. */
  readonly reason: string
}

export interface Refusal {
  readonly host: null
  /** Why no host will do: each with its reason. */
  readonly reason: string
}

export interface Wanted {
  readonly memoryBytes: number
  /** The host of the other replica; null for the first one. */
  readonly apartFrom: string | null
  /** Hosts that have just failed at it. */
  readonly avoid?: ReadonlySet<string>
}

/** The best host for one replica. */
export function choose(hosts: readonly PlacementHost[], wanted: Wanted): Choice | Refusal {
  const other = hosts.find(({ host }) => host === wanted.apartFrom)
  const objections = hosts.map((host) => ({ host, objection: objectionTo(host, wanted, other) }))
  const fit = objections.flatMap(({ host, objection }) => (objection === null ? [host] : []))
  const best = fit.sort(byLoad)[0]
  if (best === undefined) {
    const why = objections.map(({ host, objection }) => `${host.host}: ${objection}`)
    return { host: null, reason: why.length === 0 ? 'no host answers' : why.join('; ') }
  }
  const free = Math.round((best.memoryBytes - best.usedBytes) / MIB)
  const apart = wanted.apartFrom === null ? '' : `, apart from ${wanted.apartFrom}`
  return {
    host: best.host,
    reason: `least loaded of ${fit.length} that fit: ${best.replicas} replicas, ${free} MiB free${apart}`,
  }
}

const MIB = 1024 * 1024

function objectionTo(
  host: PlacementHost,
  { memoryBytes, apartFrom, avoid }: Wanted,
  other: PlacementHost | undefined,
): string | null {
  if (host.host === apartFrom) return 'has the other replica'
  if (other !== undefined && host.failureDomain === other.failureDomain) {
    return `is in the failure domain ${host.failureDomain} of the other replica`
  }
  if (host.draining) return 'is drained'
  if (avoid?.has(host.host)) return 'has just failed at it'
  const free = host.memoryBytes - host.usedBytes
  if (free < memoryBytes) return `has ${Math.round(free / MIB)} MiB free of ${Math.round(memoryBytes / MIB)}`
  return null
}

function byLoad(a: PlacementHost, b: PlacementHost): number {
  const share = (host: PlacementHost) => host.usedBytes / host.memoryBytes
  const perCpu = (host: PlacementHost) => host.replicas / host.cpus
  return share(a) - share(b) || perCpu(a) - perCpu(b) || (a.host < b.host ? -1 : 1)
}

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
  const backup = choose(hosts, { memoryBytes, apartFrom: primary.host })
  return { primary, backup: chosen(backup, `no host for its backup beside ${primary.host}`) }
}

function chosen(result: Choice | Refusal, what: string): Choice {
  if (result.host !== null) return result
  throw new ClusterError('CLUSTER_TOO_FEW_HOSTS', `There is ${what} (${result.reason}).`)
}
