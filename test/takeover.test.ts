/**
 * Real processes, real sockets, real signals, and a machine small enough to count with: what a client may and may
 * not notice when replicas die, stall and are told to end.
 */

import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { isAlive } from '../src/cluster/background.ts'
import { gatewayControlAddress } from '../src/cluster/lifecycle.ts'
import type { VmStatus } from '../src/cluster/vm-status.ts'
import { GatewayClient } from '../src/net/gateway-control.ts'
import { LogReader } from '../src/replay/log-file.ts'
import { Replayer } from '../src/replay/replayer.ts'
import { EchoClient } from './echo-client.ts'
import { createMachine } from './echo-machine.ts'
import { TestCluster, until } from './test-cluster.ts'

let world: TestCluster
let vm = ''
let number = 0
let client: EchoClient

beforeAll(async () => {
  world = await TestCluster.up(2)
})
afterAll(() => world.down())
afterEach(async () => {
  client?.close()
  if (vm !== '') await world.cluster.remove(vm, { force: true })
  vm = ''
})

const echo = {
  image: 'echo',
  boot: null,
  powerOffInput: ['poweroff\n'],
  memoryBytes: 64 * 1024 * 1024,
  publish: [],
  plainPort: true,
  machineModule: new URL('./echo-machine.ts', import.meta.url).href,
}

/** Starts an echo machine and a client that counts with it. */
async function start(options: { protect: boolean } = { protect: true }): Promise<VmStatus> {
  vm = `echo-${++number}`
  const status = await world.cluster.run({ ...echo, name: vm, protect: options.protect })
  const segments = await new GatewayClient(gatewayControlAddress(world.cluster.layout)).list()
  client = new EchoClient(segments.find((segment) => segment.vm === vm)!.plainAddress!)
  await client.increment()
  return status
}

/** Lets the client count a while longer. */
async function countOn(increments: number): Promise<void> {
  const target = client.acknowledged + increments
  while (client.acknowledged < target) await client.increment()
}

function untilEnded(pid: number): Promise<true> {
  return until(
    async () => (isAlive(pid) ? undefined : true),
    10_000,
    async () => `process ${pid} is still there`,
  )
}

async function typesOf(name: string): Promise<string[]> {
  return (await world.events()).filter((event) => event.vm === name).map((event) => event.type)
}

test('kill -9 of the primary: the backup goes live, nothing is lost or repeated', async () => {
  const before = await start()
  await countOn(20)
  process.kill(before.primary!.pid, 'SIGKILL')
  await countOn(200)
  const live = await world.event(vm, 'went-live')
  expect(live).toMatchObject({ generation: 2, host: before.backup!.host })
  for (const name of ['detectionMs', 'arbitrationMs', 'goLiveMs'])
    expect(live[name]).toBeGreaterThanOrEqual(0)
  expect(client).toMatchObject({ wrong: 0 })
  console.log(`pause ${client.worstMs.toFixed(0)} ms, ${client.repeated} requests repeated`)
  // The gateway gives the frame that died with the primary to its successor: the client never asks twice.
  expect(client.repeated).toBe(0)
  const after = await world.cluster.status(vm)
  expect(after).toMatchObject({
    state: 'running',
    protection: 'unprotected',
    generation: 2,
    primary: before.backup,
    backup: null,
  })
})

test('kill -9 of the backup: the primary wins the next generation and serves on', async () => {
  const before = await start()
  await countOn(20)
  process.kill(before.backup!.pid, 'SIGKILL')
  await countOn(200)
  await world.event(vm, 'lost-backup')
  await world.event(vm, 'unprotected', (event) => event.generation === 2)
  console.log(`pause ${client.worstMs.toFixed(0)} ms`)
  expect(client).toMatchObject({ wrong: 0, repeated: 0 })
  expect(await world.cluster.status(vm)).toMatchObject({ generation: 2, primary: before.primary })
  expect(await typesOf(vm)).not.toContain('went-live')
})

