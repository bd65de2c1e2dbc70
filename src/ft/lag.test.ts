import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { LagControl, PRIMARY_SHARE_MIN } from './lag.ts'
import { SentLog } from './sent-log.ts'
import { type Moment, type Plant, runLaggingPair } from './testing/lagging-pair.ts'
import { LAG_INTERVAL_MS, LAG_LIMIT_MS } from './timing.ts'

/** From a change of the backup's speed until what is left of it is noise. */
const SETTLED_MS = 12_000
const RECOVERED_MS = 5_000

/** Everything about a pair but how fast it is and when it has work. */
const circumstances = fc.record({
  seed: fc.integer({ min: 1, max: 2 ** 31 - 2 }),
  delayMs: fc.double({ min: 0.1, max: 20, noNaN: true }),
  jitterMs: fc.double({ min: 0, max: 20, noNaN: true }),
  paceError: fc.double({ min: 0.92, max: 1.05, noNaN: true }),
  replayNoise: fc.double({ min: 0, max: 0.8, noNaN: true }),
})

type Circumstances = typeof circumstances extends fc.Arbitrary<infer T> ? T : never

function history(
  { seed, ...rest }: Circumstances,
  backupSpeed: Plant['backupSpeed'],
  forMs: number,
  isBusy: Plant['isBusy'] = () => true,
): Moment[] {
  // Park and Miller's generator: a run is its seed.
  let state = seed
  const random = () => {
    state = (state * 48_271) % 2_147_483_647
    return state / 2_147_483_647
  }
  return runLaggingPair(new LagControl(), { ...rest, backupSpeed, isBusy, random }, forMs)
}

function between(moments: readonly Moment[], fromMs: number, toMs: number): Moment[] {
  return moments.filter(({ nowMs }) => nowMs >= fromMs && nowMs < toMs)
}

function spread(values: readonly number[]): { least: number; mean: number; greatest: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  return { least: Math.min(...values), mean, greatest: Math.max(...values) }
}

const lags = (moments: readonly Moment[]) => spread(moments.map(({ lagMs }) => lagMs))
const shares = (moments: readonly Moment[]) => spread(moments.map(({ share }) => share))

