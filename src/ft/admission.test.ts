import { describe, expect, test } from 'vitest'
import { Backup } from './backup.ts'
import type { BackupEvent } from './backup-events.ts'
import { helloOf } from './handshake.ts'
import type { ChannelMessage } from './messages.ts'
import { Primary } from './primary.ts'
import type { PrimaryEffect, PrimaryEvent } from './primary-events.ts'
import { ADMISSION_MS_MAX, GONE_MS_MAX, TICK_MS } from './timing.ts'

const CHANNEL = 7
const BEGUN_AT = 40
const IDENTITY = { vm: 'vm', generation: 5 } as const

/** A primary that is alone behind frame 40, with its clock; each call is one event at the current time. */
class Bench {
  readonly primary = new Primary({ ...IDENTITY, replica: 'p', begin: 'live', sequence: BEGUN_AT })
  nowMs = 1_000
  #sequence = BEGUN_AT

  constructor() {
    this.handle({ kind: 'start' })
  }

  handle(event: PrimaryEvent): PrimaryEffect[] {
    return this.primary.handle(event, this.nowMs)
  }

  record(powerOff = false): PrimaryEffect[] {
    this.#sequence++
    const frame = {
      sequence: this.#sequence,
      byteLength: 10,
      outputs: 1,
      outputBytes: 10,
      powerOff,
      workMs: 3,
    }
    return this.handle({ kind: 'frame-recorded', frame })
  }

