import fc from 'fast-check'
import { expect, test } from 'vitest'
import { SLICE_INSTRUCTIONS_MAX, SLICE_MS_MAX, SlicePolicy, TICKS_PER_MS } from './slice-policy.ts'

/** Runs slices of a machine that retires `speed` instructions a millisecond, as the driver would. */
function simulate(speeds: readonly number[], slices: number) {
  let hostMs = 1000
  let guest = 500n
  const policy = new SlicePolicy(hostMs, guest)
  const trail: { aheadTicks: number; behindTicks: number; clock: bigint; sliceMs: number }[] = []
  for (let i = 0; i < slices; i++) {
    const speed = speeds[Math.floor((i / slices) * speeds.length)]
    const plan = policy.plan(hostMs, guest)
    expect(plan.clock).toBeGreaterThanOrEqual(guest)
    let retired = 0
    let elapsedMs = 0
    while (retired < plan.budget && elapsedMs < SLICE_MS_MAX) {
      const run = Math.min(plan.runBudget, plan.budget - retired)
      retired += run
      elapsedMs += run / speed
    }
    guest = plan.clock + (BigInt(retired) * BigInt(plan.clockRate)) / 2n ** 32n
    hostMs += elapsedMs
    policy.measured(retired, elapsedMs)
    const host = policy.hostTicks(hostMs)
    trail.push({
      aheadTicks: Number(guest - host),
      behindTicks: Number(host - guest),
      clock: guest,
      sliceMs: elapsedMs,
    })
  }
  return trail
}

test('guest time tracks host time at any steady speed and never stays ahead', () => {
  fc.assert(
    fc.property(fc.integer({ min: 2_000, max: 2_000_000 }), (speed) => {
      const settled = simulate([speed], 200).slice(60)
      for (const slice of settled) {
        expect(slice.aheadTicks).toBeLessThan(0.5 * TICKS_PER_MS)
        expect(slice.behindTicks).toBeLessThan(2 * SLICE_MS_MAX * TICKS_PER_MS)
      }
    }),
  )
})

test('a sudden change of speed puts guest time ahead only for a while, and never back', () => {
  const trail = simulate([400_000, 20_000, 400_000, 5_000_000], 4000)
  for (let i = 1; i < trail.length; i++) {
    expect(trail[i].clock).toBeGreaterThanOrEqual(trail[i - 1].clock)
  }
  expect(trail.at(-1)!.aheadTicks).toBeLessThan(0.5 * TICKS_PER_MS)
})

test('slices are bounded in instructions and, once the speed is known, in time', () => {
  const fast = new SlicePolicy(0, 0n)
  for (let i = 0; i < 50; i++) fast.measured(2e9, 100)
  expect(fast.plan(1, 0n).budget).toBe(SLICE_INSTRUCTIONS_MAX)
  for (const slice of simulate([10_000], 200).slice(60)) expect(slice.sliceMs).toBeLessThan(SLICE_MS_MAX + 1)
})

test('an idle machine sleeps until its timer and not at all past it', () => {
  const policy = new SlicePolicy(100, 0n)
  expect(policy.idleMs(100, null)).toBe(Number.POSITIVE_INFINITY)
  expect(policy.idleMs(100, BigInt(7 * TICKS_PER_MS))).toBe(7)
  expect(policy.idleMs(200, BigInt(7 * TICKS_PER_MS))).toBe(0)
})
