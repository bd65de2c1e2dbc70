import { appendFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { EventLog } from '../replica/event-log.ts'
import { EventReader } from './events.ts'
import { ClusterLayout } from './layout.ts'

let layout: ClusterLayout
beforeEach(() => {
  layout = new ClusterLayout(mkdtempSync(join(tmpdir(), 'events-')))
  for (const host of ['a', 'b']) mkdirSync(layout.host(host).directory, { recursive: true })
})
afterEach(() => rmSync(layout.directory, { recursive: true }))

test('events of all hosts come by time, each once', async () => {
  const logs = ['a', 'b'].map((host) => new EventLog(layout.host(host).eventsFile, 'vm', host))
  const reader = new EventReader(layout)
  await logs[0].append('started', { pid: 1 })
  await new Promise((resolve) => setTimeout(resolve, 2))
  await logs[1].append('started', { pid: 2 })
  await new Promise((resolve) => setTimeout(resolve, 2))
  await logs[0].append('went-live', { generation: 2 })
  const events = await reader.read()
  expect(events.map((event) => [event.host, event.type])).toEqual([
    ['a', 'started'],
    ['b', 'started'],
    ['a', 'went-live'],
  ])
  expect(events[2].generation).toBe(2)
  expect(await reader.read()).toEqual([])
  await Promise.all(logs.map((log) => log.close()))
})

test('a torn line is waited for, nonsense is skipped', async () => {
  const path = layout.host('a').eventsFile
  const line = JSON.stringify({ time: new Date().toISOString(), vm: 'x', type: 'halted', host: 'a' })
  const reader = new EventReader(layout)
  appendFileSync(path, `nonsense\n{"time":1}\n${line.slice(0, 10)}`)
  expect(await reader.read()).toEqual([])
  appendFileSync(path, `${line.slice(10)}\n`)
  expect(await reader.read()).toHaveLength(1)
})

test('followers get what is there and what comes', async () => {
  const log = new EventLog(layout.host('b').eventsFile, 'vm', 'b')
  await log.append('started')
  const stop = new AbortController()
  const following = new EventReader(layout).follow(stop.signal)
  expect((await following.next()).value?.type).toBe('started')
  const next = following.next()
  await log.append('stopped')
  expect((await next).value?.type).toBe('stopped')
  stop.abort()
  await log.close()
})
