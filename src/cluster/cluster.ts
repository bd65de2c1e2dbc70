/** What one can do with the virtual machines of a cluster: the verbs behind the command line. */
import { randomBytes, randomUUID } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { callControl, openStream } from '../control/client.ts'
import { GatewayClient } from '../net/gateway-control.ts'
import { GUEST_MAC } from '../net/passt.ts'
import type { Boot, Peer, Start } from '../replica/config.ts'
import { replicaStatusSchema } from '../replica/status.ts'
import { openDirectoryStore } from '../store/directory.ts'
import type { Store } from '../store/store.ts'
import { doneSchema, type HostStatus, hostStatusSchema, type ReplicaOrder } from './agent-api.ts'
import { ClusterError } from './errors.ts'
import { ClusterLayout } from './layout.ts'
import { gatewayControlAddress, readClusterState } from './lifecycle.ts'
import { place } from './placement.ts'
import {
  checkVmName,
  createVmRecord,
  deleteVmRecord,
  listVmRecords,
  nextGeneration,
  type Publish,
  readVmRecord,
  type VmRecord,
} from './vm-record.ts'
import { type VmStatus, vmStatus } from './vm-status.ts'

/** Starting a replica builds its machine from the image. */
const START_MS_MAX = 60_000
/** From two started replicas to a pair that stands takes one connection and one test-and-set. */
const PAIR_MS_MAX = 10_000
const LOOK_MS = 20
/** A backup confirms within a round trip, and one that does not is given up within a second. */
const CONTROL_MS_MAX = 5_000
/** On top of the guest's own time to shut down. */
const STOP_MARGIN_MS = 10_000

export interface RunOptions {
  readonly name: string
  /** Name of the image, as the record shows it. */
  readonly image: string
  /** What to boot; null only with a machine module that needs nothing. */
  readonly boot: Boot | null
  /** The snapshot to go on from instead of booting. */
  readonly start?: Start | null
  readonly memoryBytes: number
  readonly publish: readonly Publish[]
  readonly protect: boolean
  /** What makes the guest power itself off when typed on its serial console, piece by piece. */
  readonly powerOffInput: string[] | null
  /** Also let peers that speak plain stream framing (QEMU, a test) join the VM's network. */
  readonly plainPort?: boolean
  /** For tests: another machine than the product's. */
  readonly machineModule?: string
}

export class Cluster {
  readonly layout: ClusterLayout
  readonly #store: Store
  readonly #gateway: GatewayClient
  readonly #hosts: readonly string[]

  private constructor(layout: ClusterLayout, store: Store, hosts: readonly string[]) {
    this.layout = layout
    this.#store = store
    this.#hosts = hosts
    this.#gateway = new GatewayClient(gatewayControlAddress(layout))
  }

  /** Throws CLUSTER_NOT_UP. */
  static async open(directory: string): Promise<Cluster> {
    const layout = new ClusterLayout(directory)
    const state = readClusterState(layout)
    if (state === null) throw new ClusterError('CLUSTER_NOT_UP', `No cluster runs in ${directory}.`)
    const store = await openDirectoryStore(layout.store)
    return new Cluster(
      layout,
      store,
      state.hosts.map(({ host }) => host),
    )
  }

  async close(): Promise<void> {
    await this.#store.close()
  }

  /** The hosts whose agents answer. */
  async hosts(): Promise<HostStatus[]> {
    const answers = await Promise.all(
      this.#hosts.map((host) =>
        callControl({ socket: this.#agent(host), method: 'GET', path: '/v1/host' }, hostStatusSchema).catch(
          () => null,
        ),
      ),
    )
    return answers.filter((answer) => answer !== null)
  }

