/** A `tiny` in a test cluster with a client that counts in its Redis: what the takeover tests and measurements watch. */
import { setTimeout as sleep } from 'node:timers/promises'
import { RedisCounter } from '../src/cli/redis-counter.ts'
import { bootOf, POWER_OFF_INPUT, startOf } from '../src/cli/vm-boot.ts'
import type { VmStatus } from '../src/cluster/vm-status.ts'
import type { OpenedImage } from '../src/image/directory.ts'
import type { Start } from '../src/replica/config.ts'
import type { TestCluster } from './test-cluster.ts'

/** A pair on a machine with few cores boots at half the speed of one. */
const BOOT_MS_MAX = 180_000
const COUNT_INTERVAL_MS = 2
const CONNECT_INTERVAL_MS = 100
const LOOK_MS = 5
const REDIS_PORT = 6379

export interface RedisGuest {
  readonly vm: VmStatus
  /** Port of its Redis on loopback. */
  readonly port: number
  readonly counter: RedisCounter
}

export interface RedisGuestOptions {
  /** Default: true. */
  readonly protect?: boolean
  /** Default: what the image is meant for. */
  readonly memoryBytes?: number
  /** Goes on from there; default: the snapshot of the booted image. */
  readonly start?: Start
  /** Hears every answer to the client. */
  readonly onAnswer?: (value: number, tookMs: number) => void
}

/** Starts a guest; resolves when a client counts in its Redis. */
export async function startRedisGuest(
  world: TestCluster,
  image: OpenedImage,
  name: string,
  options: RedisGuestOptions = {},
): Promise<RedisGuest> {
  const memoryBytes = options.memoryBytes ?? image.manifest.memoryMiB * 1024 * 1024
  const { publish } = await world.cluster.run({
    name,
    image: image.manifest.name,
    boot: bootOf(image, name, undefined),
    start: options.start ?? (await startOf({ image, name, memoryBytes })),
    powerOffInput: POWER_OFF_INPUT,
    memoryBytes,
    publish: [{ hostPort: 0, guestPort: REDIS_PORT }],
    protect: options.protect ?? true,
  })
  const port = publish[0].hostPort
  const counter = await countingClient(port, options.onAnswer, () => world.logs(name))
  return { vm: await world.cluster.status(name), port, counter }
}

/** Resolves when a client counts in the Redis behind a port; `describe` says what was wrong when none ever does. */
export async function countingClient(
  port: number,
  onAnswer: RedisGuestOptions['onAnswer'] = undefined,
  describe: () => string = () => '',
): Promise<RedisCounter> {
  const deadlineMs = performance.now() + BOOT_MS_MAX
  for (;;) {
    const counter = new RedisCounter(port, 'count', COUNT_INTERVAL_MS, onAnswer ?? null)
    const counts = await counter.start().then(
      () => true,
      () => false,
    )
    if (counts) return counter
    counter.stop()
    if (performance.now() > deadlineMs) throw new Error(`nobody answers on port ${port}:\n${describe()}`)
    await sleep(CONNECT_INTERVAL_MS)
  }
}

/** Lets the client count a while longer, or until its connection breaks. */
export async function countOn(counter: RedisCounter, increments: number): Promise<void> {
  const target = counter.report.acknowledged + increments
  while (counter.report.acknowledged < target && counter.report.broken === 0) await sleep(LOOK_MS)
}
