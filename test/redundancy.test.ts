/**
 * A cluster that has a spare host restores redundancy by itself: whatever is killed, the guest serves on over the same
 * connection, and is protected again unasked. An unmodified Linux, real processes, real signals.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startAgent } from '../src/cluster/lifecycle.ts'
import type { VmStatus } from '../src/cluster/vm-status.ts'
import { buildImage } from '../src/image/build.ts'
import type { OpenedImage } from '../src/image/directory.ts'
import { countingClient, countOn, type RedisGuest, startRedisGuest } from './redis-guest.ts'
import { TestCluster } from './test-cluster.ts'

const IMAGE = 'tiny'
/** Losses in a row that one connection lives through; more by the measurement. */
const LOSSES = 3
const SETUP_MS_MAX = 900_000

let world: TestCluster
let image: OpenedImage

beforeAll(async () => {
  image = await buildImage(IMAGE)
  world = await TestCluster.up(3)
}, SETUP_MS_MAX)
afterAll(() => world?.down())

async function withGuest(
  name: string,
  options: { readonly protect: boolean },
  story: (guest: RedisGuest) => Promise<void>,
): Promise<void> {
  const guest = await startRedisGuest(world, image, name, options)
  try {
    await countOn(guest.counter, 50)
    await story(guest)
    await countOn(guest.counter, 50)
    expect(guest.counter.report, world.logs(name)).toMatchObject({ wrong: 0, broken: 0 })
  } finally {
    guest.counter.stop()
    await world.cluster.remove(name, { force: true })
  }
}

/** Kills a host as a power cut would: its agent and the replicas on it. */
async function killHost(host: string): Promise<void> {
  const { status } = (await world.cluster.hosts()).find((other) => other.host === host)!
  for (const pid of [status!.pid, ...status!.replicas.map((replica) => replica.pid)])
    process.kill(pid, 'SIGKILL')
}

function isPairOf(before: VmStatus) {
  return (now: VmStatus) => now.protection === 'protected' && now.generation > before.generation
}

test('hosts die one after the other, and each time the machine is protected again', async () => {
  await withGuest('chain', { protect: true }, async ({ vm, counter }) => {
    let before = vm
    for (let loss = 0; loss < LOSSES; loss++) {
      const dead = loss % 2 === 0 ? before.primary!.host : before.backup!.host
      await killHost(dead)
      const now = await world.status('chain', isPairOf(before))
      expect([now.primary?.host, now.backup?.host]).not.toContain(dead)
      await countOn(counter, 50)
      await startAgent(world.cluster.layout, dead)
      before = now
    }
  })
})

test('a machine that runs alone is protected and unprotected again while a client counts', async () => {
  await withGuest('lone', { protect: false }, async ({ vm }) => {
    expect(vm.backup).toBe(null)
    const pair = await world.cluster.protect('lone')
    expect(pair).toMatchObject({ protection: 'protected', primary: vm.primary })
    const alone = await world.cluster.unprotect('lone')
    expect(alone).toMatchObject({ protection: 'unprotected', primary: vm.primary, backup: null })
  })
})

test('a clone that is killed amid its state costs nothing, and another is made', async () => {
  await withGuest('amid', { protect: false }, async ({ vm }) => {
    const killed = await new Promise<string>((resolve, reject) => {
      let isKilled = false
      world.cluster
        .protect('amid', ({ clone }) => {
          if (isKilled || clone?.phase !== 'sending') return
          isKilled = true
          void killReplica('amid', clone.host).then(() => resolve(clone.host), reject)
        })
        .catch(reject)
    })
    await world.event('amid', 'clone-failed', (event) => event.to === killed)
    const pair = await world.status('amid', ({ protection }) => protection === 'protected')
    expect(pair.primary).toEqual(vm.primary)
  })
})

async function killReplica(vm: string, host: string): Promise<void> {
  const view = (await world.cluster.hosts()).find((other) => other.host === host)
  const replica = view?.status?.replicas.find((other) => other.vm === vm)
  if (replica !== undefined) process.kill(replica.pid, 'SIGKILL')
}

test('primary and backup are moved to where they are wished, and away from a host that is drained', async () => {
  await withGuest('moved', { protect: true }, async ({ vm }) => {
    const names = (await world.cluster.hosts()).map(({ host }) => host)
    const third = names.find((name) => name !== vm.primary!.host && name !== vm.backup!.host)!
    const backup = await world.cluster.migrate('moved', 'backup', third)
    expect(backup).toMatchObject({ primary: vm.primary, backup: { host: third } })
    const primary = await world.cluster.migrate('moved', 'primary', vm.backup!.host)
    expect(primary).toMatchObject({ primary: { host: vm.backup!.host }, protection: 'protected' })
    await world.cluster.drain(vm.backup!.host)
    const drained = await world.status('moved', ({ protection }) => protection === 'protected')
    expect([drained.primary?.host, drained.backup?.host]).not.toContain(vm.backup!.host)
    await world.cluster.undrain(vm.backup!.host)
  })
})

test('a machine that is restarted boots again, with its backup, and while it is cloned as well', async () => {
  const guest = await startRedisGuest(world, image, 'again', { protect: false })
  guest.counter.stop()
  try {
    let isPressed = false
    await world.cluster.protect('again', ({ clone }) => {
      if (isPressed || clone?.phase !== 'sending') return
      isPressed = true
      void world.cluster.restart('again')
    })
    await world.event('again', 'restarted')
    await world.cluster.restart('again')
    const { primary } = await world.cluster.status('again')
    // What the guest held is gone: its counter begins anew, and outlives the primary.
    const counter = await countingClient(guest.port)
    await countOn(counter, 20)
    process.kill(primary!.pid, 'SIGKILL')
    await countOn(counter, 50)
    expect(counter.report, world.logs('again')).toMatchObject({ wrong: 0, broken: 0 })
    expect((await world.events()).filter(({ vm, type }) => vm === 'again' && type === 'diverged')).toEqual([])
    counter.stop()
  } finally {
    await world.cluster.remove('again', { force: true })
  }
})

test('a machine that is saved while it counts goes on in another from where it was', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'us-save-'))
  const path = join(directory, 'saved')
  try {
    let saved = 0
    await withGuest('saved', { protect: true }, async ({ counter }) => {
      const state = await world.cluster.save('saved', path)
      saved = counter.report.acknowledged
      expect(state.bytes).toBeGreaterThan(1024 * 1024)
    })
    expect(existsSync(path)).toBe(true)
    const start = { snapshot: path, digest: '0'.repeat(16), machineVersion: null, identity: null }
    let value = 0
    const onAnswer = (answer: number) => {
      value = answer
    }
    const guest = await startRedisGuest(world, image, 'restored', { start, onAnswer })
    try {
      await countOn(guest.counter, 10)
      expect(guest.vm.protection).toBe('protected')
      // Its counter goes on from about where the other one was saved.
      expect(value).toBeGreaterThan(50)
      expect(value).toBeLessThan(saved + 100)
    } finally {
      guest.counter.stop()
      await world.cluster.remove('restored', { force: true })
    }
  } finally {
    rmSync(directory, { recursive: true })
  }
})
