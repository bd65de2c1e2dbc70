import { appendFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { EventFile } from './event-file.ts'
import { EventHistory } from './event-history.ts'
import { ClusterLayout } from './layout.ts'
import { appendEvents } from './stored-events.ts'
import { MemoryStore } from './testing/memory-store.ts'

let layout: ClusterLayout
let store: MemoryStore
let problems: string[]
beforeEach(() => {
  layout = new ClusterLayout(mkdtempSync(join(tmpdir(), 'history-')))
  store = new MemoryStore()
  problems = []
})
afterEach(() => rmSync(layout.directory, { recursive: true }))

const BEGIN_MS = Date.UTC(2026, 0, 1)

function happened(host: string, number: number, vm = 'demo'): void {
  mkdirSync(layout.host(host).directory, { recursive: true })
  const event = { time: new Date(BEGIN_MS + number).toISOString(), vm, type: 'started', host, number }
  appendFileSync(layout.host(host).eventsFile, `${JSON.stringify(event)}\n`)
}

/** As the agent of the host does. */
async function copied(host: string, vm = 'demo'): Promise<void> {
  const located = (await new EventFile(layout.host(host).eventsFile).read()) ?? []
  await appendEvents(
    store,
    vm,
    host,
    located.filter(({ event }) => event.vm === vm),
  )
}

const lose = (host: string) => rmSync(layout.host(host).directory, { recursive: true, force: true })

function history(vm?: string): EventHistory {
  const onProblem = (message: string) => problems.push(message)
  return new EventHistory({ layout, store, onProblem, ...(vm !== undefined && { vm }) })
}

const numbers = async (from: EventHistory) => (await from.read()).map((event) => event.number)

test('what is in a file and in the store comes once, also when the file is gone', async () => {
  for (const number of [1, 3, 5]) happened('a', number)
  for (const number of [2, 4]) happened('b', number)
  await copied('a')
  happened('a', 6)
  expect(await numbers(history())).toEqual([1, 2, 3, 4, 5, 6])
  await copied('a')
  await copied('b')
  lose('a')
  expect(await numbers(history())).toEqual([1, 2, 3, 4, 5, 6])
  lose('b')
  rmSync(layout.hosts, { recursive: true })
  const reader = history()
  expect(await numbers(reader)).toEqual([1, 2, 3, 4, 5, 6])
  expect(await numbers(reader)).toEqual([])
  expect(problems).toEqual([])
})

test('what is copied while the reader looks comes once', async () => {
  happened('a', 1)
  const reader = history()
  // Between its look at the file and its look into the store.
  store.before = async () => {
    store.before = async () => {}
    happened('a', 2)
    await copied('a')
  }
  const seen = await numbers(reader)
  reader.storeIsDue()
  seen.push(...(await numbers(reader)))
  expect(seen).toEqual([1, 2])
})

test('what was copied since the last look is not lost with the file', async () => {
  happened('a', 1)
  const reader = history()
  expect(await numbers(reader)).toEqual([1])
  happened('a', 2)
  await copied('a')
  lose('a')
  reader.storeIsDue()
  expect(await numbers(reader)).toEqual([2])
})

test('a host that is new under an old name has a file of its own', async () => {
  happened('a', 1)
  happened('a', 2)
  await copied('a')
  lose('a')
  happened('a', 3)
  expect(await numbers(history())).toEqual([1, 2, 3])
  await copied('a')
  expect(await numbers(history())).toEqual([1, 2, 3])
})

test('only one machine is shown when it is named', async () => {
  happened('a', 1, 'demo')
  happened('a', 2, 'other')
  happened('b', 3, 'demo')
  happened('b', 4, 'other')
  for (const vm of ['demo', 'other']) for (const host of ['a', 'b']) await copied(host, vm)
  lose('b')
  expect(await numbers(history('demo'))).toEqual([1, 3])
  expect(await numbers(history('other'))).toEqual([2, 4])
  expect(await numbers(history())).toEqual([1, 2, 3, 4])
})

test('a reader gets each event once, whatever happens, is copied and is lost between two looks', async () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('happens' as const), host: fc.constantFrom('a', 'b') }),
    fc.record({ kind: fc.constant('copied' as const), host: fc.constantFrom('a', 'b') }),
    fc.record({ kind: fc.constant('lost' as const), host: fc.constantFrom('a', 'b') }),
    fc.record({ kind: fc.constant('looked' as const), host: fc.constant('a') }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      rmSync(layout.hosts, { recursive: true, force: true })
      store = new MemoryStore()
      let number = 0
      const seen: unknown[] = []
      const expected = new Set<number>()
      const uncopied = new Map<string, number[]>([
        ['a', []],
        ['b', []],
      ])
      const reader = history()
      const look = async () => {
        seen.push(...(await numbers(reader)))
        for (const list of uncopied.values()) for (const n of list) expected.add(n)
      }
      for (const { kind, host } of steps) {
        if (kind === 'happens') {
          happened(host, ++number)
          uncopied.get(host)!.push(number)
        } else if (kind === 'copied') {
          await copied(host)
          for (const n of uncopied.get(host)!.splice(0)) expected.add(n)
        } else if (kind === 'lost') {
          lose(host)
          // Nobody saw it, nobody can know of it.
          uncopied.get(host)!.splice(0)
        } else await look()
      }
      await look()
      reader.storeIsDue()
      await look()
      expect(seen.toSorted()).toEqual([...expected].toSorted())
    }),
    { numRuns: 60 },
  )
})

test('what cannot be read is told once, and hides nothing else', async () => {
  happened('a', 1)
  store.entries.set('events/demo/head', { key: 'events/demo/head', value: Buffer.from('?'), version: 1 })
  expect(await numbers(history())).toEqual([1])
  expect(problems).toHaveLength(1)
  store.fate = () => 'refused'
  expect(await numbers(history())).toEqual([1])
  expect(problems).toHaveLength(2)
})

test('followers get what comes, from a file at hand', async () => {
  happened('a', 1)
  const stop = new AbortController()
  const following = history().follow(stop.signal)
  expect((await following.next()).value?.number).toBe(1)
  const next = following.next()
  happened('a', 2)
  expect((await next).value?.number).toBe(2)
  stop.abort()
})
