import { describe, expect, test } from 'vitest'
import { helloOf, type Membership, refusalOf } from './handshake.ts'
import { Heartbeats } from './heartbeats.ts'
import { LogBuffer } from './log-buffer.ts'
import { type Heartbeat, PROTOCOL_VERSION } from './messages.ts'
import { ProtocolInvariantError } from './protocol-error.ts'
import { HEARTBEAT_INTERVAL_MS } from './timing.ts'

const PRIMARY: Membership = {
  vm: 'vm',
  generation: 5,
  replica: 'p-1',
  role: 'primary',
  sequence: 0,
  logBytesMax: 1_000,
}
const BACKUP: Membership = { ...PRIMARY, replica: 'b-1', role: 'backup' }

describe('the handshake', () => {
  test('a primary and a backup of one generation fit', () => {
    expect(refusalOf(PRIMARY, helloOf(BACKUP))).toBeNull()
    expect(refusalOf(BACKUP, helloOf(PRIMARY))).toBeNull()
  })

  test.each([
    ['version', { ...helloOf(BACKUP), version: PROTOCOL_VERSION + 1 }],
    ['vm', { ...helloOf(BACKUP), vm: 'other' }],
    ['role', { ...helloOf(BACKUP), role: 'primary' as const }],
    ['role', { ...helloOf(BACKUP), replica: 'p-1' }],
    ['generation', { ...helloOf(BACKUP), generation: 4 }],
    ['generation', { ...helloOf(BACKUP), generation: 6 }],
    ['sequence', { ...helloOf(BACKUP), sequence: 1 }],
  ])('what does not fit is refused with the reason: %s', (code, hello) => {
    expect(refusalOf(PRIMARY, hello)).toBe(code)
  })
})

describe('heartbeats', () => {
  const state = { generation: 5, echoMs: -1, releasedSequence: 0 }

  test('one every interval, however often it is asked, and no burst after a pause', () => {
    const heartbeats = new Heartbeats('vm', 'primary', 'p-1')
    let sent = 0
    for (let nowMs = 0; nowMs < 1_000; nowMs += 7) if (heartbeats.due(state, nowMs) !== null) sent++
    expect(sent).toBe(1_000 / HEARTBEAT_INTERVAL_MS)
    expect(heartbeats.due(state, 60_000)).not.toBeNull()
    expect(heartbeats.due(state, 60_001)).toBeNull()
  })

  test('repeated, overtaken, foreign and outdated ones are no news', () => {
    const heartbeats = new Heartbeats('vm', 'primary', 'p-1')
    const heartbeat: Heartbeat = {
      version: PROTOCOL_VERSION,
      vm: 'vm',
      generation: 5,
      role: 'backup',
      replica: 'b-1',
      sequence: 10,
      sentAtMs: 0,
      echoMs: -1,
      releasedSequence: 0,
    }
    const hear = (changed: Partial<Heartbeat>): boolean =>
      heartbeats.hear({ ...heartbeat, ...changed }, 'b-1', 5)
    expect(hear({ version: PROTOCOL_VERSION + 1 })).toBe(false)
    expect(hear({ vm: 'other' })).toBe(false)
    expect(hear({ role: 'primary' })).toBe(false)
    expect(hear({ replica: 'b-0' })).toBe(false)
    expect(hear({ generation: 4, sequence: 99 })).toBe(false)
    expect(hear({ generation: 6, sequence: 99 })).toBe(false)
    expect(hear({})).toBe(true)
    expect(hear({})).toBe(false)
    expect(hear({ sequence: 9 })).toBe(false)
    expect(hear({ sequence: 12 })).toBe(true)
  })
})

describe('the log buffer', () => {
  test('only the next frame fits, and only while there is room', () => {
    const log = new LogBuffer(7, 100)
    expect(log.accept(9, 10)).toBe(false)
    expect(log.accept(8, 60)).toBe(true)
    expect(log.accept(8, 10)).toBe(false)
    expect(log.accept(9, 50)).toBe(false)
    expect(log.accept(9, 40)).toBe(true)
    expect(log.drained).toBe(false)
    log.executed(8)
    expect(log.bytes).toBe(40)
    expect(log.accept(10, 60)).toBe(true)
    log.executed(9)
    log.executed(10)
    expect(log.drained).toBe(true)
    expect(log.bytes).toBe(0)
  })

  test('executing what was not received, or twice, stops the replica', () => {
    const log = new LogBuffer(0, 100)
    expect(() => log.executed(1)).toThrow(ProtocolInvariantError)
    log.accept(1, 1)
    log.executed(1)
    expect(() => log.executed(1)).toThrow(ProtocolInvariantError)
  })
})
