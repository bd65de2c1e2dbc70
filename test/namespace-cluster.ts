/**
 * A cluster as people would have it: hosts that are machines of their own, a store and a gateway on others, each in a network
 * namespace; one protected virtual machine; and clients at the gateway that count in its Redis.
 */
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { EventReader } from '../src/cluster/events.ts'
import { ClusterLayout } from '../src/cluster/layout.ts'
import type { UnderstudyEvent } from '../src/replica/event-log.ts'
import { etcdVersion } from '../src/store/testing/etcd-server.ts'
import { CounterClients } from './counter-clients.ts'
import { mustFinish } from './namespace-entry.ts'
import type { NamespaceHost } from './namespace-host.ts'
import { NamespaceNetwork } from './namespaces.ts'
import type { Evidence, GenerationKey } from './partition-checks.ts'
import type { Roles } from './partition-plan.ts'
import type { HarmableCluster } from './partitions.ts'
import { until } from './test-cluster.ts'

const COMMAND = join(import.meta.dirname, '../bin/understudy.mjs')
const LIST = join(import.meta.dirname, 'store-list.ts')
const STORE_NUMBER = 100
const GATEWAY_NUMBER = 101
const ETCD_PORT = 2379
const REDIS_PORT = 6379
const VM = 'vm'

/** A booted image may have to be made first. */
const RUN_MS_MAX = 300_000
const START_MS_MAX = 60_000
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
const LOG_LINES_SHOWN = 15
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
const entrySchema = z.object({ key: z.string(), value: z.string() })

export class NamespaceCluster implements HarmableCluster {
  readonly network: NamespaceNetwork
  readonly #directory: string
  readonly #options: NamespaceClusterOptions
  readonly #hosts: readonly string[]
  readonly #readers: readonly EventReader[]
  readonly #events: UnderstudyEvent[] = []
  /** Where what was started last has ended. */
  readonly #ended = new Set<string>()
  #storeUrl = ''
  #clients: CounterClients | null = null

  private constructor(network: NamespaceNetwork, directory: string, options: NamespaceClusterOptions) {
    this.network = network
    this.#directory = directory
    this.#options = options
    this.#hosts = Array.from({ length: options.hosts }, (_, i) => `h${i + 1}`)
    this.#readers = this.#hosts.map((host) => new EventReader(new ClusterLayout(this.#directoryOf(host))))
  }

