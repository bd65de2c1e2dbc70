import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Logger, pino } from 'pino'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { EventLog } from '../replica/event-log.ts'
import { StoreError } from '../store/store.ts'
import { EventCopier } from './event-copier.ts'
import { readStoredEvents } from './stored-events.ts'
import { MemoryStore } from './testing/memory-store.ts'

let directory: string
let path: string
let store: MemoryStore
let spoken: { level: number; msg: string; code?: string }[]
let log: Logger
let copiers: EventCopier[]

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'copier-'))
  path = join(directory, 'events.jsonl')
  store = new MemoryStore()
  spoken = []
  log = pino({}, { write: (line: string) => spoken.push(JSON.parse(line)) })
  copiers = []
})
afterEach(async () => {
  await Promise.all(copiers.map((copier) => copier.close()))
  rmSync(directory, { recursive: true })
})

/** A batch that is never due. */
const PATIENT = { batchMs: 3_600_000 }

function copier(options: { openStore?: () => Promise<MemoryStore>; batchMs?: number } = {}): EventCopier {
  const made = new EventCopier({ host: 'host-1', path, openStore: async () => store, log, ...options })
  copiers.push(made)
  made.start()
  return made
}

const stored = async (vm: string) =>
  (await readStoredEvents(store, vm)).events.map(({ event }) => `${event.type} ${event.number ?? ''}`.trim())

function line(vm: string, type: string, number: number): string {
  return `${JSON.stringify({ time: new Date().toISOString(), vm, type, host: 'host-1', number })}\n`
}

test('events are copied as they come, each machine has its own, in few writes', async () => {
  for (let i = 0; i < 20; i++) appendFileSync(path, line(i % 2 === 0 ? 'a' : 'b', 'started', i))
  copier()
  await expect.poll(() => stored('b')).toEqual([1, 3, 5, 7, 9, 11, 13, 15, 17, 19].map((i) => `started ${i}`))
  expect(await stored('a')).toHaveLength(10)
  expect(store.writes).toBe(2)
  const events = new EventLog(path, 'a', 'host-1')
  await events.append('went-live', { number: 20 })
  await events.close()
  await expect.poll(() => stored('a').then((list) => list.at(-1))).toBe('went-live 20')
})

test('what is urgent takes along what waited, without the delay', async () => {
  const waiting = copier(PATIENT)
  appendFileSync(path, line('a', 'started', 1))
  await expect.poll(() => waiting.waiting).toBe(1)
  expect(store.writes).toBe(0)
  appendFileSync(path, line('a', 'lost-backup', 2))
  await expect.poll(() => stored('a')).toEqual(['started 1', 'lost-backup 2'])
  expect(store.writes).toBe(1)
})

test('closing copies what is there', async () => {
  const ending = copier(PATIENT)
  appendFileSync(path, line('a', 'started', 1))
  await expect.poll(() => ending.waiting).toBe(1)
  appendFileSync(path, line('a', 'started', 2))
  await ending.close()
  expect(await stored('a')).toEqual(['started 1', 'started 2'])
})

test('one that begins anew copies nothing twice', async () => {
  appendFileSync(path, line('a', 'stopped', 1))
  const first = copier()
  await expect.poll(() => stored('a')).toHaveLength(1)
  await first.close()
  appendFileSync(path, line('a', 'stopped', 2))
  copier()
  await expect.poll(() => stored('a')).toEqual(['stopped 1', 'stopped 2'])
})

test('an unreachable store delays events and loses none; it is spoken of once', async () => {
  let opens = 0
  let reachable = false
  const openStore = async () => {
    if (++opens < 2) throw new StoreError('STORE_UNREACHABLE', 'not mounted')
    return store
  }
  const waiting = copier({ openStore })
  store.fate = (operation) => (reachable || operation === 'read' ? 'answered' : 'lost')
  appendFileSync(path, line('a', 'stopped', 1) + line('b', 'stopped', 2))
  await expect.poll(() => opens).toBe(2)
  await expect.poll(() => store.writes).toBeGreaterThan(0)
  expect(waiting.waiting).toBeGreaterThan(0)
  reachable = true
  await expect.poll(() => waiting.waiting).toBe(0)
  expect(await stored('a')).toEqual(['stopped 1'])
  expect(await stored('b')).toEqual(['stopped 2'])
  const about = spoken.filter(({ level }) => level >= 40)
  expect(about).toMatchObject([{ code: 'STORE_UNREACHABLE', msg: 'not mounted' }])
  expect(spoken.at(-1)?.msg).toMatch(/reach the store again/)
})

test('a file that takes the place of another is copied from its beginning', async () => {
  appendFileSync(path, line('a', 'stopped', 1) + line('a', 'stopped', 2))
  copier()
  await expect.poll(() => stored('a')).toHaveLength(2)
  rmSync(path)
  writeFileSync(path, line('a', 'stopped', 3))
  await expect.poll(() => stored('a')).toEqual(['stopped 1', 'stopped 2', 'stopped 3'])
})

test('nonsense, and names that are none, go nowhere', async () => {
  appendFileSync(
    path,
    `{"vm":1}\n${line('../x', 'stopped', 1)}${line('X', 'stopped', 2)}${line('a', 'stopped', 3)}`,
  )
  copier()
  await expect.poll(() => stored('a')).toEqual(['stopped 3'])
  expect([...store.entries.keys()]).toEqual(['events/a/head'])
})
