/**
 * `demo`, which `npm start` runs: brings up two hosts, a protected Linux and a client that counts in its Redis,
 * and shows what happens when somebody kills the primary.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from 'commander'
import { Cluster } from '../cluster/cluster.ts'
import { ClusterError } from '../cluster/errors.ts'
import { EventReader } from '../cluster/events.ts'
import { stateDirectory } from '../cluster/layout.ts'
import { clusterDown, clusterUp } from '../cluster/lifecycle.ts'
import type { VmStatus } from '../cluster/vm-status.ts'
import { buildImage } from '../image/build.ts'
import type { OpenedImage } from '../image/directory.ts'
import { progressDisplay } from '../image/progress.ts'
import { NetError } from '../net/errors.ts'
import type { UnderstudyEvent } from '../replica/event-log.ts'
import { type DirectoryFlag, withDirectory } from './cluster-verbs.ts'
import { describeEvent } from './event-verbs.ts'
import { formatCount } from './output.ts'
import { RedisCounter } from './redis-counter.ts'
import { bootOf, POWER_OFF_INPUT } from './vm-boot.ts'

const IMAGE = 'tiny'
const NAME = 'demo'
const GUEST_HTTP = 80
const GUEST_REDIS = 6379
/** Ports that are easy to remember; free ones are taken where these are in use. */
const HOST_HTTP = 8080
const HOST_REDIS = 6379

/** 128 and the number of SIGINT, as shells have it. */
const EXIT_INTERRUPTED = 130

/** A boot takes seconds; after this something is wrong. */
const BOOT_MS_MAX = 180_000
const STATUS_INTERVAL_MS = 500
/** Without a terminal to draw over, the status is a line now and then. */
const PLAIN_STATUS_INTERVAL_MS = 10_000
const COUNT_INTERVAL_MS = 50
const ERASE_LINE = '\r\x1b[K'

export function registerDemoVerb(program: Command): void {
  withDirectory(program.command('demo'))
    .description(
      'the main job: a protected Linux on two hosts, with a client that counts while you kill the primary',
    )
    .action(async (flags: DirectoryFlag) => {
      const stop = new AbortController()
      process.on('SIGINT', () => {
        // Who is in a hurry presses it twice; `understudy down` then does the rest.
        if (stop.signal.aborted) process.exit(EXIT_INTERRUPTED)
        stop.abort()
      })
      process.on('SIGTERM', () => stop.abort())
      await new Demo(stateDirectory(flags.dir), stop.signal).run()
    })
}

class Demo {
  readonly #directory: string
  readonly #signal: AbortSignal
  readonly #screen = new Screen()
  #counter: RedisCounter | null = null
  #longestMs = 0

  constructor(directory: string, signal: AbortSignal) {
    this.#directory = directory
    this.#signal = signal
  }

