/** Loads for a `tiny` in a measured cluster, and what they get done: for measurements of a pair that is at work. */
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { callControl } from '../src/control/client.ts'
import type { OpenedImage } from '../src/image/directory.ts'
import { type ReplicaStatus, replicaStatusSchema } from '../src/replica/status.ts'
import { type RedisGuest, startRedisGuest } from '../test/redis-guest.ts'
import type { TestCluster } from '../test/test-cluster.ts'
import { RedisConnection } from './redis-connection.ts'

export type LoadName = 'idle' | 'redis' | 'cpu'

/** What a reader should picture. */
export const LOADS: { readonly [load in LoadName]: string } = {
  idle: 'an idle guest',
  redis: 'Redis, 8 connections with one SET of 100 bytes after another',
  cpu: 'a shell that counts',
}

const CONNECTIONS = 8
const VALUE = 'x'.repeat(100)
const LOGIN_MS_MAX = 30_000
/** What is typed is answered within this, or is typed again. */
const LOOK_MS = 500

export interface Load {
  /** Requests answered so far; 0 of loads that answer none. */
  readonly requests: number
  stop(): Promise<void>
}

/** A protected guest of its own with a load, for as long as `measure` takes. */
export async function withBusyPair<T>(
  world: TestCluster,
  image: OpenedImage,
  load: LoadName,
  name: string,
  measure: (pair: MeasuredPair, work: Load) => Promise<T>,
): Promise<T> {
  const guest = await startRedisGuest(world, image, name)
  guest.counter.stop()
  const work = await startLoad(load, world, guest)
  try {
    return await measure(new MeasuredPair(world, guest), work)
  } finally {
    await world.cluster.remove(name, { force: true })
    await work.stop().catch(() => undefined)
  }
}

/** Begins a load; the guest has Redis and a login on its console. */
async function startLoad(load: LoadName, world: TestCluster, guest: RedisGuest): Promise<Load> {
  if (load === 'redis') return startRedisLoad(guest.port)
  if (load === 'cpu') await startCounting(world, guest.vm.name)
  return {
    requests: 0,
    stop: () => (load === 'cpu' ? stopCounting(world, guest.vm.name) : Promise.resolve()),
  }
}

async function startRedisLoad(port: number): Promise<Load> {
  let requests = 0
  let stopped = false
  const connections = await Promise.all(Array.from({ length: CONNECTIONS }, () => RedisConnection.open(port)))
  const working = connections.map(async (connection, n) => {
    for (; !stopped; requests++) await connection.time('SET', `key-${n}`, VALUE)
    connection.close()
  })
  // What fails is told by `stop`, whoever waits for it.
  const ended = Promise.all(working)
  ended.catch(() => undefined)
  return {
    get requests() {
      return requests
    },
    stop: async () => {
      stopped = true
      await ended
    },
  }
}

/** Logs in on the console, where root needs no password, and types a loop. */
async function startCounting(world: TestCluster, name: string): Promise<void> {
  const console = await world.cluster.console(name, { history: false })
  let said = ''
  console.on('data', (data: Buffer) => {
    said += data.toString('latin1')
  })
  try {
    const deadlineMs = performance.now() + LOGIN_MS_MAX
    while (!said.includes('~ # ')) {
      if (performance.now() > deadlineMs) throw new Error(`no login to ${name}; it says: ${said.slice(-400)}`)
      console.write(/login: *$/.test(said) ? 'root\n' : '\n')
      await sleep(LOOK_MS)
    }
    console.write('n=0; while :; do n=$((n+1)); done\n')
    await sleep(LOOK_MS)
  } finally {
    console.destroy()
  }
}

async function stopCounting(world: TestCluster, name: string): Promise<void> {
  const console = await world.cluster.console(name, { history: false })
  console.write('\x03')
  await sleep(LOOK_MS)
  console.destroy()
}

/** The two replicas of a pair, asked past the agents. */
export class MeasuredPair {
  readonly primaryPid: number
  readonly backupPid: number
  readonly #primary: string
  readonly #backup: string

  constructor(world: TestCluster, { vm }: RedisGuest) {
    const { primary, backup } = vm
    if (primary === null || backup === null) throw new Error(`${vm.name} is no pair:\n${world.logs(vm.name)}`)
    const socketOn = (host: string) => world.cluster.layout.host(host).vm(vm.name).controlSocket
    this.primaryPid = primary.pid
    this.backupPid = backup.pid
    this.#primary = socketOn(primary.host)
    this.#backup = socketOn(backup.host)
  }

  /** Throws an Error when the pair broke. */
  async primary(): Promise<ReplicaStatus> {
    const call = { socket: this.#primary, method: 'GET', path: '/v1/status' } as const
    const status = await callControl(call, replicaStatusSchema)
    if (status.protection !== 'protected') throw new Error('the pair broke while it was measured')
    return status
  }

  /** Makes the backup replay at a share of its speed, 0.01 to 1. */
  async slowDown(share: number): Promise<void> {
    const call = { socket: this.#backup, method: 'POST', path: '/v1/replay-share', body: { share } } as const
    await callControl(call, z.unknown())
  }
}
