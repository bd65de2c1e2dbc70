import { describe, expect, test } from 'vitest'
import { LagControl, PRIMARY_SHARE_MIN } from './lag.ts'
import { SentLog } from './sent-log.ts'
import { LAG_INTERVAL_MS, LAG_LIMIT_MS } from './timing.ts'

/**
 * A primary that makes work at its share of a core and a backup that does `backupSpeed` of a core, for `forMs`.
 * Returns the lag over time.
 */
function simulate(backupSpeed: (nowMs: number) => number, forMs: number): { lagMs: number; share: number }[] {
  const control = new LagControl()
  const sent = new SentLog(0)
  const history: { lagMs: number; share: number }[] = []
  let owedMs = 0
  let executed = 0
  const workMs: number[] = []
  for (let nowMs = 0; nowMs < forMs; nowMs += 10) {
    sent.sent(1_000, nowMs)
    workMs.push(10 * control.share)
    owedMs += 10 * backupSpeed(nowMs)
    while (executed < workMs.length && owedMs >= workMs[executed]!) owedMs -= workMs[executed++]!
    if (executed === workMs.length) owedMs = 0
    sent.acknowledge(sent.lastSequence, executed)
    const lagMs = sent.lagMs(nowMs)
    control.sample(lagMs, nowMs)
    history.push({ lagMs, share: control.share })
  }
  return history
}

describe('lag control', () => {
  test('a backup that keeps up costs the primary nothing', () => {
    const history = simulate(() => 1, 5_000)
    expect(Math.min(...history.map(({ share }) => share))).toBe(1)
    expect(Math.max(...history.map(({ lagMs }) => lagMs))).toBeLessThan(50)
  })

  test.each([
    [0.8, 0.5],
    [0.5, 1],
    // So sudden a loss of speed overshoots: what was made at full speed is still to be replayed.
    [0.2, 4],
  ])('a backup at %s of the speed is never left behind by more than %s limits', (speed, limits) => {
    const history = simulate(() => speed, 60_000)
    expect(Math.max(...history.map(({ lagMs }) => lagMs))).toBeLessThan(limits * LAG_LIMIT_MS)
    // Once it has settled, the lag stays under the limit and the primary runs at about the backup's speed.
    const settled = history.slice(history.length / 2)
    const meanShare = settled.reduce((sum, { share }) => sum + share, 0) / settled.length
    expect(Math.max(...settled.map(({ lagMs }) => lagMs))).toBeLessThan(LAG_LIMIT_MS)
    expect(Math.abs(meanShare - speed)).toBeLessThan(0.1)
  })

  test('full speed comes back when the backup does', () => {
    const history = simulate((nowMs) => (nowMs < 10_000 ? 0.3 : 2), 30_000)
    expect(history[1_000]!.share).toBeLessThan(0.6)
    expect(history.at(-1)!.share).toBe(1)
  })

  test('the share is bounded, and moves once an interval at most', () => {
    const control = new LagControl()
    for (let nowMs = 0; nowMs < 60_000; nowMs += LAG_INTERVAL_MS) control.sample(1e9, nowMs)
    expect(control.share).toBe(PRIMARY_SHARE_MIN)
    expect(control.sample(0, 60_000 - LAG_INTERVAL_MS + 1)).toBeNull()
    expect(control.lift()).toBe(1)
    expect(control.lift()).toBeNull()
  })
})

describe('the log that was sent', () => {
  test('the lag is the age of the oldest frame not executed', () => {
    const sent = new SentLog(40)
    expect(sent.lagMs(500)).toBe(0)
    sent.sent(10, 100)
    sent.sent(10, 200)
    expect(sent.lagMs(500)).toBe(400)
    expect(sent.unackedMs(500)).toBe(400)
    expect(sent.acknowledge(42, 40)).toBe(200)
    expect(sent.unackedMs(500)).toBe(0)
    expect(sent.lagMs(500)).toBe(400)
    expect(sent.acknowledge(42, 41)).toBeNull()
    expect(sent.lagMs(500)).toBe(300)
    expect(sent.unexecutedBytes).toBe(10)
    sent.acknowledge(42, 42)
    expect(sent.lagMs(500)).toBe(0)
    expect(sent.unexecutedBytes).toBe(0)
  })

  test('an acknowledgement that cannot be true is nonsense', () => {
    const sent = new SentLog(0)
    sent.sent(1, 0)
    sent.sent(1, 0)
    expect(sent.acknowledge(3, 0)).toBe('nonsense')
    expect(sent.acknowledge(1, 2)).toBe('nonsense')
    expect(sent.acknowledge(2, 1)).toBe(0)
    expect(sent.acknowledge(1, 1)).toBe('nonsense')
    expect(sent.acknowledge(2, 0)).toBe('nonsense')
  })
})
