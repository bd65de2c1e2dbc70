import { describe, expect, test } from 'vitest'
import { Backup } from './backup.ts'
import type { BackupConfig, BackupEffect, BackupEvent } from './backup-events.ts'
import { helloOf } from './handshake.ts'
import { type ByeReason, PROTOCOL_VERSION } from './messages.ts'
import { ProtocolInvariantError } from './protocol-error.ts'
import { ALL_RULES } from './rules.ts'
import { GONE_MS_MIN, PROMISE_MS, SEVERED_MS_MAX, TICK_MS } from './timing.ts'

const CONFIG: BackupConfig = { vm: 'vm', generation: 3, replica: 'b-1', sequence: 0, logBytesMax: 1_000 }
const CHANNEL = 1
const PRIMARY_HELLO = helloOf({
  vm: 'vm',
  generation: 3,
  replica: 'p-1',
  role: 'primary',
  sequence: 0,
  logBytesMax: 1_000,
})
const CONTEND = { kind: 'test-and-set', vm: 'vm', generation: 4, winner: 'b-1' }

/** A backup with its clock; each call is one event at the current time. */
class Bench {
  readonly backup: Backup
  nowMs = 1_000
  #heartbeats = 0

  constructor(rules = ALL_RULES) {
    this.backup = new Backup(CONFIG, rules)
    this.handle({ kind: 'start' })
  }

  handle(event: BackupEvent): BackupEffect[] {
    return this.backup.handle(event, this.nowMs)
  }

  join(): this {
    this.handle({ kind: 'channel-opened', connection: CHANNEL })
    this.handle({ kind: 'channel-message', connection: CHANNEL, message: PRIMARY_HELLO })
    this.handle({ kind: 'channel-message', connection: CHANNEL, message: { kind: 'bind', sequence: 0 } })
    return this
  }

  frame(
    sequence: number,
    changes: { releasedSequence?: number; powerOff?: boolean; byteLength?: number } = {},
  ) {
    const base = { byteLength: 10, releasedSequence: 0, powerOff: false }
    return this.handle({ kind: 'frame-received', connection: CHANNEL, sequence, ...base, ...changes })
  }

  executed(sequence: number, powerOff = false): BackupEffect[] {
    const frame = { sequence, byteLength: 10, outputs: 1, outputBytes: 10, powerOff, workMs: 0 }
    return this.handle({ kind: 'frame-executed', frame })
  }

  bye(reason: ByeReason): BackupEffect[] {
    return this.handle({ kind: 'channel-message', connection: CHANNEL, message: { kind: 'bye', reason } })
  }

  heartbeat(
    changes: { generation?: number; replica?: string; releasedSequence?: number } = {},
  ): BackupEffect[] {
    this.#heartbeats++
    const heartbeat = {
      version: PROTOCOL_VERSION,
      vm: 'vm',
      generation: 3,
      role: 'primary',
      replica: 'p-1',
      sequence: this.#heartbeats,
      sentAtMs: this.nowMs,
      echoMs: -1,
      releasedSequence: 0,
      ...changes,
    } as const
    return this.handle({ kind: 'heartbeat', heartbeat })
  }

  close(): BackupEffect[] {
    return this.handle({ kind: 'channel-closed', connection: CHANNEL })
  }

  store(outcome: 'won' | 'lost' | 'unreachable'): BackupEffect[] {
    return this.handle({ kind: 'test-and-set-result', generation: 4, outcome })
  }

  /** Ticks on time, with a heartbeat heard before each tick when asked; returns all effects. */
  pass(forMs: number, heartbeats = false): BackupEffect[] {
    const effects: BackupEffect[] = []
    const untilMs = this.nowMs + forMs
    while (this.nowMs < untilMs) {
      this.nowMs += TICK_MS
      if (heartbeats) effects.push(...this.heartbeat())
      effects.push(...this.handle({ kind: 'tick' }))
    }
    return effects
  }

  get state(): string {
    return this.backup.status().state
  }
}

function kinds(effects: readonly BackupEffect[]): string[] {
  return effects.map(({ kind }) => kind).filter((kind) => kind !== 'send-heartbeat' && kind !== 'report')
}

