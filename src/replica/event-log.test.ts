import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { EventLog, parseEvents } from './event-log.ts'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'event-log-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

test('an event that could not be written keeps none of those after it from being written', async () => {
  const path = join(directory, 'host', 'events.jsonl')
  const log = new EventLog(path, 'demo', 'host-1')
  const lost = expect(log.append('started')).rejects.toThrow('ENOENT')
  const alsoLost = expect(log.append('protected')).rejects.toThrow('ENOENT')
  await Promise.all([lost, alsoLost])
  mkdirSync(join(directory, 'host'))
  await log.append('went-live', { generation: 2 })
  await log.append('stopped')
  await log.close()
  const events = parseEvents(readFileSync(path, 'utf8'))
  expect(events.map(({ type }) => type)).toEqual(['went-live', 'stopped'])
})

test('closing waits for what is being written', async () => {
  const path = join(directory, 'events.jsonl')
  const log = new EventLog(path, 'demo', 'host-1')
  for (let i = 0; i < 10; i++) void log.append('started', { i })
  await log.close()
  expect(parseEvents(readFileSync(path, 'utf8')).map((event) => event.i)).toEqual([
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
  ])
})
