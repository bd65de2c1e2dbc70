/**
 * The agent of one host: a member of the cluster for as long as it runs. It keeps the replicas of its host, answers for
 * them, and sees to it that the virtual machines whose primaries are here get what is wished of them (`restorer.ts`).
 */
import { randomUUID } from 'node:crypto'
import { type FSWatcher, watch } from 'node:fs'
import { availableParallelism, totalmem } from 'node:os'
import type { Logger } from 'pino'
import { ControlServer, type Route, type UpgradeRoute } from '../control/server.ts'
import type { Step } from '../redundancy/reconcile.ts'
import { CLONE_MS_MAX, type CloneOrder, newPairKey, type ReplicaConfig } from '../replica/config.ts'
import { EventLog, type EventType, NO_VM } from '../replica/event-log.ts'
import { logError } from '../replica/process-log.ts'
import type { Identity } from '../security/identity.ts'
import { checkReach, isLoopback } from '../security/links.ts'
import { Refusals } from '../security/refusals.ts'
import { openStore } from '../store/open.ts'
import type { Store } from '../store/store.ts'
import type { HostStatus, ReplicaOrder } from './agent-api.ts'
import { agentRoutes, joinRoute } from './agent-routes.ts'
import { Cluster } from './cluster.ts'
import { clusterRoutes } from './cluster-routes.ts'
import { ClusterError } from './errors.ts'
import { EventCopier } from './event-copier.ts'
import { HostDirectory, placementHosts } from './host-directory.ts'
import type { HostRecord } from './host-record.ts'
import type { ClusterLayout, HostLayout } from './layout.ts'
import { Membership } from './membership.ts'
import { HostMetrics } from './metrics.ts'
import { askForMetrics } from './replica-metrics.ts'
import { ReplicaProcesses } from './replica-processes.ts'
import { Restorer } from './restorer.ts'
import { readVmRecord, updateVmRecord } from './vm-record.ts'

export interface AgentOptions {
  readonly log: Logger
  readonly host: string
  readonly address: string
  readonly failureDomain: string
  /** For guests; null for what the machine has. */
  readonly memoryBytes: number | null
  readonly cluster: ClusterLayout
  readonly layout: HostLayout
  readonly store: Store
  /** Where replicas find the store. */
  readonly storeUrl: string
  /** This host's identity and where it lies; null for a cluster on loopback. */
  readonly identity: Identity | null
  readonly identityDirectory: string | null
  /** Where the agent answers other hosts: 0 for any port. Without an identity it does not. */
  readonly apiPort: number
  /** Called when the agent was told to end. */
  readonly onShutdown: () => void
}

export class HostAgent {
  readonly replicas: ReplicaProcesses
  readonly #options: AgentOptions
  #record: HostRecord
  readonly #hosts: HostDirectory
  readonly #joined = Promise.withResolvers<void>()
  readonly #metrics: HostMetrics
  readonly #copier: EventCopier
  readonly #refusals: Refusals
  #membership: Membership | null = null
  #restorer: Restorer | null = null
  #servers: ControlServer[] = []
  #events: FSWatcher | null = null

