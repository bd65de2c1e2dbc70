/**
 * The main job with an unmodified Linux: a Redis client counts over one connection while the primary is killed.
 * UNDERSTUDY_TAKEOVERS says how many times, each with a fresh pair; a few are enough to find a regression.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { buildImage } from '../src/image/build.ts'
import type { OpenedImage } from '../src/image/directory.ts'
import { countOn, startRedisGuest } from './redis-guest.ts'
import { TestCluster } from './test-cluster.ts'

const TAKEOVERS = Number(process.env.UNDERSTUDY_TAKEOVERS ?? 2)
const TEST_MS_MAX = 240_000
const IMAGE = 'tiny'

let world: TestCluster
let image: OpenedImage
const pausesMs: number[] = []

beforeAll(async () => {
  image = await buildImage(IMAGE)
  world = await TestCluster.up(2)
}, 900_000)

afterAll(async () => {
  await world?.down()
  if (pausesMs.length === 0) return
  const sorted = [...pausesMs].sort((a, b) => a - b)
  const median = sorted[sorted.length >> 1]
  console.log(
    `${sorted.length} takeovers, client-visible pause: median ${median.toFixed(0)} ms, worst ${sorted.at(-1)!.toFixed(0)} ms`,
  )
})

test.each(Array.from({ length: TAKEOVERS }, (_, i) => i + 1))(
  'takeover %i: no reset, no increment lost or repeated',
  async (n) => {
    const name = `redis-${n}`
    const { vm, counter } = await startRedisGuest(world, image, name)
    try {
      expect(vm.protection, JSON.stringify(await world.events(), null, 1)).toBe('protected')
      await countOn(counter, 100)
      counter.takeWorstMs()
      process.kill(vm.primary!.pid, 'SIGKILL')
      await world.event(name, 'went-live')
      await countOn(counter, 100)
      pausesMs.push(counter.takeWorstMs())
      expect(counter.report).toMatchObject({ wrong: 0, broken: 0 })
      expect(await world.cluster.status(name)).toMatchObject({
        generation: vm.generation + 1,
        primary: vm.backup,
      })
    } finally {
      counter.stop()
      await world.cluster.remove(name, { force: true })
    }
  },
  TEST_MS_MAX,
)

test(
  'kill -9 of the backup: the guest serves on',
  async () => {
    const name = 'backup-killed'
    const { vm, counter } = await startRedisGuest(world, image, name)
    try {
      await countOn(counter, 100)
      counter.takeWorstMs()
      process.kill(vm.backup!.pid, 'SIGKILL')
      await world.event(name, 'unprotected')
      await countOn(counter, 100)
      console.log(`the backup was killed, client-visible pause: ${counter.takeWorstMs().toFixed(0)} ms`)
      expect(counter.report).toMatchObject({ wrong: 0, broken: 0 })
      expect(await world.cluster.status(name)).toMatchObject({ primary: vm.primary })
    } finally {
      counter.stop()
      await world.cluster.remove(name, { force: true })
    }
  },
  TEST_MS_MAX,
)

test(
  'a primary that is stopped for 5 s and goes on: one live machine, no harm',
  async () => {
    const name = 'paused'
    const { vm, counter } = await startRedisGuest(world, image, name)
    try {
      await countOn(counter, 100)
      counter.takeWorstMs()
      process.kill(vm.primary!.pid, 'SIGSTOP')
      const stoppedMs = performance.now()
      await world.event(name, 'went-live')
      await countOn(counter, 100)
      console.log(`the primary was stopped, client-visible pause: ${counter.takeWorstMs().toFixed(0)} ms`)
      await sleep(Math.max(0, stoppedMs + 5_000 - performance.now()))
      process.kill(vm.primary!.pid, 'SIGCONT')
      await world.event(name, 'halted', (event) => event.host === vm.primary!.host)
      await countOn(counter, 100)
      expect(counter.report).toMatchObject({ wrong: 0, broken: 0 })
      expect(await world.cluster.status(name)).toMatchObject({ primary: vm.backup, backup: null })
    } finally {
      counter.stop()
      await world.cluster.remove(name, { force: true })
    }
  },
  TEST_MS_MAX,
)

test(
  'the guest shuts itself down when it is told to stop',
  async () => {
    const { vm, counter } = await startRedisGuest(world, image, 'graceful')
    counter.stop()
    await world.cluster.stop('graceful', 60_000)
    const stopped = await world.event('graceful', 'stopped', (event) => event.host === vm.primary!.host)
    expect(stopped.reason).toBe('power-off')
    expect(
      (await world.events()).some((event) => event.vm === 'graceful' && event.type === 'went-live'),
    ).toBe(false)
  },
  TEST_MS_MAX,
)
