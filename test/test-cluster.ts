/** A cluster of real processes in a directory of its own, for tests that kill and stop them. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Cluster } from '../src/cluster/cluster.ts'
import { EventReader } from '../src/cluster/events.ts'
import { clusterDown, clusterUp } from '../src/cluster/lifecycle.ts'
import type { VmStatus } from '../src/cluster/vm-status.ts'
import type { UnderstudyEvent } from '../src/replica/event-log.ts'

const LOOK_MS = 20

export class TestCluster {
  readonly directory: string
  readonly cluster: Cluster
  readonly #reader: EventReader
  readonly #events: UnderstudyEvent[] = []

  private constructor(directory: string, cluster: Cluster) {
    this.directory = directory
    this.cluster = cluster
    this.#reader = new EventReader(cluster.layout)
  }

  static async up(hosts: number): Promise<TestCluster> {
    const directory = mkdtempSync(join(tmpdir(), 'us-'))
    await clusterUp(directory, hosts)
    return new TestCluster(directory, await Cluster.open(directory))
  }

  async down(): Promise<void> {
    await this.cluster.close()
    await clusterDown(this.directory)
    rmSync(this.directory, { recursive: true, force: true })
  }

  /** All events so far. */
  async events(): Promise<readonly UnderstudyEvent[]> {
    this.#events.push(...(await this.#reader.read()))
    return this.#events
  }

  /** Waits for an event; the error tells what happened instead. */
  async event(
    vm: string,
    type: UnderstudyEvent['type'],
    matches: (event: UnderstudyEvent) => boolean = () => true,
    timeoutMs = 30_000,
  ): Promise<UnderstudyEvent> {
    const find = async () =>
      (await this.events()).find((event) => event.vm === vm && event.type === type && matches(event))
    return until(find, timeoutMs, async () => {
      const happened = (await this.events()).map((event) => JSON.stringify(event)).join('\n')
      return `no ${type} of ${vm}; what happened:\n${happened}\n${this.logs(vm)}`
    })
  }

  /** Waits for a state of the virtual machine. */
  status(vm: string, matches: (status: VmStatus) => boolean, timeoutMs = 30_000): Promise<VmStatus> {
    let last: VmStatus | undefined
    return until(
      async () => {
        last = await this.cluster.status(vm)
        return matches(last) ? last : undefined
      },
      timeoutMs,
      async () => `${JSON.stringify(last)}\n${this.logs(vm)}`,
    )
  }

  /** What the replicas of a virtual machine wrote to their logs. */
  logs(vm: string): string {
    return ['host-1', 'host-2']
      .map((host) => this.cluster.layout.host(host).vm(vm).processLog)
      .map((path) => {
        try {
          return `${path}:\n${readFileSync(path, 'utf8')}`
        } catch {
          return `${path}: none`
        }
      })
      .join('\n')
  }
}

/** Looks until `find` finds something; fails with what `describe` says. */
export async function until<T>(
  find: () => Promise<T | undefined>,
  timeoutMs: number,
  describe: () => Promise<string>,
): Promise<T> {
  const deadlineMs = performance.now() + timeoutMs
  for (;;) {
    const found = await find()
    if (found !== undefined) return found
    if (performance.now() > deadlineMs) throw new Error(`not within ${timeoutMs} ms: ${await describe()}`)
    await sleep(LOOK_MS)
  }
}
