/** What a running cluster tells of itself: metrics, logs, and a history of events that outlives its hosts. */

import { execFile } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { get, type IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { gatewayControlAddress } from '../src/cluster/lifecycle.ts'
import { lint, parseExposition, type Sample } from '../src/cluster/testing/exposition.ts'
import { GatewayClient } from '../src/net/gateway-control.ts'
import { EchoClient } from './echo-client.ts'
import { TestCluster, until } from './test-cluster.ts'

const MEMORY_BYTES = 64 * 1024 * 1024

let world: TestCluster
let client: EchoClient

beforeAll(async () => {
  world = await TestCluster.up(2)
  await world.cluster.run({
    name: 'seen',
    image: 'echo',
    boot: null,
    powerOffInput: ['poweroff\n'],
    memoryBytes: MEMORY_BYTES,
    publish: [],
    protect: true,
    plainPort: true,
    machineModule: new URL('./echo-machine.ts', import.meta.url).href,
  })
  const [segment] = await new GatewayClient(gatewayControlAddress(world.cluster.layout)).list()
  client = new EchoClient(segment.plainAddress!)
})
afterAll(async () => {
  client?.close()
  await world?.down()
})

async function scrape(host: string) {
  const socketPath = world.cluster.layout.host(host).agentSocket
  const response = await new Promise<IncomingMessage>((resolve, reject) =>
    get({ socketPath, path: '/metrics', agent: false }, resolve).on('error', reject),
  )
  expect(response.statusCode).toBe(200)
  expect(response.headers['content-type']).toMatch(/^text\/plain; version=0\.0\.4/)
  const families = parseExposition(await text(response))
  expect([...families.values()].filter(({ name }) => name.startsWith('understudy_')).flatMap(lint)).toEqual(
    [],
  )
  const samples = [...families.values()].flatMap((family) => family.samples)
  /** The only sample of the VM with this name, and the label given. */
  const value = (name: string, ...[label, labelled]: string[]) => {
    const found = samples.filter(
      (sample: Sample) =>
        sample.name === name && sample.labels.vm === 'seen' && (!label || sample.labels[label] === labelled),
    )
    return found.length === 1 ? found[0].value : undefined
  }
  return { samples, value }
}

test('a pair is seen from both its hosts, and its takeover as well', async () => {
  for (let i = 0; i < 20; i++) await client.increment()
  const { primary, backup } = await world.cluster.status('seen')
  const [live, follower] = await Promise.all([scrape(primary!.host), scrape(backup!.host)])
  for (const { value } of [live, follower]) {
    expect(value('understudy_replica_up')).toBe(1)
    expect(value('understudy_protected')).toBe(1)
    expect(value('understudy_guest_memory_bytes')).toBe(MEMORY_BYTES)
    expect(value('understudy_takeovers_total')).toBe(0)
    expect(value('understudy_log_frames_total')).toBeGreaterThan(0)
    expect(value('understudy_log_bytes_total')).toBeGreaterThan(value('understudy_log_frames_total')!)
    expect(value('understudy_retired_instructions_total')).toBeGreaterThan(0)
    expect(value('understudy_heartbeat_age_seconds')).toBeGreaterThanOrEqual(0)
    expect(value('understudy_heartbeats_refused_total', 'reason', 'malformed')).toBe(0)
  }
  expect(live.value('understudy_primary_cpu_share')).toBeGreaterThan(0)
  expect(live.value('understudy_execution_lag_seconds')).toBeGreaterThanOrEqual(0)
  expect(live.value('understudy_execution_lag_sampled_seconds_count')).toBeGreaterThan(0)
  // Each of the client's answers was held until the backup had its frame, and none for no time at all.
  expect(live.value('understudy_output_held_seconds_count')).toBeGreaterThanOrEqual(20)
  expect(live.value('understudy_output_held_seconds_sum')).toBeGreaterThan(0)
  expect(follower.value('understudy_output_held_seconds_count')).toBe(0)
  expect(follower.value('understudy_execution_lag_seconds')).toBeUndefined()

  process.kill(primary!.pid, 'SIGKILL')
  await world.event('seen', 'went-live')
  await client.increment()
  const after = await scrape(backup!.host)
  expect(after.value('understudy_takeovers_total')).toBe(1)
  expect(after.value('understudy_protected')).toBe(0)
  expect(after.samples.filter(({ name }) => name === 'understudy_log_frames_total')).toMatchObject([
    { labels: { role: 'primary' } },
  ])
  // Alone it holds nothing back, and says nothing of a peer.
  const held = after.value('understudy_output_held_seconds_count')
  for (let i = 0; i < 5; i++) await client.increment()
  const alone = await scrape(backup!.host)
  expect(alone.value('understudy_output_held_seconds_count')).toBe(held)
  expect(alone.value('understudy_heartbeat_age_seconds')).toBeUndefined()
})

test('a replica that hangs is seen not to answer, and holds up no scrape', async () => {
  const { primary } = await world.cluster.status('seen')
  process.kill(primary!.pid, 'SIGSTOP')
  try {
    const { value } = await scrape(primary!.host)
    expect(value('understudy_replica_up')).toBe(0)
    expect(value('understudy_protected')).toBeUndefined()
  } finally {
    process.kill(primary!.pid, 'SIGCONT')
  }
  await until(
    async () => ((await scrape(primary!.host)).value('understudy_replica_up') === 1 ? true : undefined),
    10_000,
    async () => 'the replica does not answer again',
  )
})

test('agents and replicas log who they are and what they did, a line of JSON each', async () => {
  const { layout } = world.cluster
  const lines = (path: string) =>
    readFileSync(path, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
  for (const host of ['host-1', 'host-2']) {
    const replica = lines(layout.host(host).vm('seen').processLog)
    for (const line of replica) expect(line).toMatchObject({ part: 'replica', host, vm: 'seen' })
    expect(replica[0]).toMatchObject({ level: 30, replica: expect.stringContaining(`${host}/`) })
    const agent = lines(layout.host(host).agentLog)
    for (const line of agent) expect(line).toMatchObject({ part: 'agent', host })
    expect(agent[0].msg).toBe('agent runs')
  }
  // The killed one could say nothing; its agent did.
  const killed = (await world.events()).find(({ type, vm }) => type === 'exited' && vm === 'seen')!
  const agent = lines(layout.host(killed.host).agentLog)
  expect(agent.filter(({ level }) => level >= 50)).toMatchObject([
    { vm: 'seen', signal: 'SIGKILL', child: killed.pid, msg: 'replica process ended' },
  ])
})

function understudy(...args: string[]): Promise<string> {
  const bin = fileURLToPath(new URL('../bin/understudy.mjs', import.meta.url))
  const env = { ...process.env, UNDERSTUDY_DIR: world.directory }
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [bin, ...args], { env }, (error, stdout) =>
      error === null ? resolve(stdout) : reject(error),
    )
  })
}

