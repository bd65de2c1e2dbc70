/**
 * The events of a virtual machine in the store, where they outlive the hosts that saw them.
 *
 * All hosts append to one value, the head, each by compare-and-set. The head holds the newest events and, for each host,
 * up to where that host's events file is in here. Events and places change in one step, so an event is copied exactly
 * once, however often a copy is tried, whatever an unreachable store did with the attempt before.
 *
 *     events/VM/head       the newest events; the place reached in each host's file
 *     events/VM/part-N     a head that was full, in the order of its number; N = number modulo EVENT_PARTS_MAX
 *
 * Keys are few and written again and again: a store may keep a stone for each key that was ever deleted. They do not lie
 * below `vm/`, for whoever lists the machines would read all their events.
 */
import { z } from 'zod'
import { eventSchema, NO_VM, type UnderstudyEvent } from '../replica/event-log.ts'
import { type Store, type StoreEntry, VALUE_BYTES_MAX } from '../store/store.ts'
import { vmNameSchema } from './agent-api.ts'
import { ClusterError } from './errors.ts'
import type { LocatedEvent } from './event-file.ts'

/** Events of one VM that are kept, all hosts together; the oldest are given up first. Weeks of an ordinary VM. */
export const EVENTS_KEPT_MAX = 1_000

/** Full heads that are kept beside the head. */
export const EVENT_PARTS_MAX = 4
const PART_EVENTS_MAX = EVENTS_KEPT_MAX / (EVENT_PARTS_MAX + 1)

/** Of events in one value; the rest is for the places of hosts, and for JSON around them. */
const PART_BYTES_MAX = VALUE_BYTES_MAX - 16 * 1024

/** An event longer than this is kept without its details. It has some hundred bytes, or the tail of a log. */
const EVENT_BYTES_MAX = 8 * 1024

/** Hosts whose places are kept. The place of a host that did not write for longest goes first. */
const HOSTS_MAX = 64

/** Others that append at the same time; each of them gets its turn, so a lost race is soon won. */
const ATTEMPTS_MAX = 32

const NAME_CHARS_MAX = 64

const locatedSchema = z.object({
  file: z.string().max(NAME_CHARS_MAX),
  offset: z.int().min(0),
  event: eventSchema,
})

const placeSchema = z.object({
  host: z.string().max(NAME_CHARS_MAX),
  file: z.string().max(NAME_CHARS_MAX),
  offset: z.int().min(0),
})

const headSchema = z.object({
  version: z.literal(1),
  /** How many heads there were before this one. */
  number: z.int().min(0),
  /** By host, the one that wrote last at the end: the last event of its file that was copied. */
  places: z.array(placeSchema),
  events: z.array(locatedSchema),
})

const partSchema = z.object({
  version: z.literal(1),
  number: z.int().min(0),
  /** The store's version of the head that this was: of two copies the later one is whole. */
  headVersion: z.int(),
  events: z.array(locatedSchema),
})

/** What of a store the events need. */
export type EventStore = Pick<Store, 'get' | 'list' | 'createIfAbsent' | 'compareAndSet' | 'close'>

type Head = z.infer<typeof headSchema>
type Part = z.infer<typeof partSchema>

const EMPTY_HEAD: Head = { version: 1, number: 0, places: [], events: [] }

const PREFIX = 'events'
/** No name of a VM has a dot. */
const HOSTS_KEY = 'cluster.hosts'

function prefixOf(vm: string): string {
  return `${PREFIX}/${vm === NO_VM ? HOSTS_KEY : vm}`
}

/** Whether events of this name can be kept: that of a VM, or NO_VM. */
export function isKeptName(vm: string): boolean {
  return vm === NO_VM || vmNameSchema.safeParse(vm).success
}

/**
 * Copies events of one VM from the file of `host` into the store, those that are not there yet. `located` are in the order of
 * that file. Rejects with a StoreError, or with EVENTS_CONTENDED when others were always faster; it may then be called
 * again with the same events. Returns false if the history in the store could not be read and was begun anew.
 */