test('a primary that is stopped for 5 s and goes on does no harm: it halts', async () => {
  const before = await start()
  await countOn(20)
  const { pid } = before.primary!
  process.kill(pid, 'SIGSTOP')
  const stoppedMs = performance.now()
  await countOn(100)
  await world.event(vm, 'went-live')
  while (performance.now() - stoppedMs < 5_000) await countOn(10)
  process.kill(pid, 'SIGCONT')
  await world.event(vm, 'halted', (event) => event.host === before.primary!.host)
  await untilEnded(pid)
  await countOn(100)
  expect(client).toMatchObject({ wrong: 0 })
  expect((await typesOf(vm)).filter((type) => type === 'went-live')).toHaveLength(1)
  expect(await world.cluster.status(vm)).toMatchObject({
    generation: 2,
    primary: before.backup,
    backup: null,
  })
})

test('a backup that is stopped is given up; when it goes on it halts', async () => {
  const before = await start()
  const { pid } = before.backup!
  process.kill(pid, 'SIGSTOP')
  await countOn(50)
  await world.event(vm, 'unprotected', (event) => event.generation === 2)
  process.kill(pid, 'SIGCONT')
  await world.event(vm, 'halted', (event) => event.host === before.backup!.host)
  await countOn(50)
  expect(client).toMatchObject({ wrong: 0 })
  expect(await typesOf(vm)).not.toContain('went-live')
})

test('a backup that comes to another state is discarded, loudly, and the log that shows it is kept', async () => {
  const before = await start()
  await countOn(20)
  client.poison()
  const diverged = await world.event(vm, 'diverged')
  expect(diverged.host).toBe(before.backup!.host)
  await world.event(vm, 'unprotected', (event) => event.generation === 2)
  await untilEnded(before.backup!.pid)
  await countOn(50)
  expect(client).toMatchObject({ wrong: 0 })
  expect(await typesOf(vm)).not.toContain('went-live')
  const bytes = readFileSync(String(diverged.log))
  const log = new LogReader({
    lengthBytes: bytes.length,
    read: (at, length) => bytes.subarray(at, at + length),
  })
  const replayer = new Replayer(createMachine(log.config))
  let frames = 0
  expect(() => {
    for (let item = log.next(); item.kind === 'frame'; item = log.next(), frames++)
      replayer.replay(item.frame)
  }).toThrow(expect.objectContaining({ code: 'REPLAY_DIVERGED' }))
  expect(frames).toBe(diverged.frame)
})

test('a virtual machine outlives the agent that started it, and the cluster still ends with it', async () => {
  const alone = await TestCluster.up(1)
  try {
    const { primary } = await alone.cluster.run({ ...echo, name: 'orphan', protect: false })
    const [{ status }] = await alone.cluster.hosts()
    const pid = status!.pid
    process.kill(pid, 'SIGKILL')
    await untilEnded(pid)
    expect(isAlive(primary!.pid)).toBe(true)
    await alone.down()
    expect(isAlive(primary!.pid)).toBe(false)
  } finally {
    await alone.down()
  }
})

test('a paused machine is no failed one, is paused after a takeover too, and loses nothing', async () => {
  const before = await start()
  await world.cluster.limit(vm, 0.5)
  await world.cluster.pause(vm)
  const { retired } = await world.cluster.status(vm)
  expect(await world.cluster.status(vm)).toMatchObject({
    state: 'paused',
    protection: 'protected',
    generation: 1,
  })
  process.kill(before.primary!.pid, 'SIGKILL')
  await world.event(vm, 'went-live')
  const after = await world.status(vm, ({ generation }) => generation === 2)
  expect(after).toMatchObject({ state: 'paused', cpuLimit: 0.5, retired })
  await world.cluster.resume(vm)
  await countOn(50)
  expect((await world.cluster.status(vm)).cpuLimit).toBe(0.5)
})

