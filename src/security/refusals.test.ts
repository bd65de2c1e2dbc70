import fc from 'fast-check'
import { expect, test } from 'vitest'
import { LOG_INTERVAL_MS, REFUSAL_REASONS, refusalCountsSchema } from './refusals.ts'
import { testRefusals } from './testing/clusters.ts'

test('every refusal is counted, and every one stands in some line as soon as its reason may have a line', () => {
  const event = fc.record({
    reason: fc.constantFrom(...REFUSAL_REASONS),
    afterMs: fc.nat({ max: LOG_INTERVAL_MS }),
  })
  fc.assert(
    fc.property(fc.array(event, { maxLength: 200 }), (events) => {
      let nowMs = 0
      const { refusals, lines } = testRefusals(() => nowMs)
      const expected = new Map<string, number>()
      const last = new Map<string, number>()
      for (const { reason, afterMs } of events) {
        nowMs += afterMs
        const before = lines.length
        refusals.count(reason, '192.0.2.1', 'detail')
        expected.set(reason, (expected.get(reason) ?? 0) + 1)
        const due = nowMs - (last.get(reason) ?? Number.NEGATIVE_INFINITY) >= LOG_INTERVAL_MS
        expect(lines.length - before).toBe(due ? 1 : 0)
        if (!due) continue
        last.set(reason, nowMs)
        const logged = lines.filter((line) => 'refusal' in line && line.refusal === reason)
        const sum = logged.reduce((total, line) => total + (line as { count: number }).count, 0)
        expect(sum).toBe(expected.get(reason))
      }
      const counts = refusalCountsSchema.parse(refusals.counts())
      for (const reason of REFUSAL_REASONS) expect(counts[reason]).toBe(expected.get(reason) ?? 0)
    }),
  )
})

test('text from outside is cut in the log', () => {
  const { refusals, lines } = testRefusals()
  refusals.count('plain-text', undefined, 'x'.repeat(100_000))
  expect(JSON.stringify(lines).length).toBeLessThan(500)
})
