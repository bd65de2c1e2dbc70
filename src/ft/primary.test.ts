import { describe, expect, test } from 'vitest'
import { helloOf } from './handshake.ts'
import { PRIMARY_SHARE_MIN } from './lag.ts'
import { type ByeReason, type FrameInfo, PROTOCOL_VERSION } from './messages.ts'
import { OUTPUT_BYTES_MAX } from './output-gate.ts'
import { Primary } from './primary.ts'
import type { PrimaryConfig, PrimaryEffect, PrimaryEvent } from './primary-events.ts'
import { ProtocolInvariantError } from './protocol-error.ts'
import {
  ACK_MS_MAX,
  CLOSING_MS_MAX,
  FAILOVER_MS_MAX,
  GONE_MS_MIN,
  LEASE_MS,
  TICK_MS,
  TOO_SLOW_MS_MAX,
} from './timing.ts'

const CONFIG: PrimaryConfig = { vm: 'vm', generation: 3, replica: 'p-1', begin: 'protected', sequence: 0 }
const CHANNEL = 1
const BACKUP_HELLO = helloOf({
  vm: 'vm',
  generation: 3,
  replica: 'b-1',
  role: 'backup',
  sequence: 0,
  logBytesMax: 1_000,
})

/** A primary with its clock; each call is one event at the current time. */
class Bench {
  readonly primary: Primary
  nowMs = 1_000
  #sequence: number
  #heartbeats = 0

  constructor(config: Partial<PrimaryConfig> = {}) {
    this.primary = new Primary({ ...CONFIG, ...config })
    this.#sequence = config.sequence ?? 0
  }

  handle(event: PrimaryEvent): PrimaryEffect[] {
    return this.primary.handle(event, this.nowMs)
  }

  store(outcome: 'won' | 'lost' | 'unreachable', generation: number): PrimaryEffect[] {
    return this.handle({ kind: 'test-and-set-result', generation, outcome })
  }

  hello(connection = CHANNEL, hello = BACKUP_HELLO): PrimaryEffect[] {
    this.handle({ kind: 'channel-opened', connection })
    return this.handle({ kind: 'channel-message', connection, message: hello })
  }

  record(changes: Partial<FrameInfo> = {}): PrimaryEffect[] {
    this.#sequence++
    const frame = {
      sequence: this.#sequence,
      byteLength: 10,
      outputs: 1,
      outputBytes: 10,
      powerOff: false,
      workMs: 3,
    }
    return this.handle({ kind: 'frame-recorded', frame: { ...frame, ...changes } })
  }

  ack(receivedSequence: number, executedSequence = 0): PrimaryEffect[] {
    const message = { kind: 'ack', receivedSequence, executedSequence } as const
    return this.handle({ kind: 'channel-message', connection: CHANNEL, message })
  }

  byeAck(reason: ByeReason): PrimaryEffect[] {
    return this.handle({ kind: 'channel-message', connection: CHANNEL, message: { kind: 'bye-ack', reason } })
  }

  heartbeat(echoMs: number, generation = 3): PrimaryEffect[] {
    this.#heartbeats++
    const heartbeat = {
      version: PROTOCOL_VERSION,
      vm: 'vm',
      generation,
      role: 'backup',
      replica: 'b-1',
      sequence: this.#heartbeats,
      sentAtMs: 77,
      echoMs,
      releasedSequence: 0,
    } as const
    return this.handle({ kind: 'heartbeat', heartbeat })
  }

  /** Ticks on time; returns all effects. */
  pass(forMs: number): PrimaryEffect[] {
    const effects: PrimaryEffect[] = []
    const untilMs = this.nowMs + forMs
    while (this.nowMs < untilMs) {
      this.nowMs += TICK_MS
      effects.push(...this.handle({ kind: 'tick' }))
    }
    return effects
  }

  get state(): string {
    return this.primary.status(this.nowMs).state
  }
}

function protectedBench(): Bench {
  const bench = new Bench()
  bench.handle({ kind: 'start' })
  bench.store('won', 3)
  bench.hello()
  return bench
}

