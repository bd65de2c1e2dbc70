import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Backup } from './backup.ts'
import type { BackupEffect } from './backup-events.ts'
import { Control, type ControlState, CPU_LIMIT_MIN, UNCONTROLLED } from './control.ts'
import { helloOf } from './handshake.ts'
import type { ChannelMessage } from './messages.ts'
import { Primary } from './primary.ts'
import type { PrimaryEffect, PrimaryEvent, PrimaryReport } from './primary-events.ts'

const CHANNEL = 1
const NOW_MS = 1_000
const IDENTITY = { vm: 'vm', generation: 1, sequence: 0 }
const HELLO = { ...IDENTITY, logBytesMax: 1_000_000 }
const BACKUP_HELLO = helloOf({ ...HELLO, replica: 'b', role: 'backup' })
const PRIMARY_HELLO = helloOf({ ...HELLO, replica: 'p', role: 'primary' })

type Sent = Exclude<ChannelMessage, { kind: 'frame' }>

function sentBy(effects: readonly (PrimaryEffect | BackupEffect)[]): Sent[] {
  return effects.flatMap((effect) => (effect.kind === 'send' ? [effect.message] : []))
}

function reportsIn(effects: readonly PrimaryEffect[]): PrimaryReport['type'][] {
  return effects.flatMap((effect) => (effect.kind === 'report' ? [effect.report.type] : []))
}

/** A primary that waits for its backup, or has it. */
function startPrimary(isProtected: boolean) {
  const primary = new Primary({ ...IDENTITY, replica: 'p', begin: 'protected' })
  const handle = (event: PrimaryEvent) => primary.handle(event, NOW_MS)
  const message = (sent: ChannelMessage) =>
    handle({ kind: 'channel-message', connection: CHANNEL, message: sent })
  handle({ kind: 'start' })
  handle({ kind: 'test-and-set-result', generation: 1, outcome: 'won' })
  if (isProtected) message(BACKUP_HELLO)
  const control = (change: Partial<ControlState>) => handle({ kind: 'control', change })
  return { primary, handle, message, control }
}

describe('a primary that is told to pause', () => {
  test('stops at once, tells the backup, and says that it is done when that has confirmed', () => {
    const { primary, message, control } = startPrimary(true)
    const effects = control({ paused: true })
    expect(sentBy(effects)).toEqual([{ kind: 'control', number: 1, paused: true, shareMax: 1 }])
    expect(effects).toContainEqual({ kind: 'run', run: false })
    expect(reportsIn(effects)).toEqual([])
    expect(primary.status(NOW_MS).control).toEqual(UNCONTROLLED)
    expect(reportsIn(message({ kind: 'control-ack', number: 1 }))).toEqual(['paused'])
    expect(primary.status(NOW_MS).control.paused).toBe(true)
    const resumed = control({ paused: false })
    expect(resumed).toContainEqual({ kind: 'run', run: true })
    expect(reportsIn(message({ kind: 'control-ack', number: 2 }))).toEqual(['resumed'])
  })

  test('does nothing when it is paused already', () => {
    const { message, control } = startPrimary(true)
    control({ paused: true })
    message({ kind: 'control-ack', number: 1 })
    expect(control({ paused: true })).toEqual([])
  })

  test('takes the confirmation of an older change for that alone', () => {
    const { primary, message, control } = startPrimary(true)
    control({ paused: true })
    control({ shareMax: 0.5 })
    expect(reportsIn(message({ kind: 'control-ack', number: 1 }))).toEqual([])
    expect(reportsIn(message({ kind: 'control-ack', number: 2 }))).toEqual(['paused', 'limited'])
    expect(primary.status(NOW_MS)).toMatchObject({ share: 0.5, control: { paused: true, shareMax: 0.5 } })
  })

  test('believes no confirmation of what was never sent', () => {
    const { primary, message } = startPrimary(true)
    message({ kind: 'control-ack', number: 1 })
    expect(primary.status(NOW_MS).state).toBe('arbitrating')
  })

  test('with the backup lost before it confirmed, is done when the generation is won', () => {
    const { handle, control } = startPrimary(true)
    control({ paused: true })
    expect(reportsIn(handle({ kind: 'channel-closed', connection: CHANNEL }))).toEqual(['lost-backup'])
    const won = handle({ kind: 'test-and-set-result', generation: 2, outcome: 'won' })
    expect(reportsIn(won)).toEqual(['unprotected', 'paused'])
    expect(won).not.toContainEqual({ kind: 'run', run: true })
  })

  test('tells a backup that comes later before it binds it', () => {
    const { message, control } = startPrimary(false)
    expect(reportsIn(control({ paused: true, shareMax: 0.25 }))).toEqual(['paused', 'limited'])
    const effects = message(BACKUP_HELLO)
    expect(sentBy(effects).map(({ kind }) => kind)).toEqual(['hello', 'control', 'bind'])
    expect(effects).not.toContainEqual({ kind: 'run', run: true })
  })
})