export async function appendEvents(
  store: EventStore,
  vm: string,
  host: string,
  located: readonly LocatedEvent[],
): Promise<boolean> {
  const key = `${prefixOf(vm)}/head`
  let readable = true
  let left = located
  for (let attempt = 0; attempt < ATTEMPTS_MAX; ) {
    const entry = await store.get(key)
    const before = entry === null ? EMPTY_HEAD : decode(headSchema, entry)
    if (before === null) readable = false
    const head = before ?? EMPTY_HEAD
    left = left.filter((event) => !isCopied(head, host, event))
    if (left.length === 0) return readable
    const room = roomIn(head, left)
    if (room === 0 && entry !== null) await archive(store, vm, head, entry.version)
    const base = room === 0 ? { ...head, number: head.number + 1, events: [] } : head
    const taken = left.slice(0, room === 0 ? roomIn(base, left) : room)
    const value = encode(withEvents(base, host, taken))
    const done =
      entry === null
        ? (await store.createIfAbsent(key, value)).created
        : (await store.compareAndSet(key, entry.version, value)).set
    // What was written is found as copied in the next round; another host's write is made room for.
    attempt = done ? 0 : attempt + 1
  }
  throw contended(vm)
}

/** The events of one VM in the store, or of all when `vm` is null, those of each file in their order. */
export async function readStoredEvents(
  store: EventStore,
  vm: string | null,
): Promise<{ events: LocatedEvent[]; unreadable: string[] }> {
  const entries = await store.list(vm === null ? PREFIX : prefixOf(vm))
  const unreadable: string[] = []
  const values: { age: number; events: LocatedEvent[] }[] = []
  for (const entry of entries) {
    const head = entry.key.endsWith('/head') ? decode(headSchema, entry) : null
    const part = head === null ? decode(partSchema, entry) : null
    if (head !== null) values.push({ age: Number.POSITIVE_INFINITY, events: head.events })
    else if (part !== null) values.push({ age: part.headVersion, events: part.events })
    else unreadable.push(entry.key)
  }
  // A head that has just been put away is there twice: the second finds all its events seen.
  const seen = new Set<string>()
  const events = values
    .sort((a, b) => (a.age < b.age ? -1 : a.age > b.age ? 1 : 0))
    .flatMap((value) => value.events)
    .filter(({ file, offset }) => {
      const place = `${file} ${offset}`
      if (seen.has(place)) return false
      seen.add(place)
      return true
    })
  return { events, unreadable }
}

function isCopied(head: Head, host: string, { file, offset }: LocatedEvent): boolean {
  const place = head.places.find((other) => other.host === host)
  return place !== undefined && place.file === file && offset <= place.offset
}

/** How many of these the head has room for. */
function roomIn(head: Head, events: readonly LocatedEvent[]): number {
  let bytes = head.events.reduce((sum, event) => sum + byteLength(event), 0)
  let count = 0
  for (const event of events) {
    bytes += byteLength(shortened(event))
    if (bytes > PART_BYTES_MAX || head.events.length + count >= PART_EVENTS_MAX) break
    count++
  }
  return count
}

function withEvents(head: Head, host: string, events: readonly LocatedEvent[]): Head {
  const { file, offset } = events[events.length - 1]
  const others = head.places.filter((place) => place.host !== host)
  return {
    ...head,
    places: [...others, { host, file, offset }].slice(-HOSTS_MAX),
    events: [...head.events, ...events.map(shortened)],
  }
}

/**
 * Puts a full head away. When it returns, this head or a later one is there: only then may the next one take its place. A
 * slow writer that still has an earlier state of the head cannot overwrite it.
 */
async function archive(store: EventStore, vm: string, head: Head, headVersion: number): Promise<void> {
  const key = `${prefixOf(vm)}/part-${head.number % EVENT_PARTS_MAX}`
  const part: Part = { version: 1, number: head.number, headVersion, events: head.events }
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    const entry = await store.get(key)
    if (entry === null) {
      if ((await store.createIfAbsent(key, encode(part))).created) return
      continue
    }
    const there = decode(partSchema, entry)
    if (there !== null && there.headVersion >= headVersion) return
    if ((await store.compareAndSet(key, entry.version, encode(part))).set) return
  }
  throw contended(vm)
}

function contended(vm: string): ClusterError {
  return new ClusterError('EVENTS_CONTENDED', `Others were always faster to write the events of ${vm}.`)
}

function shortened(located: LocatedEvent): LocatedEvent {
  if (byteLength(located) <= EVENT_BYTES_MAX) return located
  const { time, vm, type, host } = located.event
  const event: UnderstudyEvent = { time, vm, type, host: host.slice(0, NAME_CHARS_MAX), shortened: true }
  return { ...located, event }
}

function byteLength(located: LocatedEvent): number {
  return Buffer.byteLength(JSON.stringify(located))
}

function encode(value: Head | Part): Uint8Array {
  return Buffer.from(JSON.stringify(value))
}

function decode<T>(schema: z.ZodType<T>, entry: StoreEntry): T | null {
  try {
    return schema.parse(JSON.parse(Buffer.from(entry.value).toString('utf8')))
  } catch {
    return null
  }
}
