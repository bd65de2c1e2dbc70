/**
 * A cluster as people would have it: hosts that are machines of their own, a store and a gateway on others, each in a network
 * namespace; one protected virtual machine; and clients at the gateway that count in its Redis.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { EventReader } from '../src/cluster/events.ts'
import { ClusterLayout } from '../src/cluster/layout.ts'
import type { UnderstudyEvent } from '../src/replica/event-log.ts'
import { etcdVersion } from '../src/store/testing/etcd-server.ts'
import { CounterClients } from './counter-clients.ts'
import type { NamespaceHost } from './namespace-host.ts'
import { NamespaceProcesses, START_MS_MAX, tail } from './namespace-processes.ts'
import type { NamespaceNetwork } from './namespaces.ts'
import type { Evidence, GenerationKey } from './partition-checks.ts'
import type { Roles } from './partition-plan.ts'
import type { HarmableCluster } from './partitions.ts'
import { until } from './test-cluster.ts'

const STORE_NUMBER = 100
const GATEWAY_NUMBER = 101
const ETCD_PORT = 2379
const REDIS_PORT = 6379
const VM = 'vm'

/** A booted image may have to be made first. */
const RUN_MS_MAX = 300_000
/** Everything heals, then: a lease of a host runs out, a copy fails and its host is avoided a while, another is made. */
const RECOVER_MS_MAX = 120_000
const SERVE_MS_MAX = 60_000
/** Each look starts a command, on the processors that everything else needs. */
const LOOK_MS = 500
/** Answers after which the machine is taken to serve: several of each client. */
const SERVED_ANSWERS = 50
/** Far above any takeover: what takes longer counts as a connection lost. */
const ANSWER_MS_MAX = 90_000
/** Keeps the history short enough to be checked after hours, and is often enough to be in the midst of everything. */
const CLIENT_PAUSE_MS = 20
const CLIENTS = 6
const KEYS = 3
const EVENTS_SHOWN = 60

export interface NamespaceClusterOptions {
  readonly hosts: number
  readonly image: string
  readonly seed: number
}

const place = z.object({ host: z.string() }).nullable()
const psSchema = z.array(
  z.object({
    name: z.string(),
    state: z.string(),
    protection: z.string(),
    generation: z.number(),
    primary: place,
    backup: place,
  }),
)
type Listed = z.infer<typeof psSchema>[number]
const hostsSchema = z.array(z.object({ name: z.string(), state: z.string() }))

export class NamespaceCluster implements HarmableCluster {
  readonly #processes: NamespaceProcesses
  readonly #options: NamespaceClusterOptions
  readonly #hosts: readonly string[]
  readonly #readers: readonly EventReader[]
  readonly #events: UnderstudyEvent[] = []
  #storeUrl = ''
  #clients: CounterClients | null = null

  private constructor(processes: NamespaceProcesses, options: NamespaceClusterOptions) {
    this.#processes = processes
    this.#options = options
    this.#hosts = Array.from({ length: options.hosts }, (_, i) => `h${i + 1}`)
    this.#readers = this.#hosts.map((host) => new EventReader(this.#layoutOf(host)))
  }

  /** Resolves when the machine is protected and its clients are served. Leaves nothing behind when it rejects. */
  static async up(options: NamespaceClusterOptions): Promise<NamespaceCluster> {
    const cluster = new NamespaceCluster(await NamespaceProcesses.open(), options)
    try {
      await cluster.#begin()
      return cluster
    } catch (error) {
      const told = await cluster.describe()
      await cluster.down()
      throw new Error(`${error instanceof Error ? error.message : error}\n${told}`, { cause: error })
    }
  }

  /** Kills everything. */
  async down(): Promise<void> {
    this.#clients?.kill()
    await this.#processes.close()
  }

  get network(): NamespaceNetwork {
    return this.#processes.network
  }