  constructor(options: AgentOptions) {
    this.#options = options
    const { host, address, layout, storeUrl, identityDirectory, failureDomain, memoryBytes } = options
    const guestBytes = memoryBytes ?? totalmem()
    this.replicas = new ReplicaProcesses({
      ...{ log: options.log, host, address, layout, identityDirectory },
      memoryBytes: guestBytes,
      store: storeUrl,
    })
    this.#hosts = new HostDirectory(options.store, options.identity)
    this.#copier = new EventCopier({
      host,
      path: layout.eventsFile,
      openStore: () => openStore(storeUrl),
      log: options.log,
    })
    this.#refusals = new Refusals(options.log)
    this.#metrics = new HostMetrics({
      host,
      replicas: () => askForMetrics(layout, this.replicas.vms()),
      eventsWaiting: () => this.#copier.waiting,
      refusals: () => this.#refusals.counts(),
    })
    this.#record = {
      host,
      incarnation: randomUUID(),
      address,
      apiPort: null,
      apiSocket: layout.agentSocket,
      failureDomain,
      memoryBytes: guestBytes,
      cpus: availableParallelism(),
    }
  }

  /** Resolves when the control socket answers; becoming a member may take longer. */
  async listen(): Promise<void> {
    const { layout, store } = this.#options
    const [own, upgrades] = agentRoutes(this)
    const cluster = Cluster.of(this.#options.cluster, store, this.#options.identity)
    const routes = [...own, ...clusterRoutes(cluster)]
    this.#servers = [await ControlServer.listen(layout.agentSocket, routes, upgrades)]
    await this.#listenBeyond(routes, upgrades)
    this.#copier.start()
    this.#membership = Membership.keep({
      store,
      record: this.#record,
      onChange: (isMember, detail) => {
        if (isMember) this.#joined.resolve()
        this.#event(null, isMember ? 'host-joined' : 'host-left', { detail })
      },
    })
    this.#restorer = new Restorer(this.#record.failureDomain, {
      replicas: () => this.replicas.statuses(),
      hosts: async () => placementHosts(await this.#hosts.views()),
      wish: async (vm) => {
        const record = await readVmRecord(store, vm)
        return record === null ? null : { protect: record.protect, ...record.wish }
      },
      met: async (vm, met) => {
        await updateVmRecord(store, vm, (record) => ({
          ...record,
          wish: {
            primary: met.primary ? null : record.wish.primary,
            backup: met.backup ? null : record.wish.backup,
          },
        }))
      },
      clone: (vm, to) => this.clone(vm, to),
      unprotect: (vm) => this.replicas.call(vm, '/v1/unprotect'),
      failover: (vm) => this.replicas.call(vm, '/v1/failover'),
      decided: (vm, step) => this.#decided(vm, step),
      failed: (vm, step, error) => {
        const detail = error instanceof Error ? error.message : String(error)
        this.#event(vm, 'clone-failed', { step: step.kind, detail })
      },
    })
    // Replicas write down what happens to them: that is when something may be to be done.
    this.#events = watch(layout.directory, (_type, name) => {
      if (name === null || layout.eventsFile.endsWith(name)) this.look()
    })
    this.replicas.prepare()
    this.look()
  }

  /** On the host's address, for the other hosts: with an identity only. */
  async #listenBeyond(routes: readonly Route[], upgrades: readonly UpgradeRoute[]): Promise<void> {
    const { address, identityDirectory } = this.#options
    const identity = this.#options.identity
    checkReach(address, identity)
    if (identity === null || identityDirectory === null) return
    const join = await joinRoute(identityDirectory, this.#refusals)
    const where = { host: address, port: this.#options.apiPort, identity, refusals: this.#refusals }
    const server = await ControlServer.listen(where, [...routes, ...join], upgrades)
    this.#servers.push(server)
    this.#record = { ...this.#record, apiPort: server.port }
  }

  /** In Prometheus's text format. */
  metrics(): Promise<string> {
    return this.#metrics.text()
  }

  /** Resolves when the cluster knows this host. */
  get joined(): Promise<void> {
    return this.#joined.promise
  }

  look(): void {
    this.#restorer?.look()
  }

  async status(): Promise<HostStatus> {
    const { host, address, failureDomain, memoryBytes, cpus } = this.#record
    const replicas = await this.replicas.statuses()
    const isMember = this.#membership?.isMember ?? false
    return { host, pid: process.pid, address, failureDomain, memoryBytes, cpus, isMember, replicas }
  }

  /** Starts a replica on another host and has the machine that runs here, alone, cloned onto it. */
  async clone(vm: string, to: string): Promise<void> {
    const machine = await this.replicas.status(vm)
    if (machine === null) throw new ClusterError('VM_NOT_RUNNING', `${vm} does not run here.`)
    const { generation } = machine
    const agent = await this.#hosts.client(to)
    const replica = `${to}/${randomUUID()}`
    const record = await readVmRecord(this.#options.store, vm)
    const pairKey = newPairKey()
    const waiting = await agent.start({
      ...cloneOf(this.replicas.config(vm)),
      ...{ replica, generation, pairKey },
    })
    const { address } = await agent.status()
    const order: CloneOrder = {
      replica,
      peer: {
        host: to,
        address,
        channelPort: waiting.channelPort,
        heartbeatPort: waiting.heartbeatPort,
        clonePort: waiting.clonePort,
      },
      pairKey,
      compressed: !isLoopback(address),
      bytesPerSecond: record?.cloneBytesPerSecond ?? null,
      deadlineMs: CLONE_MS_MAX,
    }
    try {
      await this.replicas.call(vm, '/v1/clone', order)
    } catch (error) {
      // It ends by itself sooner or later; its place is free sooner like this.
      await agent.abandon(vm, replica).catch(() => {})
      throw error
    }
  }

  /** Ends the agent; its replicas run on. */
  async close(): Promise<void> {
    this.#events?.close()
    await this.#restorer?.end()
    await this.#membership?.leave()
    for (const server of this.#servers) await server.close()
    await this.#copier.close()
  }

  /** Ends the host: every replica's power is cut. */
  async shutdown(): Promise<void> {
    await this.#restorer?.end()
    await Promise.all(this.replicas.vms().map((vm) => this.replicas.stop(vm, 0)))
    setImmediate(this.#options.onShutdown)
  }

  #decided(vm: string, step: Step): void {
    switch (step.kind) {
      case 'clone':
        return this.#event(vm, 'placed', { role: 'backup', to: step.to, reason: step.reason })
      case 'wait':
        return this.#event(vm, 'not-placed', { reason: step.reason })
      case 'unprotect':
      case 'failover':
        return this.#event(vm, 'moving', { step: step.kind, reason: step.reason })
    }
  }

  #event(vm: string | null, type: EventType, details: { readonly [name: string]: string | number }): void {
    const { layout, host } = this.#options
    const events = new EventLog(layout.eventsFile, vm ?? NO_VM, host)
    events
      .append(type, details)
      .then(() => events.close())
      .catch((error: Error) => logError(this.#options.log, 'error', error))
  }
}

/** The order for a replica that shall become a clone of the one with this configuration. */
function cloneOf(config: ReplicaConfig): Omit<ReplicaOrder, 'replica' | 'generation' | 'pairKey'> {
  return {
    vm: config.vm,
    role: 'backup',
    cloned: true,
    peer: null,
    boot: config.boot,
    start: null,
    memoryBytes: config.memoryBytes,
    powerOffInput: config.powerOffInput,
    mac: config.mac,
    rngSeed: config.rngSeed,
    epochMs: config.epochMs,
    gatewayAddress: config.gatewayAddress,
    gatewayToken: config.gatewayToken,
    machineModule: config.machineModule,
  }
}