function kinds(effects: readonly PrimaryEffect[]): string[] {
  return effects.map(({ kind }) => kind).filter((kind) => kind !== 'send-heartbeat' && kind !== 'report')
}

function released(effects: readonly PrimaryEffect[]): number[] {
  return effects.flatMap((effect) => (effect.kind === 'release-outputs' ? [effect.throughSequence] : []))
}

describe('a primary that begins', () => {
  test('claims its generation, waits for a backup, and only then lets the machine run', () => {
    const bench = new Bench()
    expect(bench.handle({ kind: 'start' })).toEqual([
      { kind: 'test-and-set', vm: 'vm', generation: 3, winner: 'p-1' },
    ])
    expect(bench.store('won', 3)).toEqual([])
    expect(bench.state).toBe('waiting')
    expect(kinds(bench.hello())).toEqual(['send', 'send', 'go-live', 'run'])
    expect(bench.state).toBe('protected')
  })

  test('does not run when another has the generation', () => {
    const bench = new Bench()
    bench.handle({ kind: 'start' })
    expect(bench.store('lost', 3).at(-1)).toEqual({ kind: 'end', reason: 'lost-arbitration' })
  })

  test('alone, claims all the same', () => {
    const bench = new Bench({ begin: 'alone' })
    bench.handle({ kind: 'start' })
    expect(bench.state).toBe('claiming')
    expect(kinds(bench.store('won', 3))).toEqual(['go-live', 'run'])
    expect(released(bench.record())).toEqual([1])
  })

  test('a backup that calls before the claim is won is answered after it', () => {
    const bench = new Bench()
    bench.handle({ kind: 'start' })
    expect(bench.hello()).toEqual([])
    expect(kinds(bench.store('won', 3))).toEqual(['send', 'send', 'go-live', 'run'])
  })

  test('a backup that called early and left is not waited for', () => {
    const bench = new Bench()
    bench.handle({ kind: 'start' })
    bench.hello()
    bench.handle({ kind: 'channel-closed', connection: CHANNEL })
    bench.store('won', 3)
    expect(bench.state).toBe('waiting')
  })

  test('going live from a backup, goes on where the log ended', () => {
    const bench = new Bench({ begin: 'live', sequence: 41 })
    expect(bench.handle({ kind: 'start' })).toEqual([])
    expect(released(bench.record())).toEqual([42])
    expect(() => bench.record({ sequence: 99 })).toThrow(ProtocolInvariantError)
  })
})

describe('the Output Rule', () => {
  test('outputs leave when their frame is acknowledged, not before, in order', () => {
    const bench = protectedBench()
    expect(kinds(bench.record())).toEqual(['send-frame'])
    expect(kinds(bench.record({ outputs: 0 }))).toEqual(['send-frame'])
    expect(kinds(bench.record())).toEqual(['send-frame'])
    expect(released(bench.ack(1))).toEqual([1])
    expect(released(bench.ack(2))).toEqual([])
    expect(released(bench.ack(3))).toEqual([3])
  })

  test('an acknowledgement found after a pause releases nothing: the backup may be live by now', () => {
    const bench = protectedBench()
    bench.record()
    bench.nowMs += LEASE_MS + 1
    expect(released(bench.ack(1))).toEqual([])
    // An old echo proves no more than the old acknowledgement.
    expect(released(bench.heartbeat(bench.nowMs - LEASE_MS - 1))).toEqual([])
    expect(released(bench.heartbeat(bench.nowMs - 1))).toEqual([1])
  })

  test('an echo from the future, or of an older generation, extends nothing', () => {
    const bench = protectedBench()
    bench.record()
    bench.nowMs += LEASE_MS + 1
    bench.ack(1)
    expect(released(bench.heartbeat(bench.nowMs + 1e9))).toEqual([])
    expect(released(bench.heartbeat(bench.nowMs, 2))).toEqual([])
    // Of another generation: it is refused, and can be counted.
    expect(kinds(bench.heartbeat(bench.nowMs, 2))).toEqual(['heartbeat-refused'])
    bench.nowMs += 1_000
    expect(released(bench.handle({ kind: 'tick' }))).toEqual([])
  })

  test('an acknowledgement of what was never sent loses the backup, and releases nothing', () => {
    const bench = protectedBench()
    bench.record()
    const effects = bench.ack(2)
    expect(kinds(effects)).toEqual(['close-channel', 'test-and-set', 'run'])
    expect(bench.state).toBe('arbitrating')
  })
})

