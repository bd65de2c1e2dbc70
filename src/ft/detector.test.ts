import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Detector, type Grade } from './detector.ts'
import { GONE_MS_MAX, GONE_MS_MIN, HEARTBEAT_INTERVAL_MS, TICK_MS } from './timing.ts'

/** Ticks on time from `fromMs` on; returns when the first grade other than `fine` and when `gone` came. */
function silence(detector: Detector, fromMs: number): { lateMs: number; goneMs: number } {
  let lateMs = Number.NaN
  for (let nowMs = fromMs + TICK_MS; ; nowMs += TICK_MS) {
    const grade = detector.tick(nowMs)
    if (grade === 'late' && Number.isNaN(lateMs)) lateMs = nowMs - fromMs
    if (grade === 'gone') return { lateMs, goneMs: nowMs - fromMs }
  }
}

/** Heartbeats every `gapMs` for `forMs`, ticks on time; returns all grades. */
function beat(detector: Detector, gapMs: (index: number) => number, forMs: number): Grade[] {
  const grades: Grade[] = []
  let nextBeatMs = gapMs(0)
  for (let nowMs = 1, index = 1; nowMs <= forMs; nowMs++) {
    if (nowMs >= nextBeatMs) {
      detector.heardHeartbeat(nowMs)
      nextBeatMs += gapMs(index++)
    }
    if (nowMs % TICK_MS === 0) grades.push(detector.tick(nowMs))
  }
  return grades
}

describe('the failure detector', () => {
  test('a steady peer that falls silent is late, then gone at the lower bound', () => {
    const detector = new Detector(0)
    expect(beat(detector, () => HEARTBEAT_INTERVAL_MS, 2_000)).not.toContain('late')
    const { lateMs, goneMs } = silence(detector, 2_000)
    expect(goneMs).toBeGreaterThanOrEqual(GONE_MS_MIN)
    expect(goneMs).toBeLessThanOrEqual(GONE_MS_MIN + 2 * TICK_MS)
    expect(lateMs).toBeLessThan(goneMs)
  })

  test('a jittery peer is given more time, within the upper bound', () => {
    const detector = new Detector(0)
    beat(detector, (index) => (index % 4 === 0 ? 250 : 5), 3_000)
    expect(detector.goneMs).toBeGreaterThan(GONE_MS_MIN + 40)
    const { goneMs } = silence(detector, 3_000)
    expect(goneMs).toBeLessThanOrEqual(GONE_MS_MAX + 4 * TICK_MS)
  })

  test('a stall is remembered when the jitter around it is long forgotten', () => {
    const detector = new Detector(0)
    beat(detector, (index) => (index === 10 ? 290 : HEARTBEAT_INTERVAL_MS), 3_000)
    expect(detector.goneMs).toBeGreaterThan(GONE_MS_MIN)
    expect(detector.goneMs).toBeLessThan(1.5 * 290)
  })

  test('it grows strict again when the jitter is over', () => {
    const detector = new Detector(0)
    for (let index = 0; index < 20; index++) detector.heardHeartbeat(index * HEARTBEAT_INTERVAL_MS)
    expect(detector.goneMs).toBe(GONE_MS_MIN)
  })

  test('a host that did not run cannot call the other gone by its first late tick', () => {
    const detector = new Detector(0)
    beat(detector, () => HEARTBEAT_INTERVAL_MS, 500)
    expect(detector.tick(10_500)).toBe('fine')
    // What waited in the socket meanwhile is heard next.
    detector.heardHeartbeat(10_500)
    expect(detector.silenceMs).toBe(0)
  })

  test('traffic on the channel is a sign of life when every heartbeat is lost', () => {
    const detector = new Detector(0)
    for (let nowMs = TICK_MS; nowMs <= 5_000; nowMs += TICK_MS) {
      detector.heardTraffic(nowMs)
      expect(detector.tick(nowMs)).toBe('fine')
    }
  })

  test('the silence it counts is never longer than the real one, and gone comes within bounds', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 90 }), fc.constantFrom('tick', 'heartbeat', 'traffic')), {
          maxLength: 200,
        }),
        (script) => {
          const detector = new Detector(0)
          let nowMs = 0
          let heardMs = 0
          for (const [afterMs, what] of script) {
            nowMs += afterMs
            if (what === 'tick') detector.tick(nowMs)
            else if (what === 'heartbeat') detector.heardHeartbeat(nowMs)
            else detector.heardTraffic(nowMs)
            if (what !== 'tick') heardMs = nowMs
            expect(detector.silenceMs).toBeLessThanOrEqual(nowMs - heardMs)
            expect(detector.goneMs).toBeGreaterThanOrEqual(GONE_MS_MIN)
            expect(detector.goneMs).toBeLessThanOrEqual(GONE_MS_MAX)
          }
        },
      ),
    )
  })
})
