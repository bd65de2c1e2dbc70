/** The hosts of a cluster and how to reach their agents: from the command line as from any agent. */
import type { PlacementHost } from '../redundancy/placement.ts'
import { HOST_STATUS_MS_MAX } from '../redundancy/timing.ts'
import type { ReplicaStatus } from '../replica/status.ts'
import type { Identity } from '../security/identity.ts'
import { isLoopback } from '../security/links.ts'
import type { Store } from '../store/store.ts'
import type { HostStatus } from './agent-api.ts'
import { AgentClient } from './agent-client.ts'
import { ClusterError } from './errors.ts'
import { type KnownHost, listHosts } from './host-record.ts'

/** A host that the cluster knows, and what its agent says; null when that does not answer. */
export interface HostView extends KnownHost {
  readonly status: HostStatus | null
}

export class HostDirectory {
  readonly #store: Store
  readonly #identity: Identity | null

  /** `identity` is that of the host this runs on; null in a cluster on loopback. */
  constructor(store: Store, identity: Identity | null) {
    this.#store = store
    this.#identity = identity
  }

  async views(): Promise<HostView[]> {
    const hosts = await listHosts(this.#store)
    return Promise.all(
      hosts.map(async (host) => ({
        ...host,
        status: await this.#status(host),
      })),
    )
  }

  async #status(host: KnownHost): Promise<HostStatus | null> {
    try {
      return await this.#client(host).status(HOST_STATUS_MS_MAX)
    } catch {
      return null
    }
  }

  /** Throws HOST_NOT_FOUND, or HOST_UNREACHABLE without an identity. */
  async client(host: string): Promise<AgentClient> {
    const known = (await listHosts(this.#store)).find((other) => other.host === host)
    if (known === undefined) throw new ClusterError('HOST_NOT_FOUND', `No host ${host} is there now.`)
    return this.#client(known)
  }

  #client(host: KnownHost): AgentClient {
    const { address, apiPort, apiSocket } = host
    // Beyond this machine a Unix socket leads nowhere.
    if (isLoopback(address)) return new AgentClient({ socket: apiSocket })
    if (apiPort === null || this.#identity === null) {
      throw new ClusterError(
        'HOST_UNREACHABLE',
        `${host.host} at ${address} is asked as a host of the cluster only.`,
      )
    }
    return new AgentClient({ host: address, port: apiPort, identity: this.#identity })
  }
}

/** What placement looks at: hosts that answer. */
export function placementHosts(views: readonly HostView[]): PlacementHost[] {
  return views.flatMap(({ status, draining }) =>
    status === null
      ? []
      : [
          {
            host: status.host,
            failureDomain: status.failureDomain,
            draining,
            memoryBytes: status.memoryBytes,
            usedBytes: status.replicas.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0),
            cpus: status.cpus,
            replicas: status.replicas.length,
          },
        ],
  )
}

export function replicasOf(views: readonly HostView[]): ReplicaStatus[] {
  return views.flatMap(({ status }) => status?.replicas ?? [])
}