describe('a backup that joins', () => {
  test('speaks first, and follows once the primary has answered', () => {
    const bench = new Bench()
    const effects = bench.handle({ kind: 'channel-opened', connection: CHANNEL })
    expect(effects).toEqual([
      {
        kind: 'send',
        connection: CHANNEL,
        message: expect.objectContaining({ kind: 'hello', role: 'backup' }),
      },
    ])
    bench.handle({ kind: 'channel-message', connection: CHANNEL, message: PRIMARY_HELLO })
    expect(bench.state).toBe('following')
  })

  test('never contends before that: the primary may have bound another', () => {
    const bench = new Bench()
    bench.handle({ kind: 'channel-opened', connection: CHANNEL })
    expect(kinds([...bench.pass(5_000), ...bench.close(), ...bench.pass(5_000)])).toEqual([])
    expect(bench.state).toBe('joining')
  })

  test('an answer of another generation is refused', () => {
    const bench = new Bench()
    bench.handle({ kind: 'channel-opened', connection: CHANNEL })
    const message = { ...PRIMARY_HELLO, generation: 2 }
    expect(kinds(bench.handle({ kind: 'channel-message', connection: CHANNEL, message }))).toEqual([
      'close-channel',
    ])
    expect(bench.state).toBe('joining')
  })

  test('a primary that refuses ends it', () => {
    const bench = new Bench()
    bench.handle({ kind: 'channel-opened', connection: CHANNEL })
    expect(bench.bye('refused').at(-1)).toEqual({ kind: 'end', reason: 'refused' })
  })
})

describe('a backup that follows', () => {
  test('acknowledges on receipt, before it executes', () => {
    const bench = new Bench().join()
    expect(bench.frame(1)).toEqual([
      { kind: 'accept-frame', sequence: 1 },
      {
        kind: 'send',
        connection: CHANNEL,
        message: { kind: 'ack', receivedSequence: 1, executedSequence: 0 },
      },
    ])
  })

  test('tells the primary how far it has executed at the next tick, once', () => {
    const bench = new Bench().join()
    bench.frame(1)
    bench.executed(1)
    const acks = [...bench.pass(TICK_MS), ...bench.pass(TICK_MS)].filter(({ kind }) => kind === 'send')
    expect(acks).toEqual([
      {
        kind: 'send',
        connection: CHANNEL,
        message: { kind: 'ack', receivedSequence: 1, executedSequence: 1 },
      },
    ])
  })

  test('forgets outputs that the primary is known to have released', () => {
    const bench = new Bench().join()
    bench.frame(1)
    bench.frame(2)
    expect(bench.frame(3, { releasedSequence: 1 })).toContainEqual({
      kind: 'forget-outputs',
      throughSequence: 1,
    })
    expect(bench.heartbeat({ releasedSequence: 2 })).toEqual([{ kind: 'forget-outputs', throughSequence: 2 }])
    // More than it has cannot be true.
    expect(bench.heartbeat({ releasedSequence: 9 })).toEqual([])
  })

  test.each<[string, (bench: Bench) => BackupEffect[]]>([
    ['a gap', (bench) => bench.frame(3)],
    ['a repeated frame', (bench) => bench.frame(1)],
    ['more log than agreed', (bench) => bench.frame(2, { byteLength: 2_000 })],
    [
      'a second hello',
      (bench) => bench.handle({ kind: 'channel-message', connection: CHANNEL, message: PRIMARY_HELLO }),
    ],
  ])('%s severs the channel and is not acknowledged', (_what, nonsense) => {
    const bench = new Bench().join()
    bench.frame(1)
    expect(kinds(nonsense(bench))).toEqual(['close-channel'])
    expect(bench.state).toBe('severed')
    expect(bench.frame(2)).toEqual([])
  })

  test('executing a frame that it does not have stops the replica', () => {
    const bench = new Bench().join()
    expect(() => bench.executed(1)).toThrow(ProtocolInvariantError)
  })

  test('heartbeats of an older generation are no sign of life', () => {
    const bench = new Bench().join()
    let effects: BackupEffect[] = []
    for (let passed = 0; passed < GONE_MS_MIN + 2 * TICK_MS; passed += TICK_MS) {
      bench.heartbeat({ generation: 2 })
      effects = [...effects, ...bench.pass(TICK_MS)]
    }
    expect(effects).toContainEqual(CONTEND)
  })
})