  get clients(): CounterClients {
    if (this.#clients === null) throw new Error('no clients yet')
    return this.#clients
  }

  cut(from: string, to: string): Promise<void> {
    return this.network.cut(from, to)
  }

  heal(from: string, to: string): Promise<void> {
    return this.network.heal(from, to)
  }

  slow(host: string, delayMs: number, lossShare: number): Promise<void> {
    return this.network.impair(host, { delayMs, lossShare })
  }

  normalSpeed(host: string): Promise<void> {
    return this.network.impair(host, null)
  }

  pause(host: string): Promise<void> {
    return this.network.host(host).pause()
  }

  async resume(host: string): Promise<void> {
    this.network.host(host).resume()
  }

  crash(host: string): Promise<void> {
    return this.network.host(host).kill()
  }

  powerCut(host: string): Promise<void> {
    return this.network.host(host).powerOff()
  }

  async start(host: string): Promise<void> {
    await this.network.host(host).boot()
    await this.#startAgent(host)
  }

  async served(): Promise<void> {
    const target = this.clients.answered + SERVED_ANSWERS
    await until(
      async () => this.clients.answered >= target || undefined,
      SERVE_MS_MAX,
      async () =>
        `clients were answered ${this.clients.answered - target + SERVED_ANSWERS} times\n${await this.describe()}`,
    )
  }

  /** Also that every host is there to be harmed next. */
  async protectedAgain(): Promise<Roles> {
    let last = ''
    const look = async () => {
      try {
        const hosts = hostsSchema.parse(await this.#json('host', 'ls', '--json'))
        const ready = hosts.filter(({ state }) => state === 'ready').length
        // Last, so that it is true when a round begins: a machine that lost its backup by itself does not outlive its host.
        const { primary, backup } = await this.#protectedStatus()
        last = `${ready} of ${this.#hosts.length} hosts are ready`
        const spares = this.#hosts.filter((host) => host !== primary.host && host !== backup.host)
        const roles = {
          primary: primary.host,
          backup: backup.host,
          spares,
          store: 'store',
          gateway: 'gateway',
        }
        if (ready === this.#hosts.length) return roles
      } catch (error) {
        last = error instanceof Error ? error.message : String(error)
      }
      await sleep(LOOK_MS)
      return undefined
    }
    return until(look, RECOVER_MS_MAX, async () => `${last}\n${await this.describe()}`)
  }

  /** Ends the clients, and gathers what they and the cluster have to say. */
  async evidence(): Promise<Evidence> {
    const history = await this.clients.stop()
    const { status, generations } = await this.#settled()
    return { vm: VM, history, events: await this.events(), generations, status }
  }

  /** All events so far. */
  async events(): Promise<readonly UnderstudyEvent[]> {
    for (const reader of this.#readers) this.#events.push(...(await reader.read()))
    return this.#events
  }

  /** For people who have to find out what went wrong. */
  async describe(): Promise<string> {
    const events = [...(await this.events())].sort((a, b) => (a.time < b.time ? -1 : 1))
    const logs = this.#hosts.flatMap((host) => {
      return [this.#processes.logOf(host), this.#layoutOf(host).host(host).vm(VM).processLog]
    })
    return [
      ...events.slice(-EVENTS_SHOWN).map((event) => JSON.stringify(event)),
      ...[this.#processes.logOf('gateway'), ...logs].map((path) => `${path}:\n${tail(path)}`),
    ].join('\n')
  }

  async #begin(): Promise<void> {
    const store = await this.network.addHost('store', STORE_NUMBER)
    await this.network.addHost('gateway', GATEWAY_NUMBER)
    for (const [i, host] of this.#hosts.entries()) await this.network.addHost(host, i + 1)
    this.#storeUrl = await this.#startStore(store)
    const [first, ...others] = this.#hosts
    const asked = ['--store', this.#storeUrl]
    await this.#processes.command(first, ['cluster', 'init', '--name', first, ...asked])
    await this.#startAgent(first)
    for (const name of ['gateway', ...others]) {
      const token = (await this.#processes.command(first, ['cluster', 'token'])).trim()
      await this.#processes.command(name, ['cluster', 'join', token, '--name', name, ...asked])
    }
    await this.#startGateway()
    await Promise.all(others.map((host) => this.#startAgent(host)))
    const run = ['run', this.#options.image, '--name', VM, '--publish', `${REDIS_PORT}:${REDIS_PORT}`]
    await this.#processes.command(first, run, RUN_MS_MAX)
    await this.protectedAgain()
    const { seed } = this.#options
    const gateway = this.network.host('gateway')
    this.#clients = new CounterClients((program, args, options) => gateway.spawn(program, args, options), {
      ...{ address: '127.0.0.1', port: REDIS_PORT, clients: CLIENTS, keys: KEYS, seed },
      ...{ pauseMs: CLIENT_PAUSE_MS, answerMsMax: ANSWER_MS_MAX },
    })
    const late = sleep(START_MS_MAX, 'late', { ref: false })
    if ((await Promise.race([this.#clients.started(), late])) === 'late')
      throw new Error('no client was answered')
  }

  /** etcd where there is one; a directory is not on the network, and cannot be cut off. */
  async #startStore({ name, address }: NamespaceHost): Promise<string> {
    const { directory } = this.#processes
    if (etcdVersion() === null) {
      console.log('no etcd on this machine: the store is a directory, which no partition reaches')
      mkdirSync(join(directory, 'store'))
      return join(directory, 'store')
    }
    const url = `http://${address}:${ETCD_PORT}`
    const peer = `http://${address}:${ETCD_PORT + 1}`
    const options = {
      'data-dir': join(directory, 'etcd'),
      'listen-client-urls': url,
      'advertise-client-urls': url,
      'listen-peer-urls': peer,
      'initial-advertise-peer-urls': peer,
      'initial-cluster': `default=${peer}`,
    }
    const args = Object.entries(options).map(([option, value]) => `--${option}=${value}`)
    await this.#processes.start(name, 'etcd', args, (said) => /serving .*client requests/.test(said))
    return `etcd://${address}:${ETCD_PORT}`
  }

  async #startGateway(): Promise<void> {
    const { address } = this.network.host('gateway')
    const words = ['gateway', '--listen', address, '--store', this.#storeUrl]
    const isKnown = async () => (await this.#listStore('cluster/gateway')).length > 0
    await this.#processes.startUnderstudy('gateway', words, isKnown)
  }

  /** Resolves when the cluster knows it. */
  async #startAgent(host: string): Promise<void> {
    const { address } = this.network.host(host)
    const words = ['host', '--name', host, '--store', this.#storeUrl, '--listen', address]
    await this.#processes.startUnderstudy(host, words, (said) => said.includes('is in the cluster'))
  }

  async #protectedStatus() {
    const list = psSchema.parse(await this.#json('ps', '--json'))
    const status = list.find(({ name }) => name === VM)
    const { primary, backup } = status ?? ({ primary: null, backup: null } satisfies Partial<Listed>)
    if (
      status?.state !== 'running' ||
      status.protection !== 'protected' ||
      primary === null ||
      backup === null
    )
      throw new Error(`not protected: ${JSON.stringify(status)}`)
    return { ...status, primary, backup }
  }

  /** Protected, and the same before and after the generations were read: they are of one moment. */
  async #settled() {
    const look = async () => {
      await this.protectedAgain()
      const status = await this.#protectedStatus().catch(() => null)
      const generations = await this.#generations()
      const { generation } = (await this.#protectedStatus().catch(() => null)) ?? {}
      return status !== null && status.generation === generation ? { status, generations } : undefined
    }
    return until(look, RECOVER_MS_MAX, () => this.describe())
  }

  /** What a command says, on the first host that can. */
  async #json(...words: readonly string[]): Promise<unknown> {
    let failure: unknown = new Error('no host is on')
    for (const host of this.#hosts.filter((name) => this.network.host(name).isOn)) {
      try {
        return JSON.parse(await this.#processes.command(host, words))
      } catch (error) {
        failure = error
      }
    }
    throw failure
  }

  async #generations(): Promise<GenerationKey[]> {
    const prefix = `vm/${VM}/generation`
    const entries = await this.#listStore(prefix)
    return entries.map(({ key, value }) => ({
      generation: Number(key.slice(prefix.length + 1)),
      winner: value,
    }))
  }

  /** Asked from the gateway's place, which no plan cuts off from the store. */
  #listStore(prefix: string) {
    return this.#processes.listStore('gateway', this.#storeUrl, prefix)
  }

  #layoutOf(host: string): ClusterLayout {
    return new ClusterLayout(this.#processes.directoryOf(host))
  }
}
