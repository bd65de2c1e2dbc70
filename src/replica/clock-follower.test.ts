import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ClockFollower } from './clock-follower.ts'
import { TICKS_PER_MS } from './slice-policy.ts'

test('guest time is known to the least delay seen, whatever the other delays and the hosts clocks are', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ gapMs: fc.nat(200), delayMs: fc.double({ min: 0.1, max: 50, noNaN: true }) }), {
        minLength: 1,
        maxLength: 100,
      }),
      fc.integer({ min: -1e9, max: 1e9 }),
      (frames, hostOffsetMs) => {
        const follower = new ClockFollower()
        let guestMs = 0
        let last = 0n
        let leastMs = Number.POSITIVE_INFINITY
        for (const { gapMs, delayMs } of frames) {
          guestMs += gapMs
          last = BigInt(guestMs * TICKS_PER_MS)
          leastMs = Math.min(leastMs, delayMs)
          follower.frameArrived(last, guestMs + delayMs + hostOffsetMs)
        }
        const nowMs = guestMs + 100
        const ticks = Number(follower.guestTicks(nowMs + hostOffsetMs, last))
        const driftMs = (guestMs + 100) * 100e-6
        expect(ticks).toBeLessThanOrEqual(nowMs * TICKS_PER_MS)
        expect(ticks).toBeGreaterThanOrEqual((nowMs - leastMs - driftMs - 0.01) * TICKS_PER_MS)
      },
    ),
  )
})

test('guest time never goes back, and a machine without a frame stays where it is', () => {
  const follower = new ClockFollower()
  expect(follower.guestTicks(123, 77n)).toBe(77n)
  follower.frameArrived(0n, 1000)
  expect(follower.guestTicks(1001, 10_000_000n)).toBe(10_000_000n)
})
