/** What `ps` shows of a virtual machine, made from what its replicas say. Pure. */
import type { ReplicaStatus } from '../replica/status.ts'
import type { Publish, VmRecord } from './vm-record.ts'

export interface ReplicaPlace {
  readonly host: string
  readonly pid: number
}

export interface VmStatus {
  readonly name: string
  /** `taking-over`: the primary is gone and its backup contends or goes live. `stopped`: no replica runs. */
  readonly state: 'starting' | 'running' | 'paused' | 'taking-over' | 'stopped'
  readonly protection: 'protected' | 'unprotected' | 'starting'
  readonly generation: number
  readonly primary: ReplicaPlace | null
  readonly backup: ReplicaPlace | null
  /** Execution lag of the backup; null without one. */
  readonly lagMs: number | null
  /** The clone that is being made of it. */
  readonly clone: ReplicaStatus['clone']
  /** Where its replicas shall be moved to. */
  readonly wish: VmRecord['wish']
  /** Upper bound of the share of a core it may use; 1 without a limit. */
  readonly cpuLimit: number
  /** Instructions retired since power-on. */
  readonly retired: number
  readonly image: string
  readonly memoryBytes: number
  readonly publish: readonly Publish[]
}

export function vmStatus(record: VmRecord, replicas: readonly ReplicaStatus[]): VmStatus {
  const here = replicas.filter((replica) => replica.vm === record.name && replica.phase !== 'ended')
  // A primary that was paused through a takeover still believes that it is one: the newest generation is right.
  const primary = newest(here.filter((replica) => replica.role === 'primary'))
  const backup = newest(here.filter((replica) => replica.role === 'backup'))
  const paired = primary !== null && backup !== null && primary.protection === 'protected'
  const shown = primary ?? backup
  return {
    name: record.name,
    state: stateOf(primary, backup),
    protection: paired ? 'protected' : primary?.protection === 'starting' ? 'starting' : 'unprotected',
    generation: shown?.generation ?? record.generation,
    primary: place(primary),
    backup: place(backup),
    lagMs: paired ? primary.lagMs : null,
    clone: primary?.clone ?? null,
    wish: record.wish,
    cpuLimit: shown?.shareMax ?? 1,
    retired: shown?.retired ?? 0,
    image: record.image,
    memoryBytes: record.memoryBytes,
    publish: record.publish,
  }
}

function stateOf(primary: ReplicaStatus | null, backup: ReplicaStatus | null): VmStatus['state'] {
  if (primary !== null) {
    if (primary.phase === 'starting') return 'starting'
    return primary.paused ? 'paused' : 'running'
  }
  if (backup === null) return 'stopped'
  return backup.phase === 'starting' ? 'starting' : 'taking-over'
}

function newest(replicas: readonly ReplicaStatus[]): ReplicaStatus | null {
  return replicas.reduce<ReplicaStatus | null>(
    (best, replica) => (best === null || replica.generation > best.generation ? replica : best),
    null,
  )
}

function place(replica: ReplicaStatus | null): ReplicaPlace | null {
  return replica === null ? null : { host: replica.host, pid: replica.pid }
}