  async list(): Promise<VmStatus[]> {
    const [records, hosts] = await Promise.all([listVmRecords(this.#store), this.hosts()])
    const replicas = hosts.flatMap((host) => host.replicas)
    return records.map((record) => vmStatus(record, replicas))
  }

  /** Throws VM_NOT_FOUND. */
  async status(name: string): Promise<VmStatus> {
    const record = await this.#record(name)
    const hosts = await this.hosts()
    return vmStatus(
      record,
      hosts.flatMap((host) => host.replicas),
    )
  }

  /** Throws VM_NAME_INVALID, or VM_EXISTS for a name that is taken. */
  async checkNew(name: string): Promise<void> {
    checkVmName(name)
    const existing = await readVmRecord(this.#store, name)
    if (existing !== null) throw new ClusterError('VM_EXISTS', `${name} exists already.`)
  }

  /** Starts a virtual machine; resolves when it runs, and is protected if it shall be. Cleans up when it fails. */
  async run(options: RunOptions): Promise<VmStatus> {
    await this.checkNew(options.name)
    const hosts = await this.hosts()
    const placement = place(
      hosts.map(({ host, replicas }) => ({ host, replicas: replicas.length })),
      options.protect,
    )
    const generation = await nextGeneration(this.#store, options.name)
    // Ports first: the commonest reason not to start, and nothing is there yet to be taken back.
    const { token, publish } = await this.#gateway.add({
      vm: options.name,
      publish: options.publish.map(({ hostPort, guestPort }) => ({ hostPort, guestPort })),
      plainPort: options.plainPort ?? false,
    })
    try {
      const { linkAddress } = await this.#gateway.info()
      const mac = Buffer.from(GUEST_MAC).toString('hex')
      const record: VmRecord = {
        name: options.name,
        image: options.image,
        memoryBytes: options.memoryBytes,
        mac,
        publish: publish.map(({ hostPort, guestPort }) => ({ hostPort, guestPort })),
        protect: options.protect,
        generation,
        createdAt: new Date().toISOString(),
      }
      await createVmRecord(this.#store, record)
      const order = {
        vm: options.name,
        generation,
        boot: options.boot,
        start: options.start ?? null,
        powerOffInput: options.powerOffInput,
        memoryBytes: options.memoryBytes,
        mac,
        rngSeed: randomBytes(48).toString('hex'),
        epochMs: Date.now(),
        gatewayAddress: linkAddress,
        gatewayToken: token,
        machineModule: options.machineModule ?? null,
      }
      let peer: Peer | null = null
      if (placement.backup !== null) peer = await this.#startBackup(placement.backup, order)
      await this.#startReplica(placement.primary, { ...order, role: 'primary', peer })
      return await this.#untilRunning(options.name, options.protect)
    } catch (error) {
      await this.remove(options.name, { force: true }).catch(() => {})
      throw error
    }
  }

  async #startBackup(host: string, order: Omit<ReplicaOrder, 'role' | 'peer' | 'replica'>): Promise<Peer> {
    const status = await this.#startReplica(host, { ...order, role: 'backup', peer: null })
    const { address } = await callControl(
      { socket: this.#agent(host), method: 'GET', path: '/v1/host' },
      hostStatusSchema,
    )
    return { host, address, channelPort: status.channelPort, heartbeatPort: status.heartbeatPort }
  }

  #startReplica(host: string, order: Omit<ReplicaOrder, 'replica'>) {
    const body: ReplicaOrder = { ...order, replica: `${host}/${randomUUID()}` }
    return callControl(
      { socket: this.#agent(host), method: 'POST', path: '/v1/replicas', body, timeoutMs: START_MS_MAX },
      replicaStatusSchema,
    )
  }

  async #untilRunning(name: string, protect: boolean): Promise<VmStatus> {
    const deadlineMs = performance.now() + PAIR_MS_MAX
    for (;;) {
      const status = await this.status(name)
      if (status.state === 'running' && (!protect || status.protection === 'protected')) return status
      // A guest may be quicker than us: it ran, and powered itself off.
      if (status.state === 'stopped') return status
      if (performance.now() > deadlineMs) {
        const logs = this.#hosts.map((host) => this.layout.host(host).vm(name).processLog).join(' and ')
        throw new ClusterError(
          'VM_START_FAILED',
          `${name} was not running in ${PAIR_MS_MAX} ms; see ${logs}.`,
        )
      }
      await sleep(LOOK_MS)
    }
  }

  /** Ends a virtual machine: the guest shuts down if it can within `graceMs`, else its power is cut. */
  async stop(name: string, graceMs: number): Promise<void> {
    const status = await this.status(name)
    if (status.state === 'stopped') {
      // A guest that powered itself off has left its ports behind.
      await this.#gateway.remove(name).catch(() => {})
      throw new ClusterError('VM_NOT_RUNNING', `${name} does not run.`)
    }
    // The primary first: it tells its backup, which then knows that this is no failure.
    for (const replica of [status.primary, status.backup]) {
      if (replica !== null) await this.#stopReplica(replica.host, name, graceMs)
    }
    await this.#gateway.remove(name).catch(() => {})
  }

  async #stopReplica(host: string, name: string, graceMs: number): Promise<void> {
    await callControl(
      {
        socket: this.#agent(host),
        method: 'POST',
        path: `/v1/replicas/${name}/stop`,
        body: { graceMs },
        timeoutMs: graceMs + STOP_MARGIN_MS,
      },
      doneSchema,
    )
  }

  /** Forgets a virtual machine; with `force` also one that runs. Throws VM_RUNNING. */
  async remove(name: string, options: { readonly force: boolean }): Promise<void> {
    const status = await this.status(name)
    if (status.state !== 'stopped' && !options.force) throw new ClusterError('VM_RUNNING', `${name} runs.`)
    const places = [status.primary?.host, status.backup?.host, ...this.#hosts]
    for (const host of new Set(places.filter((host) => host !== undefined))) {
      const call = { socket: this.#agent(host), method: 'DELETE', path: `/v1/replicas/${name}` } as const
      await callControl({ ...call, timeoutMs: STOP_MARGIN_MS }, doneSchema).catch(() => {})
    }
    await this.#gateway.remove(name).catch(() => {})
    await deleteVmRecord(this.#store, name)
  }

  /** Hands the virtual machine over to its backup on purpose. Throws VM_NOT_RUNNING or VM_NOT_PROTECTED. */
  async failover(name: string): Promise<void> {
    const { primary, protection, state } = await this.status(name)
    if (primary === null || state === 'stopped')
      throw new ClusterError('VM_NOT_RUNNING', `${name} does not run.`)
    if (protection !== 'protected') throw new ClusterError('VM_NOT_PROTECTED', `${name} has no backup now.`)
    await callControl(
      { socket: this.#agent(primary.host), method: 'POST', path: `/v1/replicas/${name}/failover` },
      doneSchema,
    )
  }

  /** Stops a virtual machine where it is; it stays so through any takeover. Throws VM_NOT_RUNNING or CONTROL_UNCONFIRMED. */
  async pause(name: string): Promise<void> {
    await this.#control(name, 'pause', ({ state }) => state === 'paused')
  }

  /** Lets a paused virtual machine go on. Throws VM_NOT_RUNNING or CONTROL_UNCONFIRMED. */
  async resume(name: string): Promise<void> {
    await this.#control(name, 'resume', ({ state }) => state === 'running')
  }

  /**
   * Bounds the share of a core that a virtual machine may use, 0.05 to 1, wherever it is live. Throws VM_NOT_RUNNING or
   * CONTROL_UNCONFIRMED.
   */
  async limit(name: string, share: number): Promise<void> {
    await this.#control(name, 'limit', ({ cpuLimit }) => Math.abs(cpuLimit - share) < 1e-4, { share })
  }

  /** Resolves when the backup, if there is one, knows of it. */
  async #control(
    name: string,
    operation: string,
    isDone: (status: VmStatus) => boolean,
    body?: object,
  ): Promise<void> {
    const { primary } = await this.status(name)
    if (primary === null) throw new ClusterError('VM_NOT_RUNNING', `${name} does not run.`)
    const path = `/v1/replicas/${name}/${operation}`
    const call = { socket: this.#agent(primary.host), method: 'POST', path, ...(body && { body }) } as const
    await callControl(call, doneSchema)
    const deadlineMs = performance.now() + CONTROL_MS_MAX
    while (!isDone(await this.status(name))) {
      if (performance.now() > deadlineMs) {
        throw new ClusterError(
          'CONTROL_UNCONFIRMED',
          `${name} was told to ${operation}, and has not said that it did.`,
        )
      }
      await sleep(LOOK_MS)
    }
  }

  /** A terminal on the guest's serial console, wherever it is live. Ends when that replica does. */
  async console(name: string, options: { readonly history: boolean }): Promise<Duplex> {
    const { primary } = await this.status(name)
    if (primary === null) throw new ClusterError('VM_NOT_RUNNING', `${name} does not run.`)
    const query = options.history ? '?history=1' : ''
    return openStream(this.#agent(primary.host), `/v1/replicas/${name}/console${query}`)
  }

  async #record(name: string): Promise<VmRecord> {
    checkVmName(name)
    const record = await readVmRecord(this.#store, name)
    if (record === null) throw new ClusterError('VM_NOT_FOUND', `There is no virtual machine ${name}.`)
    return record
  }

  #agent(host: string): string {
    return this.layout.host(host).agentSocket
  }
}
