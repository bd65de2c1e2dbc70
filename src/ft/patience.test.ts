import { expect, test } from 'vitest'
import { PRIMARY_SHARE_MIN } from './lag.ts'
import { Patience, SHARE_TOLERABLE_MIN } from './patience.ts'
import { LAG_LIMIT_MS, TICK_MS, TOO_SLOW_MS_MAX } from './timing.ts'

/** Ticks until patience ends, at most `forMs`; returns how long that took, or null. */
function endsAfterMs(
  forMs: number,
  at: (nowMs: number) => { share: number; lagMs: number },
  tickMs = TICK_MS,
): number | null {
  const patience = new Patience()
  for (let nowMs = 0; nowMs <= forMs; nowMs += tickMs) {
    const { share, lagMs } = at(nowMs)
    if (patience.tick(share, lagMs, nowMs)) return nowMs
  }
  return null
}

const LONG_MS = 10 * TOO_SLOW_MS_MAX
const SLOW = { share: PRIMARY_SHARE_MIN, lagMs: 2 * LAG_LIMIT_MS }
const FINE = { share: 0.3, lagMs: LAG_LIMIT_MS }

test('a backup that starves its primary is given up, once that has lasted', () => {
  expect(endsAfterMs(LONG_MS, () => SLOW)).toBe(TOO_SLOW_MS_MAX + TICK_MS)
})

test('a slow backup that leaves enough is kept for ever, and so is one that is not behind', () => {
  expect(endsAfterMs(LONG_MS, () => FINE)).toBeNull()
  expect(endsAfterMs(LONG_MS, () => ({ share: SHARE_TOLERABLE_MIN, lagMs: 10 }))).toBeNull()
})

test('good moments count against bad ones and do not wipe them out', () => {
  const mostlySlow = (nowMs: number) => (nowMs % 1_000 < 800 ? SLOW : FINE)
  expect(endsAfterMs(LONG_MS, mostlySlow)).toBeGreaterThan(TOO_SLOW_MS_MAX * 1.5)
  expect(endsAfterMs(LONG_MS, (nowMs) => (nowMs % 1_000 < 400 ? SLOW : FINE))).toBeNull()
})

test('a primary that was stopped does not count the time against its backup', () => {
  const stopped = TOO_SLOW_MS_MAX
  expect(endsAfterMs(4 * stopped, () => SLOW, stopped)).toBeNull()
})