describe('a backup that loses its primary', () => {
  test('by silence, closes the channel and contends', () => {
    const bench = new Bench().join()
    const effects = bench.pass(GONE_MS_MIN + 2 * TICK_MS)
    expect(kinds(effects)).toEqual(['close-channel', 'test-and-set'])
    expect(effects).toContainEqual(CONTEND)
  })

  test('by a closed channel and no heartbeats, contends when its promise has lapsed, not before', () => {
    const bench = new Bench().join()
    bench.pass(200, true)
    bench.close()
    expect(kinds(bench.pass(PROMISE_MS - TICK_MS))).toEqual([])
    expect(kinds(bench.pass(TICK_MS))).toEqual(['test-and-set'])
  })

  test('by a closed channel alone, leaves a primary that can be heard time to decide', () => {
    const bench = new Bench().join()
    bench.close()
    expect(kinds(bench.pass(SEVERED_MS_MAX - TICK_MS, true))).toEqual([])
    expect(kinds(bench.pass(TICK_MS, true))).toEqual(['test-and-set'])
  })

  test('sends no heartbeat and so no echo once the channel is closed', () => {
    const bench = new Bench().join()
    bench.close()
    expect(bench.pass(SEVERED_MS_MAX, true).filter(({ kind }) => kind === 'send-heartbeat')).toEqual([])
  })

  test('by failover, contends at once', () => {
    const bench = new Bench().join()
    expect(kinds(bench.bye('failover'))).toEqual(['send', 'close-channel', 'test-and-set'])
  })

  test('acknowledges nothing any more: a frame that comes late was never received', () => {
    const bench = new Bench().join()
    bench.frame(1)
    bench.pass(GONE_MS_MIN + 2 * TICK_MS)
    expect(bench.frame(2)).toEqual([])
    bench.store('won')
    expect(bench.frame(2)).toEqual([])
    expect(bench.executed(1)).toContainEqual(expect.objectContaining({ kind: 'go-live', sequence: 1 }))
    expect(bench.frame(2)).toEqual([])
  })

  test('ends when the primary was faster', () => {
    const bench = new Bench().join()
    bench.bye('failover')
    expect(bench.store('lost').at(-1)).toEqual({ kind: 'end', reason: 'lost-arbitration' })
    expect(bench.pass(1_000)).toEqual([])
  })

  test('waits for a store that cannot be reached, and executes its log meanwhile', () => {
    const bench = new Bench().join()
    bench.frame(1)
    bench.bye('failover')
    for (let round = 0; round < 20; round++) {
      expect(kinds([...bench.store('unreachable'), ...bench.pass(400)])).toEqual(['test-and-set'])
    }
    bench.executed(1)
    expect(kinds(bench.store('won'))).toContain('go-live')
  })
})

describe('a backup that goes live', () => {
  test('consumes every whole frame first, then does what is due in order', () => {
    const bench = new Bench().join()
    for (const sequence of [1, 2, 3]) bench.frame(sequence, { releasedSequence: sequence === 3 ? 1 : 0 })
    bench.executed(1)
    bench.bye('failover')
    expect(kinds(bench.store('won'))).toEqual([])
    expect(bench.state).toBe('draining')
    expect(bench.executed(2)).toEqual([])
    const effects = bench.executed(3)
    expect(effects.slice(0, 5)).toEqual([
      { kind: 'go-live', generation: 4, sequence: 3, control: { paused: false, shareMax: 1 } },
      { kind: 'reissue-disk-io' },
      { kind: 'announce-mac' },
      { kind: 'release-outputs', fromSequence: 2, throughSequence: 3 },
      { kind: 'run', run: true },
    ])
    expect(bench.handle({ kind: 'tick' })).toEqual([])
  })

  test('says how long detection, arbitration and draining took', () => {
    const bench = new Bench().join()
    bench.frame(1)
    const silenceMs = GONE_MS_MIN
    bench.pass(silenceMs)
    bench.nowMs += 7
    bench.store('won')
    bench.nowMs += 5
    const report = bench.executed(1).at(-1)
    expect(report).toMatchObject({
      report: {
        type: 'went-live',
        generation: 4,
        sequence: 1,
        detectionMs: silenceMs,
        arbitrationMs: 7,
        drainMs: 5,
      },
    })
  })

  test('never does when its state differs from the log', () => {
    const bench = new Bench().join()
    bench.frame(1)
    const effects = bench.handle({ kind: 'diverged', sequence: 1 })
    expect(kinds(effects)).toEqual(['send', 'end'])
    const arbitrating = new Bench().join()
    arbitrating.frame(1)
    arbitrating.bye('failover')
    arbitrating.store('won')
    expect(arbitrating.handle({ kind: 'diverged', sequence: 1 }).at(-1)).toEqual({
      kind: 'end',
      reason: 'diverged',
    })
  })
})

describe('explicit operations are not failures', () => {
  test.each([
    ['stop', 'stopped'],
    ['unprotect', 'unprotected'],
  ] as const)('%s is confirmed, and ends it', (reason, end) => {
    const bench = new Bench().join()
    expect(bench.bye(reason)).toEqual([
      { kind: 'send', connection: CHANNEL, message: { kind: 'bye-ack', reason } },
      expect.objectContaining({ kind: 'report' }),
      { kind: 'end', reason: end },
    ])
    expect(bench.close()).toEqual([])
  })

  test('a power-off in the log keeps it from going live, whatever happens to the primary', () => {
    const bench = new Bench().join()
    bench.frame(1)
    bench.frame(2, { powerOff: true })
    expect(kinds([...bench.close(), ...bench.pass(5_000)])).toEqual([])
    bench.executed(1)
    expect(bench.executed(2, true).at(-1)).toEqual({ kind: 'end', reason: 'power-off' })
  })
})
