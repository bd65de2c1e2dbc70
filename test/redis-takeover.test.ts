/**
 * The main job with an unmodified Linux: a Redis client counts over one connection while the primary is killed.
 * UNDERSTUDY_TAKEOVERS says how many times, each with a fresh pair; a few are enough to find a regression.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { RedisCounter } from '../src/cli/redis-counter.ts'
import { bootOf, POWER_OFF_INPUT } from '../src/cli/vm-boot.ts'
import type { VmStatus } from '../src/cluster/vm-status.ts'
import { buildImage } from '../src/image/build.ts'
import type { OpenedImage } from '../src/image/directory.ts'
import { TestCluster } from './test-cluster.ts'

const TAKEOVERS = Number(process.env.UNDERSTUDY_TAKEOVERS ?? 2)
/** A pair on a machine with few cores boots at half the speed of one. */
const BOOT_MS_MAX = 180_000
const TEST_MS_MAX = 240_000
const COUNT_INTERVAL_MS = 2
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

/** Starts a guest and a client that counts in its Redis. */
async function start(name: string): Promise<{ vm: VmStatus; counter: RedisCounter }> {
  const vm = await world.cluster.run({
    name,
    image: IMAGE,
    boot: bootOf(image, name, undefined),
    powerOffInput: POWER_OFF_INPUT,
    memoryBytes: image.manifest.memoryMiB * 1024 * 1024,
    publish: [{ hostPort: 0, guestPort: 6379 }],
    protect: true,
  })
  const deadlineMs = performance.now() + BOOT_MS_MAX
  for (;;) {
    const counter = new RedisCounter(vm.publish[0].hostPort, 'count', COUNT_INTERVAL_MS)
    const counts = await counter.start().then(
      () => true,
      () => false,
    )
    if (counts) return { vm: await world.cluster.status(name), counter }
    counter.stop()
    if (performance.now() > deadlineMs) throw new Error(`${name} did not boot:\n${world.logs(name)}`)
    await sleep(100)
  }
}

/** Lets the client count a while longer. */
async function countOn(counter: RedisCounter, increments: number): Promise<void> {
  const target = counter.report.acknowledged + increments
  while (counter.report.acknowledged < target && counter.report.broken === 0) await sleep(5)
}

test.each(Array.from({ length: TAKEOVERS }, (_, i) => i + 1))(
  'takeover %i: no reset, no increment lost or repeated',
  async (n) => {
    const name = `redis-${n}`
    const { vm, counter } = await start(name)
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
  'the guest shuts itself down when it is told to stop',
  async () => {
    const { vm, counter } = await start('graceful')
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