test('what a host saw is known when the host is gone, and comes once while it is not', async () => {
  const { layout } = world.cluster
  // This machine cannot be cloned, and nobody shall go on trying while events are compared.
  await world.cluster.unprotect('seen')
  const listed = async () => (await understudy('events', 'seen', '--json')).trimEnd().split('\n')
  const before = await until(
    async () => {
      const lines = await listed()
      const known = (await world.events())
        .filter(({ vm }) => vm === 'seen')
        .map((event) => JSON.stringify(event))
      return lines.toSorted().join() === known.toSorted().join() ? lines : undefined
    },
    10_000,
    async () => `files and command differ: ${(await listed()).join('\n')}`,
  )
  await until(
    async () => {
      const texts = await Promise.all(['host-1', 'host-2'].map((host) => scrape(host)))
      const waiting = texts.flatMap(({ samples }) =>
        samples.filter(({ name }) => name === 'understudy_events_waiting'),
      )
      return waiting.every(({ value }) => value === 0) ? true : undefined
    },
    10_000,
    async () => 'events wait for the store',
  )
  for (const host of ['host-1', 'host-2']) rmSync(layout.host(host).eventsFile)
  expect(existsSync(layout.host('host-1').eventsFile)).toBe(false)
  expect(await listed()).toEqual(before)
})
