/** The managed logging channel as stories told to a calm world: a backup that is too slow, and one that is not quite. */
import { describe, expect, test } from 'vitest'
import { Primary } from '../ft/primary.ts'
import { LAG_LIMIT_MS, TOO_SLOW_MS_MAX } from '../ft/timing.ts'
import type { Replica } from './replica.ts'
import { World } from './world.ts'

const CALM = { latencyMsMin: 0.1, latencyMsMax: 1, loss: 0, duplication: 0, delay: 0 }
const SEEDS = [1, 2, 3, 4]
/** Slices take 2 to 12 ms, replaying one 0.1 to this. */
const QUARTER_SPEED_MS = 56
const HOPELESS_MS = 700

function begin(seed: number): { world: World; primary: Replica; backup: Replica } {
  const weather = { weather: CALM, storeLatencyMsMax: 3, storeLostAnswers: 0 }
  const world = new World({ seed, ...weather, replayMsMax: 2 })
  return { world, ...world.startPair() }
}

function statusOf(replica: Replica) {
  if (!(replica.protocol instanceof Primary)) throw new Error(`${replica.name} is no primary`)
  return replica.protocol.status(replica.process.clockMs)
}

function runUntil(world: World, forMs: number, done: () => boolean): number {
  const begunMs = world.scheduler.nowMs
  while (!done() && world.scheduler.nowMs < begunMs + forMs) world.run(10)
  expect(done(), 'it never came to that').toBe(true)
  return world.scheduler.nowMs - begunMs
}

describe.each(SEEDS)('seed %i', (seed) => {
  test('a backup at a quarter of the speed is kept, held near the limit, and caught up when it is freed', () => {
    const { world, primary } = begin(seed)
    world.run(1_000)
    world.replayMsMax = QUARTER_SPEED_MS
    world.run(TOO_SLOW_MS_MAX)
    for (let looks = 0; looks < 50; looks++) {
      world.run(100)
      const { lagMs, share, state } = statusOf(primary)
      expect(state).toBe('protected')
      expect(lagMs).toBeGreaterThan(LAG_LIMIT_MS / 2)
      expect(lagMs).toBeLessThan(LAG_LIMIT_MS * 1.4)
      expect(share).toBeGreaterThan(0.07)
    }
    world.replayMsMax = 2
    runUntil(world, 5_000, () => statusOf(primary).share === 1)
    world.run(2_000)
    expect(statusOf(primary).lagMs).toBeLessThan(LAG_LIMIT_MS / 5)
    expect(world.checkers.violation).toBeNull()
  })

  test('a hopeless backup is given up, the machine goes on alone, and a copy elsewhere becomes the backup', () => {
    const { world, primary, backup } = begin(seed)
    world.run(1_000)
    world.replayMsMax = HOPELESS_MS
    const tookMs = runUntil(world, 2 * TOO_SLOW_MS_MAX, () => statusOf(primary).state === 'alone')
    expect(tookMs).toBeGreaterThan(TOO_SLOW_MS_MAX)
    expect(statusOf(primary).share).toBe(1)
    expect(primary.generation).toBe(2)
    runUntil(world, 60_000, () => backup.ended)
    world.replayMsMax = 2
    const copy = world.clone(primary, 50)!
    runUntil(world, 1_000, () => copy.boundTo === primary.name)
    world.run(2_000)
    expect(statusOf(primary)).toMatchObject({ state: 'protected', share: 1 })
    world.checkers.settled(1)
    expect(world.checkers.violation).toBeNull()
  })
})
