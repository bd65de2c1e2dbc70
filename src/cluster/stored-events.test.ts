import fc from 'fast-check'
import { expect, test } from 'vitest'
import { NO_VM } from '../replica/event-log.ts'
import { VALUE_BYTES_MAX } from '../store/store.ts'
import type { LocatedEvent } from './event-file.ts'
import {
  appendEvents,
  EVENT_PARTS_MAX,
  EVENTS_KEPT_MAX,
  isKeptName,
  readStoredEvents,
} from './stored-events.ts'
import { type Fate, MemoryStore } from './testing/memory-store.ts'

/** Events of one full head. */
const PART = EVENTS_KEPT_MAX / (EVENT_PARTS_MAX + 1)

const BEGIN_MS = Date.UTC(2026, 0, 1)

function located(host: string, number: number, details: Record<string, unknown> = {}): LocatedEvent {
  const time = new Date(BEGIN_MS + number).toISOString()
  return {
    file: `file-of-${host}`,
    offset: number * 100,
    event: { time, vm: 'demo', type: 'started', host, number, ...details },
  }
}

const numbered = (host: string, count: number, from = 0) =>
  Array.from({ length: count }, (_, i) => located(host, from + i))

async function stored(store: MemoryStore, host: string): Promise<unknown[]> {
  const { events, unreadable } = await readStoredEvents(store, 'demo')
  expect(unreadable).toEqual([])
  return events.filter(({ event }) => event.host === host).map(({ event }) => event.number)
}

/** A host's agent: tries until all is copied, sometimes dies and begins again at the start of its file. */
async function copyAll(
  store: MemoryStore,
  host: string,
  count: number,
  batch: number,
  dies: () => boolean,
): Promise<void> {
  const events = numbered(host, count)
  for (let next = 0; next < count; ) {
    try {
      await appendEvents(store, 'demo', host, events.slice(next, next + batch))
      next = dies() ? 0 : next + batch
    } catch {
      // The store could not be reached, or others were faster.
    }
  }
}

test('each event is there once and in order, whatever is lost, repeated and interleaved', async () => {
  const host = fc.record({ count: fc.nat(30), batch: fc.integer({ min: 1, max: 9 }) })
  const fates = fc.infiniteStream(
    fc.oneof(
      { weight: 6, arbitrary: fc.constant<Fate>('answered') },
      { weight: 1, arbitrary: fc.constantFrom<Fate>('refused', 'lost') },
    ),
  )
  const deaths = fc.infiniteStream(fc.integer({ min: 0, max: 15 }))
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.array(host, { minLength: 1, maxLength: 3 }),
      fates,
      deaths,
      async (scheduler, hosts, fate, death) => {
        const store = new MemoryStore()
        store.before = () => scheduler.schedule(Promise.resolve())
        store.fate = () => fate.next().value!
        const dies = () => death.next().value === 0
        const copiers = hosts.map(({ count, batch }, i) => copyAll(store, `host-${i}`, count, batch, dies))
        await scheduler.waitFor(Promise.all(copiers))
        store.before = async () => {}
        store.fate = () => 'answered'
        for (const [i, { count }] of hosts.entries()) {
          expect(await stored(store, `host-${i}`)).toEqual(Array.from({ length: count }, (_, n) => n))
        }
      },
    ),
    { numRuns: 60 },
  )
})

test('rolling over loses nothing and doubles nothing, also when hosts do it at once', async () => {
  // Large ones do not fit where small ones still do: one host puts away a head that another goes on filling.
  const length = fc.oneof(fc.constant(7_500), fc.integer({ min: 1, max: 3_000 }))
  const lengths = fc.array(length, { minLength: 8, maxLength: 10 })
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.tuple(lengths, lengths, lengths),
      fc.boolean(),
      async (scheduler, hosts, again) => {
        const store = new MemoryStore()
        // Into keys that were never there, or over older parts.
        for (let i = 0; again && i < EVENT_PARTS_MAX; i++) {
          const value = Buffer.from(JSON.stringify({ version: 1, number: 0, headVersion: 0, events: [] }))
          await store.createIfAbsent(`events/demo/part-${i}`, value)
        }
        store.before = () => scheduler.schedule(Promise.resolve())
        const copy = async (host: string, details: number[]) => {
          for (const [i, detail] of details.entries()) {
            await appendEvents(store, 'demo', host, [located(host, i, { detail: 'x'.repeat(detail) })])
          }
        }
        await scheduler.waitFor(Promise.all(hosts.map((details, i) => copy(`host-${i}`, details))))
        store.before = async () => {}
        expect([...store.entries.keys()].length).toBeGreaterThan(1)
        for (const [i, details] of hosts.entries()) {
          expect(await stored(store, `host-${i}`)).toEqual(details.map((_, n) => n))
        }
      },
    ),
    { numRuns: 150 },
  )
})