describe('lag control', () => {
  test('a backup that keeps up costs the primary nothing, busy or in bursts', () => {
    fc.assert(
      fc.property(
        circumstances,
        fc.double({ min: 1.1, max: 3, noNaN: true }),
        fc.integer({ min: 100, max: 3_000 }),
        (around, speed, burstMs) => {
          const isBusy = (nowMs: number) => Math.floor(nowMs / burstMs) % 3 < 2
          const moments = history(around, () => speed, 20_000, isBusy)
          expect(shares(moments).least).toBe(1)
        },
      ),
      { numRuns: 30 },
    )
  })

  test('a slow backup is held near the limit: lag and share settle, at the speed of the backup', () => {
    fc.assert(
      fc.property(circumstances, fc.double({ min: 0.15, max: 0.8, noNaN: true }), (around, speed) => {
        const moments = history(around, (nowMs) => (nowMs < 2_000 ? 1 : speed), 40_000)
        const settled = between(moments, 2_000 + SETTLED_MS, 40_000)
        const lag = lags(settled)
        expect(lag.mean).toBeGreaterThan(0.7 * LAG_LIMIT_MS)
        expect(lag.greatest).toBeLessThan(1.15 * LAG_LIMIT_MS)
        expect(lag.greatest - lag.least).toBeLessThan(0.3 * LAG_LIMIT_MS)
        const share = shares(settled)
        expect(Math.abs(share.mean - speed / around.paceError)).toBeLessThan(0.05 * speed)
        expect(share.greatest - share.least).toBeLessThan(0.5 * speed + 0.05)
        // Not even on the way there.
        expect(shares(moments).least).toBeGreaterThan(0.3 * speed)
      }),
      { numRuns: 60 },
    )
  })

  test('a step down overshoots by what was made before it was noticed, and by no more', () => {
    fc.assert(
      fc.property(circumstances, fc.double({ min: 0.2, max: 0.8, noNaN: true }), (around, speed) => {
        const moments = history(around, (nowMs) => (nowMs < 2_000 ? 1.2 : speed), 20_000)
        expect(lags(moments).greatest).toBeLessThan((0.6 / speed + 0.5) * LAG_LIMIT_MS)
      }),
      { numRuns: 40 },
    )
  })

  test('a backup that is freed has the primary at full share within 5 s, and catches up', () => {
    fc.assert(
      fc.property(
        circumstances,
        fc.double({ min: 0.1, max: 0.8, noNaN: true }),
        fc.double({ min: 1.1, max: 2, noNaN: true }),
        (around, slow, free) => {
          const moments = history(around, (nowMs) => (nowMs < 20_000 ? slow : free), 40_000)
          expect(shares(between(moments, 20_000 + RECOVERED_MS, 40_000)).least).toBe(1)
          expect(lags(between(moments, 35_000, 40_000)).greatest).toBeLessThan(LAG_LIMIT_MS / 4)
        },
      ),
      { numRuns: 40 },
    )
  })

  test('a backup exactly as fast as its primary gets rid of its lag, too', () => {
    fc.assert(
      fc.property(circumstances, fc.double({ min: 0.1, max: 0.8, noNaN: true }), (around, slow) => {
        const exact = { ...around, paceError: 1 }
        const moments = history(exact, (nowMs) => (nowMs < 20_000 ? slow : 1), 40_000)
        expect(shares(between(moments, 21_000, 40_000)).least).toBeGreaterThan(0.7)
        expect(lags(between(moments, 30_000, 40_000)).greatest).toBeLessThan(0.25 * LAG_LIMIT_MS)
      }),
      { numRuns: 20 },
    )
  })

  test('bursts before a slow backup stay within the limit, or nearly, and idling is no proof of speed', () => {
    fc.assert(
      fc.property(
        circumstances,
        fc.double({ min: 0.2, max: 0.7, noNaN: true }),
        fc.integer({ min: 300, max: 4_000 }),
        fc.integer({ min: 300, max: 4_000 }),
        (around, speed, busyMs, idleMs) => {
          const isBusy = (nowMs: number) => nowMs < 8_000 || nowMs % (busyMs + idleMs) < busyMs
          const moments = history(around, () => speed, 40_000, isBusy)
          expect(lags(between(moments, SETTLED_MS, 40_000)).greatest).toBeLessThan(1.3 * LAG_LIMIT_MS)
          expect(shares(moments).least).toBeGreaterThan(0.3 * speed)
        },
      ),
      { numRuns: 40 },
    )
  })

  test('the share is bounded, moves once an interval at most, and is whole again for the next backup', () => {
    const control = new LagControl()
    let sentMs = 0
    for (let nowMs = 0; nowMs < 60_000; nowMs += LAG_INTERVAL_MS) {
      sentMs += LAG_INTERVAL_MS
      control.acknowledged(sentMs)
      control.sample({ sentMs, executedMs: 0, waitingMs: sentMs }, nowMs)
    }
    expect(control.share).toBe(PRIMARY_SHARE_MIN)
    expect(control.throttled).toBe(PRIMARY_SHARE_MIN)
    control.sample({ sentMs, executedMs: sentMs, waitingMs: 0 }, 60_000 - 1)
    expect(control.share).toBe(PRIMARY_SHARE_MIN)
    control.lift()
    expect([control.share, control.throttled]).toEqual([1, 1])
    control.sample({ sentMs: 0, executedMs: 0, waitingMs: 0 }, 70_000)
    expect([control.share, control.throttled]).toEqual([1, 1])
  })
})

describe('the log that was sent', () => {
  test('the lag is the age of the oldest frame not executed', () => {
    const sent = new SentLog(40)
    expect(sent.lagMs(500)).toBe(0)
    sent.sent(10, 3, 100)
    sent.sent(10, 2, 200)
    expect(sent.lagMs(500)).toBe(400)
    expect(sent.unackedMs(500)).toBe(400)
    expect(sent.acknowledge(42, 40)).toBe(200)
    expect(sent.unackedMs(500)).toBe(0)
    expect(sent.lagMs(500)).toBe(400)
    expect(sent.acknowledge(42, 41)).toBeNull()
    expect(sent.lagMs(500)).toBe(300)
    expect(sent.unexecutedBytes).toBe(10)
    expect(sent.work).toEqual({ sentMs: 5, executedMs: 3 })
    expect(sent.waitingMs).toBe(2)
    sent.acknowledge(42, 42)
    expect(sent.waitingMs).toBe(0)
    expect(sent.lagMs(500)).toBe(0)
    expect(sent.unexecutedBytes).toBe(0)
  })

  test('an acknowledgement that cannot be true is nonsense', () => {
    const sent = new SentLog(0)
    sent.sent(1, 1, 0)
    sent.sent(1, 1, 0)
    expect(sent.acknowledge(3, 0)).toBe('nonsense')
    expect(sent.acknowledge(1, 2)).toBe('nonsense')
    expect(sent.acknowledge(2, 1)).toBe(0)
    expect(sent.acknowledge(1, 1)).toBe('nonsense')
    expect(sent.acknowledge(2, 0)).toBe('nonsense')
  })
})
