/**
 * What happens to virtual machines, for people and programs: one JSON object a line, appended and flushed to
 * disk by whoever sees it happen. Each host has a file of its own, because appending is atomic on one host
 * only; its agent copies it into the store, where it outlives the host, and a reader merges all by time.
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
 * - `restarted`: somebody pressed the reset button. `paused`, `resumed`, `limited`: an operation on a machine that goes on existing is done.
 * - `refused`: a replica that did not fit called. `exited`: a replica process ended unexpectedly.
 * - `not-admitted`: a copy of a running machine did not become its backup. `failed`: the machine itself gave up.
 * - `placed`: a host was chosen for a replica, and why. `not-placed`: none will do. `moving`: a replica gives way, and why.
 * - `cloning`: a running machine is being copied for a new backup. `cloned`: the copy is the backup now.
 *   `clone-failed`: it is not, and the machine is alone as before.
 * - `host-joined`, `host-left`: a host came into the cluster, or is not heard of any more. `drained`: it carries no
 *   replica any more, as somebody wished. These are of no VM.
 *
 * A reader takes types that it does not know: hosts are not all of one version at every moment.
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
  'restarted',
  'failed',
  'exited',
  'placed',
  'not-placed',
  'moving',
  'host-joined',
  'host-left',
  'drained',
  'cloning',
  'cloned',
  'clone-failed',
] as const

export type EventType = (typeof EVENT_TYPES)[number]

/** The `vm` of an event that is of a host and not of a virtual machine. */
export const NO_VM = ''

export const eventSchema = z.looseObject({
  /** ISO 8601, UTC, by the clock of the host that saw it. */
  time: z.iso.datetime(),
  /** NO_VM for what happens to a host. */
  vm: z.string(),
  /** One of EVENT_TYPES, or of a newer version's. */
  type: z.string().regex(/^[a-z][a-z-]{0,39}$/),
  host: z.string(),
})

export type UnderstudyEvent = z.infer<typeof eventSchema>

/** What an event carries beside its time, VM, type and host. */
export type EventDetails = { readonly [name: string]: string | number | boolean | null }

export class EventLog {
  readonly #path: string
  readonly #vm: string
  readonly #host: string
  #handle: FileHandle | null = null
  /** The last write failed, maybe in the middle of a line. */
  #torn = false
  #last: Promise<void> = Promise.resolve()

  constructor(path: string, vm: string, host: string) {
    this.#path = path
    this.#vm = vm
    this.#host = host
  }

  /** Appends an event with the time of now; resolves once it is on disk, rejects when it cannot be written. Never delays what happens meanwhile. */
  append(type: EventType, details: EventDetails = {}): Promise<void> {
    const event = { time: new Date().toISOString(), vm: this.#vm, type, host: this.#host, ...details }
    const line = `${JSON.stringify(event)}\n`
    const appended = this.#last.then(() => this.#write(line))
    // An event that could not be written keeps none of those after it from being written.
    this.#last = appended.catch(() => {
      this.#torn = true
    })
    return appended
  }

  async #write(line: string): Promise<void> {
    this.#handle ??= await open(this.#path, 'a')
    await this.#handle.appendFile(this.#torn ? `\n${line}` : line)
    this.#torn = false
    await this.#handle.datasync()
  }

  async close(): Promise<void> {
    await this.#last
    await this.#handle?.close()
  }
}

/** The events in a text of whole lines; lines that are none (torn by a crash) are skipped. */
export function parseEvents(text: string): UnderstudyEvent[] {
  const events: UnderstudyEvent[] = []
  for (const line of text.split('\n')) {
    const event = parseEvent(line)
    if (event !== null) events.push(event)
  }
  return events
}

/** The event in a line; null when it holds none. */
export function parseEvent(line: string): UnderstudyEvent | null {
  if (line === '' || line.length > EVENT_LINE_BYTES_MAX) return null
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    return null
  }
  return eventSchema.safeParse(value).data ?? null
}
