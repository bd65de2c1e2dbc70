import { describe, expect, test } from 'vitest'
import { Arbitration } from './arbitration.ts'
import { ARBITRATION_ATTEMPT_MS_MAX, ARBITRATION_RETRY_MS_MAX, ARBITRATION_RETRY_MS_MIN } from './timing.ts'

const ATTEMPT = { kind: 'test-and-set', vm: 'vm', generation: 7, winner: 'a-1' }

describe('arbitration', () => {
  test('the verdict is the store’s, and says how long it took', () => {
    const arbitration = new Arbitration('vm', 'a-1')
    expect(arbitration.begin(7, 100)).toEqual(ATTEMPT)
    expect(arbitration.answer(7, 'won', 104)).toEqual({ outcome: 'won', generation: 7, durationMs: 4 })
    expect(arbitration.answer(7, 'lost', 105)).toBeNull()
  })

  test('an unreachable store is neither won nor lost: it is asked again, ever less often, for ever', () => {
    const arbitration = new Arbitration('vm', 'a-1')
    arbitration.begin(7, 0)
    let nowMs = 0
    let waitMs = ARBITRATION_RETRY_MS_MIN
    for (let attempt = 0; attempt < 50; attempt++) {
      expect(arbitration.answer(7, 'unreachable', nowMs)).toBeNull()
      expect(arbitration.tick(nowMs + waitMs - 1)).toBeNull()
      nowMs += waitMs
      expect(arbitration.tick(nowMs)).toEqual(ATTEMPT)
      waitMs = Math.min(ARBITRATION_RETRY_MS_MAX, waitMs * 2)
    }
  })

  test('an attempt that is never answered is repeated; a late answer to the first one still counts', () => {
    const arbitration = new Arbitration('vm', 'a-1')
    arbitration.begin(7, 0)
    expect(arbitration.tick(ARBITRATION_ATTEMPT_MS_MAX - 1)).toBeNull()
    expect(arbitration.tick(ARBITRATION_ATTEMPT_MS_MAX)).toEqual(ATTEMPT)
    expect(arbitration.answer(7, 'won', ARBITRATION_ATTEMPT_MS_MAX + 1)?.outcome).toBe('won')
    expect(arbitration.tick(10 * ARBITRATION_ATTEMPT_MS_MAX)).toBeNull()
  })

  test('an answer about another generation decides nothing', () => {
    const arbitration = new Arbitration('vm', 'a-1')
    expect(arbitration.answer(7, 'won', 0)).toBeNull()
    arbitration.begin(7, 0)
    expect(arbitration.answer(6, 'won', 1)).toBeNull()
    expect(arbitration.answer(8, 'lost', 1)).toBeNull()
    expect(arbitration.answer(7, 'lost', 2)?.outcome).toBe('lost')
  })
})
