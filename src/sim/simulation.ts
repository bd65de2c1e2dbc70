import type { Violation } from './checkers.ts'
import { FAULTS_MS, planFaults } from './faults.ts'
import { type Injection, NO_INJECTION, World } from './world.ts'

/** Time left to everything under way after the last fault has ended: the longest fault, and every retry. */
const HEAL_MS = 1_500
/** Then clients are watched for this long. */
const WATCH_MS = 400

export interface Outcome {
  readonly seed: number
  readonly violation: Violation | null
  /** When the violation came, in simulated ms; else how long the world ran. */
  readonly simulatedMs: number
  readonly steps: number
  readonly replies: number
  readonly takeovers: number
}

/** Runs the world of one seed to its end or to the first violation. The same seed gives the same outcome, always. */
export function simulate(
  seed: number,
  injection: Injection = NO_INJECTION,
  trace?: (line: string) => void,
): Outcome {
  const world = new World({ seed, injection, ...(trace === undefined ? {} : { trace }) })
  planFaults(world)
  world.startPair()
  world.run(FAULTS_MS)
  if (world.checkers.violation === null) {
    world.calmDown()
    world.run(HEAL_MS)
  }
  if (world.checkers.violation === null) {
    const before = world.outside.replies
    world.run(WATCH_MS)
    if (world.checkers.violation === null) world.checkers.settled(world.outside.replies - before)
  }
  const { violation } = world.checkers
  if (violation !== null) world.note(`!!! ${violation.invariant}: ${violation.detail}`)
  return {
    seed,
    violation,
    simulatedMs: world.scheduler.nowMs,
    steps: world.scheduler.steps,
    replies: world.outside.replies,
    takeovers: world.checkers.takeovers,
  }
}
