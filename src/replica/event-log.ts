/**
 * What happens to virtual machines, for people and programs: one JSON object a line, appended and flushed to
 * disk by whoever sees it happen. Each host has a file of its own, because appending is atomic on one host
 * only; a reader merges them by time.
 */
import { type FileHandle, open } from 'node:fs/promises'
import { z } from 'zod'

/** Longest line read: an event is some hundred bytes; the rest of a longer one is skipped. */
export const EVENT_LINE_BYTES_MAX = 16 * 1024

/**
 * - `started`: a replica process began. `protected`: a pair stands. `unprotected`: live without a backup.
 * - `lost-primary`, `lost-backup`: the other replica was given up, and why.
 * - `went-live`: the backup took over. `halted`: a replica ended because it may not go on. `stopped`: the VM ended
 *   because somebody wished so, the guest included. `diverged`: a backup differed from the log and was discarded.
 * - `paused`, `resumed`, `limited`: an operation on a machine that goes on existing is done.
 * - `refused`: a replica that did not fit called. `exited`: a replica process ended unexpectedly.
 */
export const EVENT_TYPES = [
  'started',
  'protected',
  'unprotected',
  'lost-primary',
  'lost-backup',
  'went-live',
  'halted',
  'stopped',
  'diverged',
  'refused',
  'not-admitted',
  'paused',
  'resumed',
  'limited',
  'failed',
  'exited',
] as const

export type EventType = (typeof EVENT_TYPES)[number]

export const eventSchema = z.looseObject({
  /** ISO 8601, UTC, by the clock of the host that saw it. */
  time: z.iso.datetime(),
  vm: z.string(),
  type: z.enum(EVENT_TYPES),
  host: z.string(),
})

export type UnderstudyEvent = z.infer<typeof eventSchema>

/** What an event carries beside its time, VM, type and host. */
export type EventDetails = { readonly [name: string]: string | number | boolean | null }

export class EventLog {
  readonly #path: string
  readonly #vm: string
  readonly #host: string
  #handle: Promise<FileHandle> | null = null
  #last: Promise<void> = Promise.resolve()

  constructor(path: string, vm: string, host: string) {
    this.#path = path
    this.#vm = vm
    this.#host = host
  }

  /** Appends an event with the time of now; resolves once it is on disk. Never delays what happens meanwhile. */
  append(type: EventType, details: EventDetails = {}): Promise<void> {
    const event = { time: new Date().toISOString(), vm: this.#vm, type, host: this.#host, ...details }
    const line = `${JSON.stringify(event)}\n`
    this.#last = this.#last.then(async () => {
      this.#handle ??= open(this.#path, 'a')
      const handle = await this.#handle
      await handle.appendFile(line)
      await handle.datasync()
    })
    return this.#last
  }

  async close(): Promise<void> {
    await this.#last
    await (await this.#handle)?.close()
  }
}

/** The events in a text of whole lines; lines that are none (torn by a crash) are skipped. */
export function parseEvents(text: string): UnderstudyEvent[] {
  const events: UnderstudyEvent[] = []
  for (const line of text.split('\n')) {
    if (line === '' || line.length > EVENT_LINE_BYTES_MAX) continue
    let value: unknown
    try {
      value = JSON.parse(line)
    } catch {
      continue
    }
    const event = eventSchema.safeParse(value)
    if (event.success) events.push(event.data)
  }
  return events
}
