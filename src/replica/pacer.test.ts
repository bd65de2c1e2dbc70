import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Pacer } from './pacer.ts'

const share = fc.double({ min: 0.05, max: 0.99, noNaN: true })
/** Milliseconds of the pieces of work. */
const pieces = fc.array(fc.double({ min: 0.01, max: 3, noNaN: true }), { minLength: 300, maxLength: 600 })

test('work takes its share of the time, however short the pieces and however long naps last', () => {
  fc.assert(
    fc.property(share, pieces, fc.double({ min: 0, max: 2, noNaN: true }), (wanted, works, oversleptMs) => {
      const pacer = new Pacer()
      pacer.share = wanted
      let nowMs = 1_000
      for (const workMs of works) {
        nowMs += workMs
        pacer.worked(workMs, nowMs)
        const napMs = pacer.waitMs(nowMs)
        if (napMs > 0) nowMs += napMs + oversleptMs
      }
      const workedMs = works.reduce((sum, workMs) => sum + workMs, 0)
      // The first pieces may use up what was left over, and the last nap may be too long.
      const tookMs = nowMs - 1_000
      expect(tookMs).toBeGreaterThan(workedMs / wanted - 5.1)
      expect(tookMs).toBeLessThan(workedMs / wanted + oversleptMs + 0.001)
    }),
  )
})

test('idling saves nothing up', () => {
  const pacer = new Pacer()
  pacer.share = 0.1
  pacer.worked(3, 1_000)
  expect(pacer.waitMs(100_000)).toBe(0)
  pacer.worked(3, 100_003)
  expect(pacer.waitMs(100_003)).toBeCloseTo(22)
})

test('an input is taken in at once, but a flood of them is throttled to the share', () => {
  const pacer = new Pacer()
  pacer.share = 0.05
  pacer.worked(3, 1_000)
  expect(pacer.waitMs(1_000)).toBeGreaterThan(50)
  expect(pacer.waitMs(1_000, true)).toBe(0)
  let nowMs = 1_000
  let workedMs = 0
  while (nowMs < 61_000) {
    nowMs += 3 + pacer.waitMs(nowMs, true)
    workedMs += 3
    pacer.worked(3, nowMs)
  }
  expect(workedMs / 60_000).toBeGreaterThan(0.049)
  expect(workedMs / 60_000).toBeLessThan(0.053)
})

test('a whole share waits for nothing, not even for what was owed', () => {
  const pacer = new Pacer()
  pacer.share = 0.05
  pacer.worked(3, 1_000)
  pacer.share = 1
  expect(pacer.waitMs(1_000)).toBe(0)
  pacer.worked(3, 1_003)
  expect(pacer.waitMs(1_003)).toBe(0)
})