test('a limit bounds the share whatever the lag allows, and is lifted', () => {
  const { control } = startPrimary(true)
  expect(control({ shareMax: 0.3 })).toContainEqual({ kind: 'throttle', share: 0.3 })
  expect(control({ shareMax: 1 })).toContainEqual({ kind: 'throttle', share: 1 })
})

test('a machine that goes live goes on as it was: paused ones do not run, limited ones are throttled', () => {
  const config = { ...IDENTITY, replica: 'b', begin: 'live' } as const
  const paused = new Primary({ ...config, control: { paused: true, shareMax: 0.5 } })
  expect(paused.handle({ kind: 'start' }, NOW_MS)).toEqual([{ kind: 'throttle', share: 0.5 }])
  const effects = paused.handle({ kind: 'control', change: { paused: false } }, NOW_MS)
  expect(effects).toContainEqual({ kind: 'run', run: true })
})

test('a backup confirms what it is told, and goes live as it was told last', () => {
  const backup = new Backup({ ...IDENTITY, replica: 'b' })
  const message = (sent: Sent) =>
    backup.handle({ kind: 'channel-message', connection: CHANNEL, message: sent }, NOW_MS)
  backup.handle({ kind: 'start' }, NOW_MS)
  backup.handle({ kind: 'channel-opened', connection: CHANNEL }, NOW_MS)
  message(PRIMARY_HELLO)
  message({ kind: 'control', number: 7, paused: false, shareMax: 0.5 })
  message({ kind: 'bind', sequence: 0 })
  const effects = message({ kind: 'control', number: 8, paused: true, shareMax: 0.5 })
  expect(sentBy(effects)).toEqual([{ kind: 'control-ack', number: 8 }])
  message({ kind: 'bye', reason: 'failover' })
  const live = backup.handle({ kind: 'test-and-set-result', generation: 2, outcome: 'won' }, NOW_MS)
  const control = { paused: true, shareMax: 0.5 }
  expect(live).toContainEqual({ kind: 'go-live', generation: 2, sequence: 0, control })
  expect(live.map(({ kind }) => kind)).not.toContain('run')
})

test('any limit is brought into its bounds, and is the same after a message', () => {
  fc.assert(
    fc.property(fc.double({ min: -10, max: 10, noNaN: true }), (shareMax) => {
      const control = new Control(UNCONTROLLED)
      control.change({ shareMax })
      expect(control.state.shareMax).toBeGreaterThanOrEqual(CPU_LIMIT_MIN)
      expect(control.state.shareMax).toBeLessThanOrEqual(1)
      expect(Math.abs(control.state.shareMax - Math.min(1, Math.max(CPU_LIMIT_MIN, shareMax)))).toBeLessThan(
        1e-4,
      )
      expect(control.change({ shareMax: control.message.shareMax })).toBe(false)
    }),
  )
})
