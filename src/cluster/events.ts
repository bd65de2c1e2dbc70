/** Reads the events of all hosts as one sequence, and follows them as they come. */
import { watch } from 'node:fs'
import { type FileHandle, mkdir, open, readdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseEvents, type UnderstudyEvent } from '../replica/event-log.ts'
import type { ClusterLayout } from './layout.ts'

/** One read; a file longer than this is read in several. */
const READ_BYTES = 256 * 1024

/** A shared file system may not tell of changes made by other hosts. */
const RECHECK_MS = 1_000

/** Where a file's reader stands: everything before was handed out. */
interface Cursor {
  offset: number
  /** The beginning of a line whose end was not there yet. */
  torn: Buffer
}

export class EventReader {
  readonly #layout: ClusterLayout
  readonly #cursors = new Map<string, Cursor>()

  constructor(layout: ClusterLayout) {
    this.#layout = layout
  }

  /** Events that were not handed out yet, of all hosts, by time. */
  async read(): Promise<UnderstudyEvent[]> {
    const hosts = await readdir(this.#layout.hosts).catch(() => [])
    const events: UnderstudyEvent[] = []
    for (const host of hosts) events.push(...(await this.#readFile(this.#layout.host(host).eventsFile)))
    return events.sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0))
  }

  /** Hands out what is there and then what comes, until the signal. */
  async *follow(signal: AbortSignal): AsyncGenerator<UnderstudyEvent> {
    await mkdir(this.#layout.hosts, { recursive: true })
    let changed = Promise.withResolvers<void>()
    const watcher = watch(this.#layout.hosts, { recursive: true, signal }, () => changed.resolve())
    watcher.on('error', () => changed.resolve())
    signal.addEventListener('abort', () => changed.resolve())
    while (!signal.aborted) {
      yield* await this.read()
      await Promise.race([changed.promise, sleep(RECHECK_MS)])
      changed = Promise.withResolvers()
    }
  }

  async #readFile(path: string): Promise<UnderstudyEvent[]> {
    let handle: FileHandle
    try {
      handle = await open(path, 'r')
    } catch {
      return []
    }
    const cursor = this.#cursors.get(path) ?? { offset: 0, torn: Buffer.alloc(0) }
    this.#cursors.set(path, cursor)
    const events: UnderstudyEvent[] = []
    try {
      const buffer = Buffer.alloc(READ_BYTES)
      for (;;) {
        const { bytesRead } = await handle.read(buffer, 0, READ_BYTES, cursor.offset)
        if (bytesRead === 0) return events
        cursor.offset += bytesRead
        const text = Buffer.concat([cursor.torn, buffer.subarray(0, bytesRead)])
        const end = text.lastIndexOf(0x0a) + 1
        events.push(...parseEvents(text.subarray(0, end).toString('utf8')))
        // A line without an end for longer than any event has is none.
        cursor.torn = text.length - end > READ_BYTES ? Buffer.alloc(0) : text.subarray(end)
      }
    } finally {
      await handle.close()
    }
  }
}
