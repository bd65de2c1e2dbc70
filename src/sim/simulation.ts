import { UNCONTROLLED } from '../ft/control.ts'
import type { Violation } from './checkers.ts'
import { FAULTS_MS, planFaults } from './faults.ts'
import { type Injection, NO_INJECTION, World } from './world.ts'

/** Time left to everything under way after the last fault has ended: the longest fault, and every retry. */
const HEAL_MS = 1_500
/** A machine that is alone then is cloned onto a spare host, and is protected again within this time. */
const RESTORE_MS_MAX = 1_000
const RESTORE_LOOK_MS = 20
const TRANSFER_MS_MAX = 200
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
  /** Copies of a machine that became its backup. */
  readonly clones: number
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
  restore(world)
  resume(world)
  if (world.checkers.violation === null) {
    const before = world.outside.replies
    world.run(WATCH_MS)
    if (world.checkers.violation === null) world.checkers.settled(world.outside.replies - before, true)
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
    clones: world.replicas.filter(({ isClone, wasBound }) => isClone && wasBound).length,
  }
}

/** A machine that is paused answers nobody, which is no fault: whoever paused it lets it go on. */
function resume(world: World): void {
  for (const replica of world.replicas) {
    if (replica.alive && replica.serves) replica.step({ kind: 'control', change: UNCONTROLLED })
  }
}

/** What a cluster does that has a spare host: clones until the machine has a backup again. */
function restore(world: World): void {
  const untilMs = world.scheduler.nowMs + RESTORE_MS_MAX
  while (world.checkers.violation === null && world.scheduler.nowMs < untilMs) {
    giveUpDeadCandidates(world)
    const alone = world.replicas.find(({ alive, isAlone }) => alive && isAlone)
    if (alone !== undefined) world.clone(alone, world.random.magnitude(1, TRANSFER_MS_MAX))
    world.run(RESTORE_LOOK_MS)
  }
}

/** Who started a copy sees its host die, and says so: the primary itself would wait for it much longer. */
function giveUpDeadCandidates(world: World): void {
  for (const replica of world.replicas) {
    const candidate = world.replicas.find(({ name }) => name === replica.candidate)
    if (!replica.alive || candidate === undefined || candidate.alive) continue
    replica.step({ kind: 'operation', operation: 'unprotect' })
  }
}
