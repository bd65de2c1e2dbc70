/**
 * Which hosts carry a virtual machine's replicas, and why. Pure.
 *
 * Two rules may not be broken: the replicas of one machine never share a host or a failure domain, for they would die
 * together; and a host gets no more guests than its memory holds. Among what is left the least loaded is taken, by memory and
 * then by count, so that the same hosts always give the same answer.
 */
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

/**
 * The place of the other replica. It says its failure domain itself: its host may be missing among those to choose from. Null
 * for a domain that may be shared.
 */
export interface OtherPlace {
  readonly host: string
  readonly failureDomain: string | null
}

export interface Wanted {
  readonly memoryBytes: number
  /** Where the other replica is; null for the first one. */
  readonly apartFrom: OtherPlace | null
  /** Hosts that have just failed at it. */
  readonly avoid?: ReadonlySet<string>
}

/** The best host for one replica. */
export function choose(hosts: readonly PlacementHost[], wanted: Wanted): Choice | Refusal {
  const objections = hosts.map((host) => ({ host, objection: objectionTo(host, wanted) }))
  const fit = objections.flatMap(({ host, objection }) => (objection === null ? [host] : []))
  const best = fit.sort(byLoad)[0]
  if (best === undefined) {
    const why = objections.map(({ host, objection }) => `${host.host}: ${objection}`)
    return { host: null, reason: why.length === 0 ? 'no host answers' : why.join('; ') }
  }
  const free = Math.round((best.memoryBytes - best.usedBytes) / MIB)
  const apart = wanted.apartFrom === null ? '' : `, apart from ${wanted.apartFrom.host}`
  return {
    host: best.host,
    reason: `least loaded of ${fit.length} that fit: ${best.replicas} replicas, ${free} MiB free${apart}`,
  }
}

const MIB = 1024 * 1024

function objectionTo(host: PlacementHost, { memoryBytes, apartFrom, avoid }: Wanted): string | null {
  if (host.host === apartFrom?.host) return 'has the other replica'
  if (apartFrom !== null && host.failureDomain === apartFrom.failureDomain) {
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