describe('a primary that loses its backup', () => {
  test.each<[string, (bench: Bench) => PrimaryEffect[]]>([
    ['silence', (bench) => bench.pass(GONE_MS_MIN + 2 * TICK_MS)],
    ['stalled', (bench) => starve(bench)],
    ['channel-closed', (bench) => bench.handle({ kind: 'channel-closed', connection: CHANNEL })],
    ['diverged', (bench) => bench.handle(bye('diverged'))],
    ['protocol', (bench) => bench.hello()],
  ])('by %s, holds every output until it has won the next generation', (cause, lose) => {
    const bench = protectedBench()
    bench.record()
    const effects = lose(bench)
    const report = effects.find((effect) => effect.kind === 'report')
    expect(report).toMatchObject({ report: { type: 'lost-backup', generation: 3, cause } })
    expect(effects).toContainEqual({ kind: 'test-and-set', vm: 'vm', generation: 4, winner: 'p-1' })
    expect(released(effects)).toEqual([])
    expect(released(bench.record())).toEqual([])
    expect(released(bench.ack(1))).toEqual([])
    expect(kinds(bench.store('won', 4))).toEqual(['go-live', 'release-outputs', 'run'])
    expect(released(bench.record())).toEqual([3])
  })

  test('halts when the backup was faster, and nothing follows', () => {
    const bench = protectedBench()
    bench.record()
    bench.handle({ kind: 'channel-closed', connection: CHANNEL })
    const effects = bench.store('lost', 4)
    expect(effects.at(-1)).toEqual({ kind: 'end', reason: 'lost-arbitration' })
    expect(released(effects)).toEqual([])
    expect(bench.record()).toEqual([])
    expect(bench.pass(1_000)).toEqual([])
  })

  test('waits, holding its outputs, for as long as the store cannot be reached', () => {
    const bench = protectedBench()
    bench.record()
    bench.handle({ kind: 'channel-closed', connection: CHANNEL })
    let attempts = 0
    for (let round = 0; round < 100; round++) {
      const effects = [...bench.store('unreachable', 4), ...bench.pass(500)]
      expect(released(effects)).toEqual([])
      attempts += effects.filter(({ kind }) => kind === 'test-and-set').length
    }
    expect(attempts).toBeGreaterThanOrEqual(100)
    expect(released(bench.store('won', 4))).toEqual([1])
  })

  test('takes no other backup in the same generation, and tells it so', () => {
    const bench = protectedBench()
    expect(kinds(bench.hello(2, { ...BACKUP_HELLO, replica: 'b-2' }))).toEqual(['send', 'close-channel'])
    expect(bench.state).toBe('protected')
    bench.handle({ kind: 'channel-closed', connection: CHANNEL })
    expect(kinds(bench.hello(3, { ...BACKUP_HELLO, replica: 'b-2' }))).toEqual(['send', 'close-channel'])
  })

  test('a message on another connection changes nothing', () => {
    const bench = protectedBench()
    bench.record()
    const message = { kind: 'ack', receivedSequence: 1, executedSequence: 1 } as const
    expect(kinds(bench.handle({ kind: 'channel-message', connection: 9, message }))).toEqual([
      'close-channel',
    ])
    expect(bench.handle({ kind: 'channel-closed', connection: 9 })).toEqual([])
    expect(bench.state).toBe('protected')
  })
})

