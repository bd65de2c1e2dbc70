/** What one can do with the virtual machines of a cluster: the verbs behind the command line. */
import { randomBytes, randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { GatewayClient } from '../net/gateway-control.ts'
import { GUEST_MAC } from '../net/passt.ts'
import { type Boot, newPairKey, type Peer, type Start } from '../replica/config.ts'
import type { SavedState } from '../replica/state-saver.ts'
import { type Identity, loadIdentity } from '../security/identity.ts'
import { openStore } from '../store/open.ts'
import type { Store } from '../store/store.ts'
import type { ReplicaOrder } from './agent-api.ts'
import { ClusterError } from './errors.ts'
import { readGatewayRecord } from './gateway-record.ts'
import { HostDirectory, type HostView, placementHosts, replicasOf } from './host-directory.ts'
import { checkHostName, setDraining } from './host-record.ts'
import { ClusterLayout } from './layout.ts'
import { readClusterState } from './lifecycle.ts'
import { place } from './place.ts'
import {
  checkVmName,
  createVmRecord,
  deleteVmRecord,
  listVmRecords,
  nextGeneration,
  type Publish,
  readVmRecord,
  updateVmRecord,
  type VmRecord,
} from './vm-record.ts'
import { type VmStatus, vmStatus } from './vm-status.ts'

/** From two started replicas to a pair that stands takes one connection and one test-and-set. */
const PAIR_MS_MAX = 10_000
/** A clone of the largest guest over a slow network, and one more when the first host fails. */
const MOVE_MS_MAX = 150_000
const LOOK_MS = 20
/** A move takes seconds; what is shown of it need not be newer. */
const PROGRESS_MS = 100
/** A backup confirms within a round trip, and one that does not is given up within a second. */
const CONTROL_MS_MAX = 5_000

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

/** Called now and then with how things stand, while something takes its time. */
export type OnProgress = (status: VmStatus) => void

export class Cluster {
  readonly layout: ClusterLayout
  readonly #store: Store
  readonly #identity: Identity | null
  readonly #hosts: HostDirectory

  private constructor(layout: ClusterLayout, store: Store, identity: Identity | null) {
    this.layout = layout
    this.#store = store
    this.#identity = identity
    this.#hosts = new HostDirectory(store, identity)
  }

  /** Throws CLUSTER_NOT_UP. */
  static async open(directory: string): Promise<Cluster> {
    const layout = new ClusterLayout(directory)
    const state = readClusterState(layout)
    if (state === null) throw new ClusterError('CLUSTER_NOT_UP', `No cluster runs in ${directory}.`)
    const identity = existsSync(layout.identity) ? loadIdentity(layout.identity) : null
    return new Cluster(layout, await openStore(state.store), identity)
  }

  /** For those who have the parts already. Do not close it: the store is theirs. */
  static of(layout: ClusterLayout, store: Store, identity: Identity | null): Cluster {
    return new Cluster(layout, store, identity)
  }

  async close(): Promise<void> {
    await this.#store.close()
  }

  /** The hosts that the cluster knows, with what their agents say. */
  hosts(): Promise<HostView[]> {
    return this.#hosts.views()
  }

  async list(): Promise<VmStatus[]> {
    const [records, hosts] = await Promise.all([listVmRecords(this.#store), this.hosts()])
    const replicas = replicasOf(hosts)
    return records.map((record) => vmStatus(record, replicas))
  }

  /** Throws VM_NOT_FOUND. */
  async status(name: string): Promise<VmStatus> {
    const record = await this.#record(name)
    return vmStatus(record, replicasOf(await this.hosts()))
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
    const { memoryBytes, protect } = options
    const placement = place(placementHosts(await this.hosts()), { memoryBytes, protect })
    const generation = await nextGeneration(this.#store, options.name)
    const gateway = await this.#gateway()
    // Ports first: the commonest reason not to start, and nothing is there yet to be taken back.
    const { token, publish } = await gateway.add({
      vm: options.name,
      publish: options.publish.map(({ hostPort, guestPort }) => ({ hostPort, guestPort })),
      plainPort: options.plainPort ?? false,
    })
    try {
      const { linkAddress } = await gateway.info()
      const mac = Buffer.from(GUEST_MAC).toString('hex')
      const record: VmRecord = {
        name: options.name,
        image: options.image,
        memoryBytes,
        mac,
        publish: publish.map(({ hostPort, guestPort }) => ({ hostPort, guestPort })),
        protect,
        wish: { primary: null, backup: null },
        cloneBytesPerSecond: null,
        generation,
        createdAt: new Date().toISOString(),
      }
      await createVmRecord(this.#store, record)
      const order = {
        vm: options.name,
        generation,
        cloned: false,
        boot: options.boot,
        start: options.start ?? null,
        powerOffInput: options.powerOffInput,
        memoryBytes,
        mac,
        rngSeed: randomBytes(48).toString('hex'),
        pairKey: newPairKey(),
        epochMs: Date.now(),
        gatewayAddress: linkAddress,
        gatewayToken: token,
        machineModule: options.machineModule ?? null,
      }
      let peer: Peer | null = null
      if (placement.backup !== null) peer = await this.#startBackup(placement.backup.host, order)
      await this.#startReplica(placement.primary.host, { ...order, role: 'primary', peer })
      return await this.#untilRunning(options.name, protect)
    } catch (error) {
      await this.remove(options.name, { force: true }).catch(() => {})
      throw error
    }
  }

  async #startBackup(host: string, order: Omit<ReplicaOrder, 'role' | 'peer' | 'replica'>): Promise<Peer> {
    const status = await this.#startReplica(host, { ...order, role: 'backup', peer: null })
    const { address } = await (await this.#hosts.client(host)).status()
    return { host, address, channelPort: status.channelPort, heartbeatPort: status.heartbeatPort }
  }

  async #startReplica(host: string, order: Omit<ReplicaOrder, 'replica'>) {
    const agent = await this.#hosts.client(host)
    return agent.start({ ...order, replica: `${host}/${randomUUID()}` })
  }

  async #untilRunning(name: string, protect: boolean): Promise<VmStatus> {
    const deadlineMs = performance.now() + PAIR_MS_MAX
    for (;;) {
      const status = await this.status(name)
      if (status.state === 'running' && (!protect || status.protection === 'protected')) return status
      // A guest may be quicker than us: it ran, and powered itself off.
      if (status.state === 'stopped') return status
      if (performance.now() > deadlineMs) {
        throw new ClusterError(
          'VM_START_FAILED',
          `${name} was not running in ${PAIR_MS_MAX} ms; see the replica.log of its hosts.`,
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
      await this.#closePorts(name)
      throw new ClusterError('VM_NOT_RUNNING', `${name} does not run.`)
    }
    // The primary first: it tells its backup, which then knows that this is no failure.
    for (const replica of [status.primary, status.backup]) {
      if (replica !== null) await (await this.#hosts.client(replica.host)).stop(name, graceMs)
    }
    await this.#closePorts(name)
  }

  /** Forgets a virtual machine; with `force` also one that runs. Throws VM_RUNNING. */
  async remove(name: string, options: { readonly force: boolean }): Promise<void> {
    const status = await this.status(name)
    if (status.state !== 'stopped' && !options.force) throw new ClusterError('VM_RUNNING', `${name} runs.`)
    // Before its replicas: nobody shall give it a new backup meanwhile.
    await deleteVmRecord(this.#store, name)
    const all = (await this.hosts()).map(({ host }) => host)
    const places = [status.primary?.host, status.backup?.host, ...all]
    for (const host of new Set(places.filter((host) => host !== undefined))) {
      await this.#hosts
        .client(host)
        .then((agent) => agent.remove(name))
        .catch(() => {})
    }
    await this.#closePorts(name)
  }

  /** Hands the virtual machine over to its backup on purpose. Throws VM_NOT_RUNNING or VM_NOT_PROTECTED. */
  async failover(name: string): Promise<void> {
    const { primary, protection } = await this.#running(name)
    if (protection !== 'protected') throw new ClusterError('VM_NOT_PROTECTED', `${name} has no backup now.`)
    await (await this.#hosts.client(primary)).failover(name)
  }

  /** Bounds how fast a virtual machine is cloned from now on, in bytes of its memory a second; null for no bound. */
  async setCloneRate(name: string, bytesPerSecond: number | null): Promise<void> {
    await this.#record(name)
    await updateVmRecord(this.#store, name, (record) => ({ ...record, cloneBytesPerSecond: bytesPerSecond }))
  }

  /** Gives a running virtual machine a backup; resolves when it is protected. Throws VM_NOT_MOVED. */
  async protect(name: string, onProgress: OnProgress = () => {}): Promise<VmStatus> {
    await this.#wish(name, (record) => ({ ...record, protect: true }))
    return this.#until(name, ({ protection }) => protection === 'protected', onProgress)
  }

  /** Takes the backup away, and none is made any more. */
  async unprotect(name: string, onProgress: OnProgress = () => {}): Promise<VmStatus> {
    await this.#wish(name, (record) => ({ ...record, protect: false }))
    return this.#until(
      name,
      ({ backup, protection }) => backup === null && protection === 'unprotected',
      onProgress,
    )
  }

  /** Moves one replica of a running virtual machine to another host, live. Throws HOST_NOT_FOUND or VM_NOT_MOVED. */
  async migrate(
    name: string,
    role: 'primary' | 'backup',
    to: string,
    onProgress: OnProgress = () => {},
  ): Promise<VmStatus> {
    await this.#hosts.client(to)
    const before = await this.status(name)
    if (role === 'backup' && before.primary?.host === to) {
      throw new ClusterError(
        'VM_NOT_MOVED',
        `The primary of ${name} is on ${to}: its backup cannot be there.`,
      )
    }
    const record = await this.#wish(name, (record) => ({
      ...record,
      wish: { primary: null, backup: null, [role]: to },
    }))
    const protection = record.protect || role === 'backup' ? 'protected' : 'unprotected'
    const isThere = (status: VmStatus) => status[role]?.host === to && status.protection === protection
    try {
      return await this.#until(name, isThere, onProgress)
    } catch (error) {
      await updateVmRecord(this.#store, name, (record) => ({
        ...record,
        wish: { primary: null, backup: null },
      }))
      throw error
    }
  }

  /** Writes a running virtual machine into a file on the host of its primary, while it runs. */
  async save(name: string, path: string): Promise<SavedState> {
    const { primary } = await this.#running(name)
    return (await this.#hosts.client(primary)).save(name, path)
  }

  /** Moves everything away from a host, live, and lets nothing come to it. Resolves when it carries nothing. */
  async drain(host: string, onProgress: (left: number) => void = () => {}): Promise<void> {
    checkHostName(host)
    await this.#hosts.client(host)
    await setDraining(this.#store, host, true)
    await this.#lookAll()
    const deadlineMs = performance.now() + MOVE_MS_MAX
    for (;;) {
      const view = (await this.hosts()).find((other) => other.host === host)
      const left = view?.status?.replicas.filter(({ phase }) => phase !== 'ended') ?? []
      onProgress(left.length)
      if (left.length === 0) return
      if (performance.now() > deadlineMs) {
        const names = left.map(({ vm }) => vm).join(', ')
        throw new ClusterError('HOST_NOT_DRAINED', `${host} still carries ${names}.`)
      }
      await sleep(PROGRESS_MS)
    }
  }

  /** Lets things come to a host again. */
  async undrain(host: string): Promise<void> {
    checkHostName(host)
    await setDraining(this.#store, host, false)
    await this.#lookAll()
  }

  /** Resets a virtual machine, as its button would: it boots again, and stays protected. Throws VM_NOT_RUNNING. */
  async restart(name: string): Promise<void> {
    const { primary } = await this.#running(name)
    await (await this.#hosts.client(primary)).control(name, 'restart')
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
    operation: 'pause' | 'resume' | 'limit',
    isDone: (status: VmStatus) => boolean,
    body?: object,
  ): Promise<void> {
    const { primary } = await this.#running(name)
    await (await this.#hosts.client(primary)).control(name, operation, body)
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
    const { primary } = await this.#running(name)
    return (await this.#hosts.client(primary)).console(name, options.history ? '?history=1' : '')
  }

  /** Changes what is wished of a virtual machine that runs, and tells the host that sees to it. */
  async #wish(name: string, change: (record: VmRecord) => VmRecord): Promise<VmRecord> {
    const { primary } = await this.#running(name)
    const record = await updateVmRecord(this.#store, name, change)
    await (await this.#hosts.client(primary)).look()
    return record
  }

  async #until(
    name: string,
    matches: (status: VmStatus) => boolean,
    onProgress: OnProgress,
  ): Promise<VmStatus> {
    const deadlineMs = performance.now() + MOVE_MS_MAX
    for (;;) {
      const status = await this.status(name)
      onProgress(status)
      if (matches(status)) return status
      if (status.state === 'stopped') throw new ClusterError('VM_NOT_RUNNING', `${name} has ended meanwhile.`)
      if (performance.now() > deadlineMs) {
        throw new ClusterError(
          'VM_NOT_MOVED',
          `${name} was not where it shall be in ${MOVE_MS_MAX / 1000} s.`,
        )
      }
      await sleep(PROGRESS_MS)
    }
  }

  /** Throws VM_NOT_RUNNING. */
  async #running(name: string): Promise<{ readonly primary: string; readonly protection: string }> {
    const { primary, protection, state } = await this.status(name)
    if (primary === null || state === 'stopped')
      throw new ClusterError('VM_NOT_RUNNING', `${name} does not run.`)
    return { primary: primary.host, protection }
  }

  async #lookAll(): Promise<void> {
    const hosts = await this.hosts()
    const clients = await Promise.all(hosts.map(({ host }) => this.#hosts.client(host)))
    await Promise.all(clients.map((agent) => agent.look().catch(() => {})))
  }

  async #gateway(): Promise<GatewayClient> {
    return new GatewayClient((await readGatewayRecord(this.#store)).control, this.#identity)
  }

  async #closePorts(name: string): Promise<void> {
    await this.#gateway()
      .then((gateway) => gateway.remove(name))
      .catch(() => {})
  }

  async #record(name: string): Promise<VmRecord> {
    checkVmName(name)
    const record = await readVmRecord(this.#store, name)
    if (record === null) throw new ClusterError('VM_NOT_FOUND', `There is no virtual machine ${name}.`)
    return record
  }
}