test('what was put away and is still in the head comes once', async () => {
  const store = new MemoryStore()
  await appendEvents(store, 'demo', 'host-1', numbered('host-1', PART))
  // Dies between the two: the head is in its part, and no other has taken its place.
  store.fate = () => (store.writes > 1 ? 'refused' : 'answered')
  await expect(appendEvents(store, 'demo', 'host-1', numbered('host-1', 1, PART))).rejects.toMatchObject({
    code: 'STORE_UNREACHABLE',
  })
  store.fate = () => 'answered'
  expect([...store.entries.keys()].sort()).toEqual(['events/demo/head', 'events/demo/part-0'])
  expect(await stored(store, 'host-1')).toHaveLength(PART)
  await appendEvents(store, 'demo', 'host-1', numbered('host-1', PART + 1))
  expect(await stored(store, 'host-1')).toEqual(Array.from({ length: PART + 1 }, (_, i) => i))
})

test('the newest are kept, so many and no more, in values and keys that are bounded', async () => {
  const store = new MemoryStore()
  const count = EVENTS_KEPT_MAX * 2 + 17
  for (const batch of [count - 500, 250, 249, 1]) {
    const next = (await stored(store, 'host-1')).at(-1)
    const from = next === undefined ? 0 : Number(next) + 1
    await appendEvents(store, 'demo', 'host-1', numbered('host-1', batch, from))
  }
  const kept = await stored(store, 'host-1')
  expect(kept.length).toBeLessThanOrEqual(EVENTS_KEPT_MAX)
  expect(kept.length).toBeGreaterThan((EVENTS_KEPT_MAX * EVENT_PARTS_MAX) / (EVENT_PARTS_MAX + 1))
  expect(kept).toEqual(Array.from({ length: kept.length }, (_, i) => count - kept.length + i))
  expect(store.entries.size).toBe(EVENT_PARTS_MAX + 1)
  for (const { value } of store.entries.values()) expect(value.length).toBeLessThanOrEqual(VALUE_BYTES_MAX)
})

test('many hosts with long names and long events fit into the value', async () => {
  const store = new MemoryStore()
  const detail = 'ü'.repeat(7_000)
  for (let i = 0; i < 250; i++) {
    const host = `${'h'.repeat(38)}${String(i).padStart(3, '0')}`
    await appendEvents(store, 'demo', host, [
      located(host, i, i % 3 === 0 ? { detail } : { detail: 'y'.repeat(7_900) }),
    ])
  }
  const { events } = await readStoredEvents(store, 'demo')
  const last = events.at(-1)!.event
  expect(last).toMatchObject({ shortened: true, type: 'started' })
  expect(last).not.toHaveProperty('detail')
})

test('one write carries a whole batch', async () => {
  const store = new MemoryStore()
  await appendEvents(store, 'demo', 'host-1', numbered('host-1', 100))
  expect(store.writes).toBe(1)
  await appendEvents(store, 'demo', 'host-1', numbered('host-1', 100))
  expect(store.writes).toBe(1)
})

test('another file of the same host is copied from its beginning', async () => {
  const store = new MemoryStore()
  await appendEvents(store, 'demo', 'host-1', numbered('host-1', 3))
  const renewed = numbered('host-1', 2).map((event) => ({ ...event, file: 'renewed' }))
  await appendEvents(store, 'demo', 'host-1', renewed)
  expect(await stored(store, 'host-1')).toEqual([0, 1, 2, 0, 1])
})

test('a history that cannot be read is begun anew, and said so; what can be read is', async () => {
  const store = new MemoryStore()
  expect(await appendEvents(store, 'demo', 'host-1', numbered('host-1', 400))).toBe(true)
  const head = store.entries.get('events/demo/head')!
  store.entries.set(head.key, { ...head, value: Buffer.from('{"version":7}') })
  const damaged = await readStoredEvents(store, 'demo')
  expect(damaged.unreadable).toEqual([head.key])
  expect(damaged.events.length).toBeGreaterThan(0)
  expect(await appendEvents(store, 'demo', 'host-1', numbered('host-1', 10, 400))).toBe(false)
  expect((await stored(store, 'host-1')).slice(-10)).toEqual([
    400, 401, 402, 403, 404, 405, 406, 407, 408, 409,
  ])
})

test('events of hosts and of machines keep apart, and no name leads elsewhere', async () => {
  const store = new MemoryStore()
  const joined = {
    ...located('host-1', 1),
    event: { ...located('host-1', 1).event, vm: NO_VM, type: 'host-joined' },
  }
  await appendEvents(store, NO_VM, 'host-1', [joined])
  await appendEvents(store, 'demo', 'host-1', numbered('host-1', 1))
  expect((await readStoredEvents(store, NO_VM)).events).toEqual([joined])
  expect((await readStoredEvents(store, null)).events).toHaveLength(2)
  expect(['demo', NO_VM, 'a-1'].every(isKeptName)).toBe(true)
  expect(['cluster.hosts', '..', 'a/b', 'A', '-'].some(isKeptName)).toBe(false)
})