  /** Resolves when the machine is protected and its clients are served. Leaves nothing behind when it rejects. */
  static async up(options: NamespaceClusterOptions): Promise<NamespaceCluster> {
    const network = await NamespaceNetwork.open()
    const cluster = new NamespaceCluster(network, mkdtempSync(join(tmpdir(), 'usn-')), options)
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
    await this.network.close()
    rmSync(this.#directory, { recursive: true, force: true })
  }

  get clients(): CounterClients {
    if (this.#clients === null) throw new Error('no clients yet')
    return this.#clients
  }

  async roles(): Promise<Roles> {
    const { primary, backup } = await this.#protectedStatus()
    const spares = this.#hosts.filter((host) => host !== primary.host && host !== backup.host)
    return { primary: primary.host, backup: backup.host, spares, store: 'store', gateway: 'gateway' }
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
  async protectedAgain(): Promise<void> {
    let last = ''
    const look = async () => {
      try {
        await this.#protectedStatus()
        const hosts = hostsSchema.parse(await this.#json('host', 'ls', '--json'))
        const ready = hosts.filter(({ state }) => state === 'ready').length
        last = `${ready} of ${this.#hosts.length} hosts are ready`
        if (ready === this.#hosts.length) return true
      } catch (error) {
        last = error instanceof Error ? error.message : String(error)
      }
      await sleep(LOOK_MS)
      return undefined
    }
    await until(look, RECOVER_MS_MAX, async () => `${last}\n${await this.describe()}`)
  }

  /** Ends the clients, and gathers what they and the cluster have to say. */
  async evidence(): Promise<Evidence> {
    const history = await this.clients.stop()
    const list = psSchema.parse(await this.#json('ps', '--json'))
    const status = list.find(({ name }) => name === VM)
    if (status === undefined) throw new Error(`ps does not know ${VM}`)
    return { vm: VM, history, events: await this.events(), generations: await this.#generations(), status }
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
      const layout = new ClusterLayout(this.#directoryOf(host)).host(host)
      return [this.#logOf(host), layout.vm(VM).processLog]
    })
    return [
      ...events.slice(-EVENTS_SHOWN).map((event) => JSON.stringify(event)),
      ...[this.#logOf('gateway'), ...logs].map((path) => `${path}:\n${tail(path)}`),
    ].join('\n')
  }

  async #begin(): Promise<void> {
    const store = await this.network.addHost('store', STORE_NUMBER)
    await this.network.addHost('gateway', GATEWAY_NUMBER)
    for (const [i, host] of this.#hosts.entries()) await this.network.addHost(host, i + 1)
    this.#storeUrl = await this.#startStore(store)
    const [first, ...others] = this.#hosts
    const asked = ['--store', this.#storeUrl]
    await this.#command(first, ['cluster', 'init', '--name', first, ...asked], START_MS_MAX)
    await this.#startAgent(first)
    for (const name of ['gateway', ...others]) {
      const token = (await this.#command(first, ['cluster', 'token'], START_MS_MAX)).trim()
      await this.#command(name, ['cluster', 'join', token, '--name', name, ...asked], START_MS_MAX)
    }
    await this.#startGateway()
    await Promise.all(others.map((host) => this.#startAgent(host)))
    const run = ['run', this.#options.image, '--name', VM, '--publish', `${REDIS_PORT}:${REDIS_PORT}`]
    await this.#command(first, run, RUN_MS_MAX)
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
  async #startStore(host: NamespaceHost): Promise<string> {
    if (etcdVersion() === null) {
      console.log('no etcd on this machine: the store is a directory, which no partition reaches')
      const directory = join(this.#directory, 'store')
      mkdirSync(directory)
      return directory
    }
    const url = `http://${host.address}:${ETCD_PORT}`
    const peer = `http://${host.address}:${ETCD_PORT + 1}`
    this.#spawn('store', 'etcd', [
      ...[
        '--data-dir',
        join(this.#directory, 'etcd'),
        '--listen-client-urls',
        url,
        '--advertise-client-urls',
        url,
      ],
      ...[
        '--listen-peer-urls',
        peer,
        '--initial-advertise-peer-urls',
        peer,
        '--initial-cluster',
        `default=${peer}`,
      ],
    ])
    await this.#until('store', async () => this.#said('store', /serving .*client requests/))
    return `etcd://${host.address}:${ETCD_PORT}`
  }

  async #startGateway(): Promise<void> {
    const { address } = this.network.host('gateway')
    this.#understudy('gateway', ['gateway', '--listen', address, '--store', this.#storeUrl])
    await this.#until('gateway', async () => (await this.#listStore('cluster/gateway')).length > 0)
  }

  /** Resolves when the cluster knows it. */
  async #startAgent(host: string): Promise<void> {
    const { address } = this.network.host(host)
    const said = this.#saidBefore(host)
    this.#understudy(host, ['host', '--name', host, '--store', this.#storeUrl, '--listen', address])
    await this.#until(host, async () => this.#said(host, /is in the cluster/, said))
  }

  /** A process of the product that stays, in its own directory. */
  #understudy(name: string, words: readonly string[]): void {
    this.#spawn(name, process.execPath, [COMMAND, ...words, '--dir', this.#directoryOf(name)])
  }

  #spawn(name: string, program: string, args: readonly string[]): void {
    const log = openSync(this.#logOf(name), 'a')
    const child = this.network.host(name).spawn(program, args, { stdio: ['ignore', log, log] })
    this.#ended.delete(name)
    child.on('error', (error) => writeFileSync(log, `${error}\n`))
    child.on('close', () => {
      closeSync(log)
      this.#ended.add(name)
    })
  }

  /** Whether a log has such a line, behind so many characters of earlier processes. */
  #said(name: string, text: RegExp, from = 0): boolean {
    return text.test(readFileSync(this.#logOf(name), 'utf8').slice(from))
  }

  #saidBefore(name: string): number {
    return existsSync(this.#logOf(name)) ? readFileSync(this.#logOf(name), 'utf8').length : 0
  }

  /** Resolves when it is so; rejects when what was started there has ended, or takes too long. */
  async #until(name: string, isSo: () => Promise<boolean>): Promise<void> {
    const look = async () => {
      if (this.#ended.has(name)) throw new Error(`${name} ended:\n${tail(this.#logOf(name))}`)
      return (await isSo()) || undefined
    }
    await until(look, START_MS_MAX, async () => `${name} does not start:\n${tail(this.#logOf(name))}`)
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

  /** What a command says, on the first host that can. */
  async #json(...words: readonly string[]): Promise<unknown> {
    let failure: unknown = new Error('no host is on')
    for (const host of this.#hosts.filter((name) => this.network.host(name).isOn)) {
      try {
        return JSON.parse(await this.#command(host, words, START_MS_MAX))
      } catch (error) {
        failure = error
      }
    }
    throw failure
  }

  async #command(host: string, words: readonly string[], timeoutMs: number): Promise<string> {
    const args = [COMMAND, ...words, '--dir', this.#directoryOf(host)]
    return mustFinish(
      this.network.host(host).spawn(process.execPath, args, { stdio: 'pipe', timeout: timeoutMs }),
    )
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
  async #listStore(prefix: string) {
    const args = [LIST, this.#storeUrl, prefix]
    const lines = await mustFinish(
      this.network.host('gateway').spawn(process.execPath, args, { stdio: 'pipe' }),
    )
    return lines
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => entrySchema.parse(JSON.parse(line)))
  }

  #directoryOf(name: string): string {
    return join(this.#directory, name)
  }

  #logOf(name: string): string {
    return join(this.#directory, `${name}.log`)
  }
}

function tail(path: string): string {
  try {
    return readFileSync(path, 'utf8').trimEnd().split('\n').slice(-LOG_LINES_SHOWN).join('\n')
  } catch {
    return '(none)'
  }
}