  admit(): PrimaryEffect[] {
    return this.handle({ kind: 'admit', replica: 'c', sequence: this.#sequence })
  }

  hello(sequence: number, replica = 'c'): PrimaryEffect[] {
    const hello = helloOf({ ...IDENTITY, replica, role: 'backup', sequence, logBytesMax: 1e6 })
    return this.message(hello)
  }

  message(message: ChannelMessage): PrimaryEffect[] {
    return this.handle({ kind: 'channel-message', connection: CHANNEL, message })
  }

  ack(sequence: number): PrimaryEffect[] {
    return this.message({ kind: 'ack', receivedSequence: sequence, executedSequence: sequence })
  }

  pass(forMs: number): PrimaryEffect[] {
    const effects: PrimaryEffect[] = []
    for (const untilMs = this.nowMs + forMs; this.nowMs < untilMs; ) {
      this.nowMs += TICK_MS
      effects.push(...this.handle({ kind: 'tick' }))
    }
    return effects
  }

  get status() {
    return this.primary.status(this.nowMs)
  }
}

/** Effects in short: frames and releases with their numbers, messages with their kind. */
function brief(effects: readonly PrimaryEffect[]): string[] {
  return effects.flatMap((effect) => {
    if (effect.kind === 'send-heartbeat') return []
    if (effect.kind === 'send-frame') return [`frame ${effect.sequence}`]
    if (effect.kind === 'release-outputs') return [`release ${effect.throughSequence}`]
    if (effect.kind === 'send') return [effect.message.kind]
    if (effect.kind === 'keep-frames') return [effect.keep ? 'keep' : 'forget']
    return [effect.kind === 'report' ? effect.report.type : effect.kind]
  })
}

describe('a machine that is alone gets a backup', () => {
  test('it sends what the copy lacks, then binds it in the same stream, and holds outputs from there on', () => {
    const bench = new Bench()
    expect(brief(bench.admit())).toEqual(['keep'])
    expect(brief(bench.record())).toEqual(['release 41'])
    expect(brief(bench.record())).toEqual(['release 42'])
    expect(bench.status).toMatchObject({ state: 'alone', backup: null, candidate: 'c' })
    expect(brief(bench.hello(40))).toEqual(['hello', 'frame 41', 'frame 42', 'bind', 'protected', 'forget'])
    expect(bench.status).toMatchObject({ state: 'protected', backup: 'c', candidate: null })
    expect(brief(bench.record())).toEqual(['frame 43'])
    expect(brief(bench.ack(43))).toEqual(['release 43'])
  })

  test('only the replica that was named, and only with the state that was copied, is let in', () => {
    for (const [sequence, replica] of [
      [40, 'd'],
      [39, 'c'],
      [41, 'c'],
    ] as const) {
      const bench = new Bench()
      bench.admit()
      bench.record()
      expect(brief(bench.hello(sequence, replica))).toEqual(['bye', 'close-channel', 'refused'])
      expect(bench.status).toMatchObject({ state: 'alone', candidate: 'c' })
      expect(brief(bench.hello(40)).slice(0, 2)).toEqual(['hello', 'frame 41'])
    }
  })

  test('a copy of an older state than the newest frame is no candidate', () => {
    const bench = new Bench()
    bench.record()
    expect(brief(bench.handle({ kind: 'admit', replica: 'c', sequence: 40 }))).toEqual(['not-admitted'])
    expect(bench.status.candidate).toBeNull()
  })

  test('one at a time; when that is given up, another may follow', () => {
    const bench = new Bench()
    bench.admit()
    expect(brief(bench.admit())).toEqual(['not-admitted'])
    expect(brief(bench.handle({ kind: 'operation', operation: 'unprotect' }))).toEqual([
      'forget',
      'not-admitted',
    ])
    expect(brief(bench.admit())).toEqual(['keep'])
  })

  test('a candidate that never calls is given up, and nothing was held for it', () => {
    const bench = new Bench()
    bench.admit()
    const effects = brief(bench.pass(ADMISSION_MS_MAX + 2 * TICK_MS))
    expect(effects).toEqual(['forget', 'not-admitted'])
    expect(brief(bench.record())).toEqual(['release 41'])
  })

  test('a guest that powers itself off meanwhile ends as it would have', () => {
    const bench = new Bench()
    bench.admit()
    expect(brief(bench.record(true))).toEqual(['release 41', 'halted', 'end'])
  })

  test('the bound backup is lost like any other: by arbitration', () => {
    const bench = new Bench()
    bench.admit()
    bench.hello(40)
    expect(brief(bench.handle({ kind: 'channel-closed', connection: CHANNEL }))).toContain('test-and-set')
  })
})

/** A copy as of frame 40 that has called and been answered. */
function candidate(): { handle(event: BackupEvent): string[]; pass(forMs: number): string[] } {
  const backup = new Backup({ ...IDENTITY, replica: 'c', sequence: BEGUN_AT })
  let nowMs = 500
  const handle = (event: BackupEvent) => backup.handle(event, nowMs).map(({ kind }) => kind)
  handle({ kind: 'start' })
  handle({ kind: 'channel-opened', connection: CHANNEL })
  const hello = helloOf({ ...IDENTITY, replica: 'p', role: 'primary', sequence: BEGUN_AT, logBytesMax: 1e6 })
  handle({ kind: 'channel-message', connection: CHANNEL, message: hello })
  const pass = (forMs: number) => {
    const kinds: string[] = []
    for (const untilMs = nowMs + forMs; nowMs < untilMs; ) {
      nowMs += TICK_MS
      kinds.push(...handle({ kind: 'tick' }))
    }
    return kinds
  }
  return { handle, pass }
}

describe('a copy that is not bound yet never contends', () => {
  const bye = (reason: 'failover' | 'stop') =>
    ({ kind: 'channel-message', connection: CHANNEL, message: { kind: 'bye', reason } }) as const
  const losses: readonly [string, (c: ReturnType<typeof candidate>) => string[]][] = [
    ['silence', (c) => c.pass(GONE_MS_MAX + 100)],
    [
      'a closed channel',
      (c) => [...c.handle({ kind: 'channel-closed', connection: CHANNEL }), ...c.pass(1_000)],
    ],
    ['a failover', (c) => [...c.handle(bye('failover')), ...c.pass(1_000)]],
    ['a stop', (c) => [...c.handle(bye('stop')), ...c.pass(1_000)]],
  ]
  test.each(losses)('%s ends it', (_, lose) => {
    const kinds = lose(candidate())
    expect(kinds).toContain('end')
    expect(kinds).not.toContain('test-and-set')
  })

  test('once bound, it does', () => {
    const c = candidate()
    c.handle({ kind: 'channel-message', connection: CHANNEL, message: { kind: 'bind', sequence: BEGUN_AT } })
    expect(c.pass(GONE_MS_MAX + 100)).toContain('test-and-set')
  })

  test('a bind that promises more than came is nonsense', () => {
    const c = candidate()
    const kinds = c.handle({
      kind: 'channel-message',
      connection: CHANNEL,
      message: { kind: 'bind', sequence: BEGUN_AT + 1 },
    })
    expect(kinds).toEqual(['close-channel', 'report', 'end'])
  })
})
