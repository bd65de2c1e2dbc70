import fc from 'fast-check'
import { expect, test } from 'vitest'
import { DeliveryLedger } from './delivery-ledger.ts'

test('a delivered frame is safe once the entry that logged it, or a later one, is', () => {
  fc.assert(
    fc.property(
      fc.array(fc.boolean(), { maxLength: 60 }),
      fc.integer({ min: 1, max: 5 }),
      (delivered, batch) => {
        const ledger = new DeliveryLedger()
        for (const passedOn of delivered) ledger.delivered(passedOn)
        let passed = delivered.filter(Boolean).length
        let sequence = 0
        while (passed > 0) {
          const count = Math.min(batch, passed)
          passed -= count
          ledger.logged(++sequence, count)
          ledger.logged(++sequence, 0)
        }
        let safe = 0
        for (let through = 1; through <= sequence; through++) {
          const news = ledger.safe(through)
          if (news === null) continue
          expect(news).toBeGreaterThan(safe)
          safe = news
          // Never more than what the entries so far can have logged, dropped ones between them included.
          const logged = delivered.slice(0, safe).filter(Boolean).length
          expect(logged).toBeLessThanOrEqual(Math.ceil(through / 2) * batch)
        }
        // Drops are accounted for with the passed-on frame next to them.
        expect(safe).toBe(delivered.some(Boolean) ? delivered.length : 0)
      },
    ),
  )
})

test('nothing is safe before its entry is acknowledged', () => {
  const ledger = new DeliveryLedger()
  ledger.delivered(true)
  ledger.delivered(true)
  ledger.logged(7, 1)
  expect(ledger.safe(6)).toBeNull()
  expect(ledger.safe(7)).toBe(1)
  expect(ledger.safe(8)).toBeNull()
  ledger.logged(9, 1)
  expect(ledger.safe(20)).toBe(2)
})
