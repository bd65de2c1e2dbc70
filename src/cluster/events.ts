/** Reads the events files of all hosts as one sequence, and follows them as they come. */
import { watch } from 'node:fs'
import { mkdir, readdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { UnderstudyEvent } from '../replica/event-log.ts'
import { EventFile, type LocatedEvent } from './event-file.ts'
import type { ClusterLayout } from './layout.ts'

/** A shared file system may not tell of changes made by other hosts. */
const RECHECK_MS = 1_000

export class EventReader {
  readonly #layout: ClusterLayout
  readonly #files = new Map<string, EventFile>()

  constructor(layout: ClusterLayout) {
    this.#layout = layout
  }

  /** Events that were not handed out yet, of all hosts, by time. */
  async read(): Promise<UnderstudyEvent[]> {
    return (await this.readLocated()).map(({ event }) => event)
  }

  /** As `read`, with where each came from. */
  async readLocated(): Promise<LocatedEvent[]> {
    for (const host of await readdir(this.#layout.hosts).catch(() => [])) {
      const path = this.#layout.host(host).eventsFile
      if (!this.#files.has(path)) this.#files.set(path, new EventFile(path))
    }
    const events: LocatedEvent[] = []
    for (const file of this.#files.values()) {
      for (let more = await file.read(); more !== null; more = await file.read()) events.push(...more)
    }
    return byTime(events)
  }

  /** The file with this id as it was read last; undefined for one that was never seen here. */
  file(id: string): EventFile | undefined {
    return [...this.#files.values()].find((file) => file.id === id)
  }

  /** Hands out what is there and then what comes, until the signal. */
  async *follow(signal: AbortSignal): AsyncGenerator<UnderstudyEvent> {
    yield* followEvents(this.#layout, signal, () => this.read())
  }
}

/** Hands out what `read` brings now, and again whenever a file of any host changes, until the signal. */
export async function* followEvents(
  layout: ClusterLayout,
  signal: AbortSignal,
  read: () => Promise<UnderstudyEvent[]>,
): AsyncGenerator<UnderstudyEvent> {
  await mkdir(layout.hosts, { recursive: true })
  let changed = Promise.withResolvers<void>()
  const watcher = watch(layout.hosts, { recursive: true, signal }, () => changed.resolve())
  watcher.on('error', () => changed.resolve())
  signal.addEventListener('abort', () => changed.resolve())
  while (!signal.aborted) {
    yield* await read()
    await Promise.race([changed.promise, sleep(RECHECK_MS)])
    changed = Promise.withResolvers()
  }
}

/** Those of one time stay in the order in which they are given. */
export function byTime(events: LocatedEvent[]): LocatedEvent[] {
  return events.sort((a, b) => (a.event.time < b.event.time ? -1 : a.event.time > b.event.time ? 1 : 0))
}