describe('explicit operations', () => {
  test('a power-off ends both sides once its frame is acknowledged, without arbitration', () => {
    const bench = protectedBench()
    const effects = bench.record({ powerOff: true })
    expect(effects).toContainEqual(expect.objectContaining({ kind: 'send-frame', powerOff: true }))
    expect(kinds(effects)).toEqual(['send-frame', 'run'])
    // No lease is needed: a backup that has the end in its log never contends.
    bench.nowMs += 10 * LEASE_MS
    const end = bench.ack(1)
    expect(released(end)).toEqual([1])
    expect(end.at(-1)).toEqual({ kind: 'end', reason: 'power-off' })
  })

  test('a power-off whose acknowledgement never comes is made certain by arbitration', () => {
    const bench = protectedBench()
    bench.record({ powerOff: true })
    bench.handle({ kind: 'channel-closed', connection: CHANNEL })
    const effects = bench.store('won', 4)
    expect(kinds(effects)).toEqual(['go-live', 'release-outputs', 'end'])
  })

  test('stop waits for the backup to confirm, or wins the generation from it', () => {
    const confirmed = protectedBench()
    expect(kinds(confirmed.handle({ kind: 'operation', operation: 'stop' }))).toEqual(['send', 'run'])
    expect(confirmed.byeAck('stop').at(-1)).toEqual({ kind: 'end', reason: 'stopped' })

    const unconfirmed = protectedBench()
    unconfirmed.handle({ kind: 'operation', operation: 'stop' })
    unconfirmed.handle({ kind: 'channel-closed', connection: CHANNEL })
    expect(unconfirmed.store('won', 4).at(-1)).toEqual({ kind: 'end', reason: 'stopped' })

    const tooLate = protectedBench()
    tooLate.handle({ kind: 'operation', operation: 'stop' })
    tooLate.handle({ kind: 'channel-closed', connection: CHANNEL })
    expect(tooLate.store('lost', 4).at(-1)).toEqual({ kind: 'end', reason: 'lost-arbitration' })
  })

  test('unprotect runs on, holds outputs until it is confirmed, then releases them without arbitration', () => {
    const bench = protectedBench()
    bench.record()
    expect(kinds(bench.handle({ kind: 'operation', operation: 'unprotect' }))).toEqual(['send'])
    expect(kinds(bench.record())).toEqual([])
    expect(kinds(bench.byeAck('unprotect'))).toEqual(['close-channel', 'go-live', 'release-outputs'])
    expect(bench.primary.status(bench.nowMs)).toMatchObject({ state: 'alone', generation: 3 })
  })

  test('an operation that is never confirmed is decided by arbitration', () => {
    const bench = protectedBench()
    bench.handle({ kind: 'operation', operation: 'unprotect' })
    for (let waitedMs = 0; waitedMs < CLOSING_MS_MAX; waitedMs += TICK_MS) {
      bench.heartbeat(bench.nowMs)
      bench.pass(TICK_MS)
    }
    expect(bench.state).toBe('arbitrating')
    bench.store('won', 4)
    expect(bench.state).toBe('alone')
  })

  test('failover stops at once, leaves the backup time to win, and ends when it has', () => {
    const bench = protectedBench()
    bench.record()
    expect(kinds(bench.handle({ kind: 'operation', operation: 'failover' }))).toEqual(['send', 'run'])
    expect(released(bench.ack(1))).toEqual([])
    expect(bench.byeAck('failover')).toEqual([])
    bench.handle({ kind: 'channel-closed', connection: CHANNEL })
    expect(bench.state).toBe('closing')
    const effects = bench.pass(FAILOVER_MS_MAX)
    expect(kinds(effects)).toEqual(['close-channel', 'test-and-set'])
    expect(bench.store('lost', 4).at(-1)).toEqual({ kind: 'end', reason: 'failed-over' })
  })

  test('failover to a backup that died takes the machine back', () => {
    const bench = protectedBench()
    bench.record()
    bench.handle({ kind: 'operation', operation: 'failover' })
    bench.pass(FAILOVER_MS_MAX)
    expect(kinds(bench.store('won', 4))).toEqual(['go-live', 'release-outputs', 'run'])
  })
})