  async run(): Promise<void> {
    const image = await buildImage(IMAGE, { progress: progressDisplay(process.stderr) })
    if (this.#signal.aborted) return
    const own = await this.#bringUp()
    const cluster = await Cluster.open(this.#directory)
    try {
      if ((await cluster.list()).some((vm) => vm.name === NAME)) await cluster.remove(NAME, { force: true })
      await this.#show(cluster, image)
    } finally {
      this.#counter?.stop()
      this.#screen.line('taking everything down')
      await cluster.remove(NAME, { force: true }).catch(() => {})
      await cluster.close()
      if (own) await clusterDown(this.#directory)
    }
  }

  /** Whether the cluster is this command's own, to be taken down at its end. One that runs already is used. */
  async #bringUp(): Promise<boolean> {
    try {
      await clusterUp(this.#directory, 2)
      this.#screen.line('cluster up: host-1, host-2 and the gateway')
      return true
    } catch (error) {
      if (!(error instanceof ClusterError) || error.code !== 'CLUSTER_ALREADY_UP') throw error
      this.#screen.line(`using the cluster that runs in ${this.#directory}`)
      return false
    }
  }

  async #show(cluster: Cluster, image: OpenedImage): Promise<void> {
    const events = new EventReader(cluster.layout)
    await events.read()
    const vm = await startVm(cluster, image)
    const [http, redis] = [hostPort(vm, GUEST_HTTP), hostPort(vm, GUEST_REDIS)]
    if (!(await this.#untilAnswers(cluster, http, redis))) return
    this.#screen.line(instructions(vm, http, redis))
    const following = (async () => {
      for await (const event of events.follow(this.#signal)) {
        if (event.vm === NAME) this.#screen.line(describeEvent(event))
        if (event.type === 'went-live') await this.#reportTakeover(event)
      }
    })()
    await this.#watch(cluster)
    await following
  }

  /** Waits for the guest to boot. False when the user lost patience. */
  async #untilAnswers(cluster: Cluster, http: number, redis: number): Promise<boolean> {
    const startMs = performance.now()
    while (!this.#signal.aborted) {
      const { retired } = await cluster.status(NAME)
      const elapsedMs = performance.now() - startMs
      this.#screen.status(`booting: ${(elapsedMs / 1000).toFixed(0)} s, ${formatCount(retired)} instructions`)
      if (elapsedMs > BOOT_MS_MAX) throw new Error(`the guest did not answer within ${BOOT_MS_MAX} ms`)
      if (await answers(http)) {
        // Redis may be a moment later: until then its port refuses.
        this.#counter?.stop()
        const counter = new RedisCounter(redis, 'demo', COUNT_INTERVAL_MS)
        this.#counter = counter
        const counts = await counter.start().then(
          () => true,
          () => false,
        )
        if (!counts) continue
        counter.takeWorstMs()
        this.#screen.line(`the guest answers after ${(elapsedMs / 1000).toFixed(1)} s`)
        return true
      }
      await sleep(STATUS_INTERVAL_MS)
    }
    return false
  }

  /** What the takeover cost, once the client has its answer and shows that it goes on. */
  async #reportTakeover(event: UnderstudyEvent): Promise<void> {
    const before = this.#counter!.report.acknowledged
    while (this.#counter!.report.acknowledged < before + 2 && !this.#signal.aborted) await sleep(20)
    const [detection, arbitration, goLive] = [event.detectionMs, event.arbitrationMs, event.goLiveMs].map(
      (ms) => `${Number(ms).toFixed(0)} ms`,
    )
    this.#screen.line(
      `takeover: noticed in ${detection}, decided in ${arbitration}, live in ${goLive}; ` +
        `the client waited ${this.#worstMs().toFixed(0)} ms and its connection stands`,
    )
  }

  /** The client's longest wait since it began to count in earnest. */
  #worstMs(): number {
    this.#longestMs = Math.max(this.#longestMs, this.#counter!.takeWorstMs())
    return this.#longestMs
  }

  async #watch(cluster: Cluster): Promise<void> {
    while (!this.#signal.aborted) {
      const vm = await cluster.status(NAME)
      const client = this.#counter!.report
      const primary = vm.primary === null ? 'none' : `${vm.primary.host} (pid ${vm.primary.pid})`
      this.#screen.status(
        `${vm.state}, ${vm.protection}, generation ${vm.generation}, primary ${primary}` +
          `${vm.lagMs === null ? '' : `, lag ${vm.lagMs.toFixed(0)} ms`}` +
          ` | client: ${client.acknowledged} increments, ${client.wrong} wrong, ${client.broken} resets,` +
          ` longest wait ${this.#worstMs().toFixed(0)} ms`,
      )
      if (vm.state === 'stopped') {
        this.#screen.line('the virtual machine has ended: no replica is left. Ctrl-C takes the rest down')
        return
      }
      await sleep(STATUS_INTERVAL_MS, undefined, { signal: this.#signal }).catch(() => {})
    }
  }
}

/** On the usual ports, or on free ones where those are taken. */
async function startVm(cluster: Cluster, image: OpenedImage): Promise<VmStatus> {
  const start = (http: number, redis: number) =>
    cluster.run({
      name: NAME,
      image: IMAGE,
      boot: bootOf(image, NAME, undefined),
      powerOffInput: POWER_OFF_INPUT,
      memoryBytes: image.manifest.memoryMiB * 1024 * 1024,
      publish: [
        { hostPort: http, guestPort: GUEST_HTTP },
        { hostPort: redis, guestPort: GUEST_REDIS },
      ],
      protect: true,
    })
  try {
    return await start(HOST_HTTP, HOST_REDIS)
  } catch (error) {
    if (!(error instanceof NetError) || error.code !== 'NET_PORT_IN_USE') throw error
    return await start(0, 0)
  }
}

function hostPort(vm: VmStatus, guestPort: number): number {
  const published = vm.publish.find((port) => port.guestPort === guestPort)
  if (published === undefined) throw new Error(`port ${guestPort} is not published`)
  return published.hostPort
}

async function answers(port: number): Promise<boolean> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/`, { signal: AbortSignal.timeout(5_000) })
    await response.arrayBuffer()
    return response.ok
  } catch {
    return false
  }
}

function instructions(vm: VmStatus, http: number, redis: number): string {
  return [
    '',
    `  A Linux guest runs on ${vm.primary?.host}; its backup follows on ${vm.backup?.host}. Talk to it:`,
    `      curl http://127.0.0.1:${http}/`,
    `      redis-cli -p ${redis} incr hits`,
    `      npx understudy console ${NAME}`,
    '  A client here increments a counter in its Redis all the time, over one connection.',
    '  Now kill the primary, and see what the client notices:',
    `      kill -9 ${vm.primary?.pid}`,
    '  Ctrl-C ends the demonstration.',
    '',
  ].join('\n')
}

/** One line that is drawn over, below lines that stay. */
class Screen {
  readonly #draws = process.stdout.isTTY === true
  #lastStatus = ''
  #lastStatusMs = Number.NEGATIVE_INFINITY

  line(text: string): void {
    process.stdout.write(this.#draws ? `${ERASE_LINE}${text}\n${this.#lastStatus}` : `${text}\n`)
  }

  status(text: string): void {
    if (this.#draws) {
      // A line that wraps cannot be drawn over.
      this.#lastStatus = text.slice(0, (process.stdout.columns ?? 80) - 1)
      process.stdout.write(ERASE_LINE + this.#lastStatus)
      return
    }
    if (performance.now() - this.#lastStatusMs < PLAIN_STATUS_INTERVAL_MS) return
    this.#lastStatusMs = performance.now()
    process.stdout.write(`${text}\n`)
  }
}
