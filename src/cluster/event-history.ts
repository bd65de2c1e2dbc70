/** The events of a cluster from both places where they are: the files of the hosts at hand, and the store. Each comes once. */
import type { UnderstudyEvent } from '../replica/event-log.ts'
import type { LocatedEvent } from './event-file.ts'
import { byTime, EventReader, followEvents } from './events.ts'
import type { ClusterLayout } from './layout.ts'
import { type EventStore, readStoredEvents } from './stored-events.ts'

/** While it is followed. What happens on a host at hand is known from its file at once; the rest can wait that long. */
const STORE_RECHECK_MS = 2_000

export interface EventHistoryOptions {
  readonly layout: ClusterLayout
  /** Null when there is none to read. */
  readonly store: EventStore | null
  /** Only events of this VM. */
  readonly vm?: string
  /** Told once of what could not be read. */
  readonly onProblem: (message: string) => void
}

export class EventHistory {
  readonly #options: EventHistoryOptions
  readonly #reader: EventReader
  /** By file, and by file and VM: the last event handed out. */
  readonly #fromFiles = new Map<string, number>()
  readonly #fromStore = new Map<string, number>()
  readonly #problems = new Set<string>()
  #storeDueMs = Number.NEGATIVE_INFINITY

  constructor(options: EventHistoryOptions) {
    this.#options = options
    this.#reader = new EventReader(options.layout)
  }

  /** Events that were not handed out yet, by time. */
  async read(): Promise<UnderstudyEvent[]> {
    // The files first: what the store has of them is then seen to be known.
    const fromFiles = await this.#reader.readLocated()
    for (const { file, offset } of fromFiles) this.#fromFiles.set(file, offset)
    const fromStore = (await this.#stored()).filter((located) => this.#isNews(located))
    const { vm } = this.#options
    return byTime([...fromStore, ...fromFiles])
      .map(({ event }) => event)
      .filter((event) => vm === undefined || event.vm === vm)
  }

  /** Has the next `read` look into the store, however recently it did. */
  storeIsDue(): void {
    this.#storeDueMs = Number.NEGATIVE_INFINITY
  }

  /** Hands out what is there and then what comes, until the signal. */
  async *follow(signal: AbortSignal): AsyncGenerator<UnderstudyEvent> {
    yield* followEvents(this.#options.layout, signal, () => this.read())
  }

  async #stored(): Promise<LocatedEvent[]> {
    const { store, vm } = this.#options
    if (store === null || performance.now() < this.#storeDueMs) return []
    this.#storeDueMs = performance.now() + STORE_RECHECK_MS
    try {
      const { events, unreadable } = await readStoredEvents(store, vm ?? null)
      for (const key of unreadable) this.#problem(`the store's ${key} holds no events that can be read`)
      return events
    } catch (error) {
      this.#problem(error instanceof Error ? error.message : String(error))
      return []
    }
  }

  /** Of a file that is at hand nothing is taken from the store: it comes, or came, from there. */
  #isNews({ file, offset, event }: LocatedEvent): boolean {
    if (this.#reader.file(file)?.isPresent === true) return false
    const key = `${file} ${event.vm}`
    const last = Math.max(this.#fromFiles.get(file) ?? -1, this.#fromStore.get(key) ?? -1)
    if (offset <= last) return false
    this.#fromStore.set(key, offset)
    return true
  }

  #problem(message: string): void {
    if (this.#problems.has(message)) return
    this.#problems.add(message)
    this.#options.onProblem(message)
  }
}