describe('bounds', () => {
  test('the machine stalls before the backup’s log buffer is full, and runs again when it is not', () => {
    const bench = protectedBench()
    expect(kinds(bench.record({ byteLength: 501 }))).toEqual(['send-frame', 'run'])
    expect(bench.primary.status(bench.nowMs).stalled).toBe(true)
    expect(kinds(bench.ack(1, 0))).toEqual(['release-outputs'])
    expect(bench.ack(1, 1)).toContainEqual({ kind: 'run', run: true })
  })

  test('the machine stalls when too many outputs are held, until an echo lets them go', () => {
    const bench = protectedBench()
    expect(kinds(bench.record({ outputBytes: OUTPUT_BYTES_MAX }))).toEqual(['send-frame', 'run'])
    bench.nowMs += LEASE_MS + 1
    expect(bench.ack(1, 1)).toEqual([])
    expect(kinds(bench.heartbeat(bench.nowMs - 1))).toEqual(['release-outputs', 'run'])
  })

  test('the machine does not run while it is not known whose it is', () => {
    const bench = protectedBench()
    const effects = bench.handle({ kind: 'channel-closed', connection: CHANNEL })
    expect(effects.at(-1)).toEqual({ kind: 'run', run: false })
    expect(bench.store('won', 4).at(-1)).toEqual({ kind: 'run', run: true })
  })

  test('a backup that lags is waited for by throttling, which ends with the pair', () => {
    const bench = protectedBench()
    const shares: number[] = []
    for (let frames = 1; frames <= 100; frames++) {
      for (const effect of busyBehind(bench, frames, 0))
        if (effect.kind === 'throttle') shares.push(effect.share)
    }
    expect(shares.length).toBeGreaterThan(5)
    expect(shares).toEqual([...shares].sort((a, b) => b - a))
    expect(bench.primary.status(bench.nowMs).share).toBe(PRIMARY_SHARE_MIN)
    const lost = bench.handle({ kind: 'channel-closed', connection: CHANNEL })
    expect(lost).toContainEqual({ kind: 'throttle', share: 1 })
  })

  test('a backup that starves its primary for too long is given up, and its generation contended for', () => {
    const bench = protectedBench()
    const effects: PrimaryEffect[] = []
    for (let frames = 1; bench.state === 'protected' && frames < 10_000; frames++) {
      effects.push(...busyBehind(bench, frames, Math.floor(frames / 50)))
    }
    expect(bench.nowMs - 1_000).toBeGreaterThan(TOO_SLOW_MS_MAX)
    expect(bench.nowMs - 1_000).toBeLessThan(1.2 * TOO_SLOW_MS_MAX)
    const report = effects.findLast(({ kind }) => kind === 'report')
    expect(report).toMatchObject({ report: { type: 'lost-backup', generation: 3, cause: 'too-slow' } })
    expect(bench.state).toBe('arbitrating')
    bench.store('won', 4)
    expect(bench.state).toBe('alone')
    expect(bench.primary.status(bench.nowMs).share).toBe(1)
  })
})

/** A tick in which the machine was busy, and the backup has received all `frames` and executed some. */
function busyBehind(bench: Bench, frames: number, executed: number): PrimaryEffect[] {
  const effects = bench.record({ workMs: TICK_MS, byteLength: 0 })
  effects.push(...bench.ack(frames, executed), ...bench.heartbeat(bench.nowMs), ...bench.pass(TICK_MS))
  return effects
}

/** Heartbeats pass, acknowledgements do not. */
function starve(bench: Bench): PrimaryEffect[] {
  const effects: PrimaryEffect[] = []
  for (let waitedMs = 0; waitedMs <= ACK_MS_MAX; waitedMs += TICK_MS) {
    bench.heartbeat(bench.nowMs)
    effects.push(...bench.pass(TICK_MS))
  }
  return effects
}

function bye(reason: ByeReason): PrimaryEvent {
  return { kind: 'channel-message', connection: CHANNEL, message: { kind: 'bye', reason } }
}
