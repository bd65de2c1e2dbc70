import { describe, expect, test } from 'vitest'
import type { Violation } from '../checkers.ts'
import { type ClusterInjection, NO_CLUSTER_INJECTION } from './injection.ts'
import { type ClusterOutcome, simulateCluster } from './simulation.ts'

describe('seeded clusters', () => {
  test('60 seeds of faults and wishes violate nothing, and are not idle', () => {
    let clones = 0
    let takeovers = 0
    let machines = 0
    let protectedAgain = 0
    for (let seed = 1; seed <= 60; seed++) {
      const outcome = simulateCluster(seed)
      expect(outcome.violation, `npm run sim -- --cluster --seed ${seed}`).toBeNull()
      clones += outcome.clones
      takeovers += outcome.takeovers
      machines += outcome.machines
      if (outcome.protectedAgainMs > 0) protectedAgain++
    }
    expect(clones).toBeGreaterThan(100)
    expect(takeovers).toBeGreaterThan(50)
    expect(machines).toBeGreaterThan(50)
    expect(protectedAgain).toBeGreaterThan(30)
  })

  test('a seed fixes everything: two runs leave the same trace', () => {
    for (const seed of [3, 44]) {
      const [first, second]: [string[], string[]] = [[], []]
      simulateCluster(seed, NO_CLUSTER_INJECTION, (line) => first.push(line))
      simulateCluster(seed, NO_CLUSTER_INJECTION, (line) => second.push(line))
      expect(first.length).toBeGreaterThan(1_000)
      expect(second).toEqual(first)
    }
  })
})

describe('the checkers see the harm when a rule is switched off', () => {
  const cases: readonly [keyof ClusterInjection, Violation['invariant']][] = [
    ['apart', 'placement'],
    ['goneClone', 'protected-again'],
    ['awaited', 'protected-again'],
    ['hostMemory', 'placement'],
  ]
  test.each(cases)('%s', (rule, invariant) => {
    const outcome = firstViolation(400, { ...NO_CLUSTER_INJECTION, [rule]: false })
    expect(outcome, 'no seed of 400 shows it').not.toBeNull()
    expect(outcome!.violation!.invariant).toBe(invariant)
    // The seed is to blame for nothing: with the rule back, it passes.
    expect(simulateCluster(outcome!.seed).violation).toBeNull()
  })
})

function firstViolation(seeds: number, injection: ClusterInjection): ClusterOutcome | null {
  for (let seed = 1; seed <= seeds; seed++) {
    const outcome = simulateCluster(seed, injection)
    if (outcome.violation !== null) return outcome
  }
  return null
}