test('failover hands over on purpose', async () => {
  const before = await start()
  await countOn(20)
  const counting = client.run()
  await world.cluster.failover(vm)
  const live = await world.event(vm, 'went-live')
  expect(live.host).toBe(before.backup!.host)
  await world.event(vm, 'halted', (event) => event.reason === 'failed-over' || event.reason === 'fenced')
  client.stop()
  await counting
  expect(client).toMatchObject({ wrong: 0 })
  await expect(world.cluster.failover(vm)).rejects.toMatchObject({ code: 'VM_NOT_PROTECTED' })
})

test('to stop is no failure: both replicas end and nobody goes live', async () => {
  const before = await start()
  await world.cluster.stop(vm, 0)
  for (const { pid } of [before.primary!, before.backup!]) expect(isAlive(pid)).toBe(false)
  expect(await world.cluster.status(vm)).toMatchObject({ state: 'stopped', primary: null, backup: null })
  const types = await typesOf(vm)
  expect(types).toContain('stopped')
  expect(types).not.toContain('went-live')
  expect(types).not.toContain('exited')
})

test('a guest that powers itself off takes both replicas along', async () => {
  const before = await start()
  const terminal = await world.cluster.console(vm, { history: true })
  terminal.write('poweroff\n')
  await world.event(vm, 'stopped', (event) => event.host === before.primary!.host)
  await world.event(vm, 'stopped', (event) => event.host === before.backup!.host)
  for (const { pid } of [before.primary!, before.backup!]) await untilEnded(pid)
  expect(await world.cluster.status(vm)).toMatchObject({ state: 'stopped' })
  expect(await typesOf(vm)).not.toContain('went-live')
})

test('the console shows after a takeover what was written before it', async () => {
  const before = await start()
  const terminal = await world.cluster.console(vm, { history: true })
  let text = ''
  terminal.on('data', (data: Buffer) => {
    text += data.toString()
  })
  terminal.write('written on the first host\n')
  await expect.poll(() => text).toContain('written on the first host')
  process.kill(before.primary!.pid, 'SIGKILL')
  await world.event(vm, 'went-live')
  const again = await world.cluster.console(vm, { history: true })
  let shown = ''
  again.on('data', (data: Buffer) => {
    shown += data.toString()
  })
  again.write('and on the second\n')
  await expect.poll(() => shown).toContain('and on the second')
  expect(shown).toContain('echo machine ready')
  expect(shown).toContain('written on the first host')
})

test('an unprotected machine dies with its replica, and says so', async () => {
  const before = await start({ protect: false })
  expect(before).toMatchObject({ protection: 'unprotected', backup: null })
  process.kill(before.primary!.pid, 'SIGKILL')
  await world.event(vm, 'exited', (event) => event.signal === 'SIGKILL')
  await world.status(vm, (status) => status.state === 'stopped')
})

test('a name that is taken and a port in use are refused before anything starts', async () => {
  await start({ protect: false })
  const options = { ...echo, protect: false }
  await expect(world.cluster.run({ ...options, name: vm })).rejects.toMatchObject({ code: 'VM_EXISTS' })
  const listener = createServer().listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const { port } = listener.address() as AddressInfo
  const publish = [{ hostPort: port, guestPort: 80 }]
  await expect(world.cluster.run({ ...options, name: 'other', publish })).rejects.toMatchObject({
    code: 'NET_PORT_IN_USE',
  })
  listener.close()
  await expect(world.cluster.status('other')).rejects.toMatchObject({ code: 'VM_NOT_FOUND' })
  await expect(world.cluster.run({ ...options, name: 'No!' })).rejects.toMatchObject({
    code: 'VM_NAME_INVALID',
  })
  await expect(world.cluster.status('nobody')).rejects.toMatchObject({ code: 'VM_NOT_FOUND' })
  await expect(world.cluster.remove(vm, { force: false })).rejects.toMatchObject({ code: 'VM_RUNNING' })
})
