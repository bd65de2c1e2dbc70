/**
 * Copies the events of one host into the store, so that they are still known when the host is not. The events file is the
 * buffer: what could not be copied stays there, and a copier that begins anew begins at its start, for the store knows
 * what it has (`src/cluster/stored-events.ts`).
 */
import { watch } from 'node:fs'
import { basename, dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { logError } from '../replica/process-log.ts'
import { EventFile, type LocatedEvent } from './event-file.ts'
import { appendEvents, type EventStore, isKeptName } from './stored-events.ts'

/** A write into a shared directory costs an fsync there: events of one second share one. */
const BATCH_MS = 1_000

/** Of these the host may be dying: they are not kept waiting. */
const URGENT: ReadonlySet<string> = new Set([
  'lost-primary',
  'lost-backup',
  'went-live',
  'unprotected',
  'halted',
  'stopped',
  'diverged',
  'failed',
  'exited',
  'clone-failed',
  'host-left',
])

/** A shared file system may not tell of changes. */
const RECHECK_MS = 1_000

/** After a failure. */
const RETRY_MS = 1_000

/** More than these are left in the file meanwhile. */
const WAITING_MAX = 2_000

export interface EventCopierOptions {
  readonly host: string
  /** The events file of the host; its directory exists. */
  readonly path: string
  /** Called until it succeeds. The copier closes what it opened. */
  readonly openStore: () => Promise<EventStore>
  readonly log: Logger
  /** How long events wait for others; BATCH_MS unless told. */
  readonly batchMs?: number
}

export class EventCopier {
  readonly #options: EventCopierOptions
  readonly #file: EventFile
  readonly #end = new AbortController()
  #changed = Promise.withResolvers<void>()
  /** In the order of the file. */
  #waiting: LocatedEvent[] = []
  #store: EventStore | null = null
  #failing = false
  #done: Promise<void> = Promise.resolve()

  constructor(options: EventCopierOptions) {
    this.#options = options
    this.#file = new EventFile(options.path)
    this.#end.signal.addEventListener('abort', () => this.#changed.resolve())
  }

  start(): void {
    this.#watch()
    this.#done = this.#run()
  }

  /** Without it, which a host short of watches may deny, changes are found by looking. */
  #watch(): void {
    const { path } = this.#options
    const options = { signal: this.#end.signal, persistent: false }
    try {
      const watcher = watch(dirname(path), options, (_, name) => {
        if (name === null || name === basename(path)) this.#changed.resolve()
      })
      watcher.on('error', () => {})
    } catch (error) {
      this.#options.log.warn({ reason: String(error) }, 'the events file cannot be watched')
    }
  }

  /** Events that were read and are not in the store yet. */
  get waiting(): number {
    return this.#waiting.length
  }

  /** Copies what is there, unless the store cannot be reached, and ends. */
  async close(): Promise<void> {
    this.#end.abort()
    await this.#done
    await this.#store?.close().catch(() => {})
  }

  async #run(): Promise<void> {
    const { signal } = this.#end
    while (!signal.aborted) {
      await this.#nextBatch()
      const copied = await this.#copy()
      if (!copied) await this.#pause(RETRY_MS)
    }
    // Once more: what was written until now, the end of the replicas included.
    await this.#read()
    await this.#copy()
  }

  /** Waits for events, and then for those that come soon after. */
  async #nextBatch(): Promise<void> {
    let dueMs = Number.POSITIVE_INFINITY
    while (!this.#end.signal.aborted) {
      const changed = this.#changed.promise
      await this.#read()
      if (this.#waiting.some(({ event }) => URGENT.has(event.type))) return
      const nowMs = performance.now()
      if (this.#waiting.length > 0) dueMs = Math.min(dueMs, nowMs + (this.#options.batchMs ?? BATCH_MS))
      if (nowMs >= dueMs || this.#waiting.length >= WAITING_MAX) return
      await Promise.race([changed, this.#pause(Math.min(RECHECK_MS, dueMs - nowMs))])
      if (!this.#end.signal.aborted) this.#changed = Promise.withResolvers()
    }
  }

  async #read(): Promise<void> {
    while (this.#waiting.length < WAITING_MAX) {
      const events = await this.#file.read().catch((error: unknown) => {
        this.#failed(error)
        return null
      })
      if (events === null) return
      this.#waiting.push(...events.filter(({ event }) => isKeptName(event.vm)))
    }
  }

  /** Whether everything that waited is in the store now. */
  async #copy(): Promise<boolean> {
    try {
      this.#store ??= await this.#options.openStore()
      while (this.#waiting.length > 0) {
        // One VM at a time; of another file than the first, when the file was replaced, in a later turn.
        const [{ file, event }] = this.#waiting
        const isOfTurn = (other: LocatedEvent) => other.file === file && other.event.vm === event.vm
        await this.#append(this.#store, event.vm, this.#waiting.filter(isOfTurn))
        this.#waiting = this.#waiting.filter((other) => !isOfTurn(other))
      }
    } catch (error) {
      this.#failed(error)
      return false
    }
    if (this.#failing) this.#options.log.info('events reach the store again')
    this.#failing = false
    return true
  }

  async #append(store: EventStore, vm: string, events: readonly LocatedEvent[]): Promise<void> {
    const { host, log } = this.#options
    const readable = await appendEvents(store, vm, host, events)
    if (!readable) log.warn({ vm }, 'the history of events in the store could not be read; it was begun anew')
  }

  /** Said once for each time that the store cannot be reached. */
  #failed(error: unknown): void {
    if (!this.#failing) logError(this.#options.log, 'warn', error)
    this.#failing = true
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#end.signal }).catch(() => {})
  }
}
