import { describe, expect, test } from 'vitest'
import type { Violation } from './checkers.ts'
import { type Outcome, simulate } from './simulation.ts'
import { type Injection, NO_INJECTION } from './world.ts'

/** Runs seeds until one violates; a failure names the seed and how to see it. */
function firstViolation(seeds: number, injection: Injection): Outcome | null {
  for (let seed = 1; seed <= seeds; seed++) {
    const outcome = simulate(seed, injection)
    if (outcome.violation !== null) return outcome
  }
  return null
}

describe('seeded worlds', () => {
  test('300 seeds of faults violate nothing, and are not idle', () => {
    let replies = 0
    let takeovers = 0
    let clones = 0
    for (let seed = 1; seed <= 300; seed++) {
      const outcome = simulate(seed)
      expect(outcome.violation, `npm run sim -- --seed ${seed}`).toBeNull()
      replies += outcome.replies
      takeovers += outcome.takeovers
      clones += outcome.clones
    }
    expect(takeovers).toBeGreaterThan(60)
    expect(clones).toBeGreaterThan(60)
    expect(replies).toBeGreaterThan(15_000)
  })

  test('a seed fixes everything: two runs leave the same trace', () => {
    for (const seed of [7, 58, 251]) {
      const [first, second]: [string[], string[]] = [[], []]
      simulate(seed, NO_INJECTION, (line) => first.push(line))
      simulate(seed, NO_INJECTION, (line) => second.push(line))
      expect(first.length).toBeGreaterThan(10)
      expect(second).toEqual(first)
    }
  })
})

describe('the checkers see the harm when a rule is switched off', () => {
  const cases: readonly [keyof Injection, readonly Violation['invariant'][]][] = [
    // A last output that left too early also lets a backup take over a machine that the world saw end.
    ['outputRule', ['output-requirement', 'acknowledged-input', 'explicit-operation']],
    ['testAndSet', ['one-live-machine']],
    ['wholeFrame', ['output-requirement', 'acknowledged-input']],
    ['promise', ['harmless-pause']],
    // Who was not told that it may take over may not have been told either that the machine is paused.
    ['bind', ['output-requirement', 'acknowledged-input', 'control']],
  ]
  test.each(cases)('%s', (rule, invariants) => {
    const outcome = firstViolation(1_000, { ...NO_INJECTION, [rule]: false })
    expect(outcome, 'no seed of 1,000 shows it').not.toBeNull()
    expect(invariants).toContain(outcome!.violation!.invariant)
    // The seed is to blame for nothing: with the rule back, it passes.
    expect(simulate(outcome!.seed).violation).toBeNull()
  })
})
