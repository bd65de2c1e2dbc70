/**
 * Each hazard that was found or thought of, as a short story told to a calm world. The seeds vary only what the story
 * leaves open: latencies, where a stream tears, at which effect a process stops.
 */
import { describe, expect, test } from 'vitest'
import { encodeMessage } from '../ft/channel-codec.ts'
import { helloOf } from '../ft/handshake.ts'
import { Primary } from '../ft/primary.ts'
import type { Connection } from './connection.ts'
import { OUTSIDE } from './outside.ts'
import { Process } from './process.ts'
import type { Replica } from './replica.ts'
import { type Injection, NO_INJECTION, World } from './world.ts'

const CALM = { latencyMsMin: 0.1, latencyMsMax: 1, loss: 0, duplication: 0, delay: 0 }
const SEEDS = Array.from({ length: 12 }, (_, index) => index + 1)

interface Story {
  readonly world: World
  readonly primary: Replica
  readonly backup: Replica
}

/** A protected pair that has served its clients for 300 ms. */
function begin(seed: number, injection: Partial<Injection> = {}, replayMsMax = 2): Story {
  const world = new World({
    seed,
    injection: { ...NO_INJECTION, ...injection },
    weather: CALM,
    storeLatencyMsMax: 3,
    storeLostAnswers: 0,
    replayMsMax,
  })
  const pair = world.startPair()
  world.run(300)
  expect(stateOf(pair.primary)).toBe('protected')
  expect(world.outside.replies).toBeGreaterThan(3)
  return { world, ...pair }
}

function stateOf(replica: Replica): string {
  return replica.protocol instanceof Primary
    ? replica.protocol.status(0).state
    : replica.protocol.status().state
}

/** Runs until `done`, at most `forMs`; returns how long it took. */
function runUntil(world: World, forMs: number, done: () => boolean): number {
  const begunMs = world.scheduler.nowMs
  while (!done() && world.scheduler.nowMs < begunMs + forMs) world.run(1)
  expect(done(), 'it never came to that').toBe(true)
  return world.scheduler.nowMs - begunMs
}

function cutBothWays(world: World, a: string, b: string): void {
  world.network.cut(a, b)
  world.network.cut(b, a)
}

/** Lets the story end: all heals, one serves, clients get answers, nothing was violated. */
function end({ world }: Story, serving: Replica): void {
  world.calmDown()
  world.run(1_500)
  const before = world.outside.replies
  world.run(400)
  world.checkers.settled(world.outside.replies - before)
  expect(world.checkers.violation).toBeNull()
  expect(world.replicas.filter((replica) => replica.alive && replica.serves)).toEqual([serving])
}

describe.each(SEEDS)('seed %i', (seed) => {
  test('killed five times over, each time after a clone was bound: nothing is lost, and the last clone serves', () => {
    const story = begin(seed)
    let live = story.primary
    let heir = story.backup
    for (let round = 0; round < 5; round++) {
      live.kill(round % 2 === 0)
      runUntil(story.world, 1_500, () => stateOf(heir) === 'alone')
      const copy = story.world.clone(heir, 5 + 40 * round)!
      runUntil(story.world, 1_000, () => copy.boundTo === heir.name)
      expect(stateOf(heir)).toBe('protected')
      live = heir
      heir = copy
    }
    end(story, live)
  })

  test('a copy that lost the primary before it was bound does not take over, although it follows', () => {
    const story = begin(seed)
    story.backup.kill(false)
    runUntil(story.world, 1_000, () => stateOf(story.primary) === 'alone')
    const copy = story.world.clone(story.primary, 50)!
    // Whatever the primary sends does not come through; only the copy is heard.
    story.world.network.stall('primary', copy.name)
    story.world.run(200)
    story.primary.kill(true)
    story.world.run(3_000)
    expect(copy.serves).toBe(false)
    expect(story.world.checkers.violation).toBeNull()
  })

  test('a copy that dies on its way is no loss, and another one becomes the backup', () => {
    const story = begin(seed)
    story.backup.kill(false)
    runUntil(story.world, 1_000, () => stateOf(story.primary) === 'alone')
    const lost = story.world.clone(story.primary, 50)!
    story.world.run(20)
    lost.kill(true)
    story.primary.step({ kind: 'operation', operation: 'unprotect' })
    const copy = story.world.clone(story.primary, 50)!
    runUntil(story.world, 1_000, () => copy.boundTo === 'primary')
    end(story, story.primary)
  })

  test('a killed primary: clients are served again within 300 ms', () => {
    const story = begin(seed)
    story.primary.kill(false)
    const before = story.world.outside.replies
    expect(runUntil(story.world, 1_000, () => story.world.outside.replies > before)).toBeLessThan(300)
    end(story, story.backup)
  })

  test('a dead host sends no end of stream: silence alone is enough', () => {
    const story = begin(seed)
    story.primary.kill(true)
    const before = story.world.outside.replies
    expect(runUntil(story.world, 1_000, () => story.world.outside.replies > before)).toBeLessThan(400)
    end(story, story.backup)
  })

  test('a torn last frame is dropped, and what came before it is replayed', () => {
    const story = begin(seed, {}, 20)
    story.world.network.cut('primary', 'backup')
    story.world.run(30)
    story.primary.resetConnections()
    story.primary.kill(true)
    story.world.network.heal('primary', 'backup')
    end(story, story.backup)
  })

  test('frames that arrive after going live were never received', () => {
    const story = begin(seed)
    story.world.store.setReachable('primary', false)
    story.world.network.cut('primary', 'backup')
    runUntil(story.world, 1_000, () => stateOf(story.backup) === 'alone')
    story.world.network.heal('primary', 'backup')
    end(story, story.backup)
  })

  test('lost acknowledgements: the primary holds its outputs until it has won', () => {
    const story = begin(seed)
    story.world.network.cut('backup', 'primary')
    const before = story.world.outside.replies
    runUntil(story.world, 1_000, () => stateOf(story.primary) !== 'protected')
    expect(story.world.outside.replies - before).toBeLessThanOrEqual(2)
    runUntil(story.world, 1_000, () => stateOf(story.primary) !== 'arbitrating')
    end(story, story.primary)
    expect(story.backup.ended).toBe(true)
  })

  test('both sides race for the generation: one goes on, one ends', () => {
    const story = begin(seed)
    cutBothWays(story.world, 'primary', 'backup')
    runUntil(story.world, 2_000, () => story.primary.ended || story.backup.ended)
    end(story, story.primary.ended ? story.backup : story.primary)
  })

  test('a killed backup: the primary goes on alone at once', () => {
    const story = begin(seed)
    story.backup.kill(false)
    expect(runUntil(story.world, 1_000, () => stateOf(story.primary) === 'alone')).toBeLessThan(30)
    end(story, story.primary)
  })

  test('a primary paused between winning and releasing is still the winner when it wakes', () => {
    const story = begin(seed)
    story.backup.kill(false)
    runUntil(story.world, 100, () => stateOf(story.primary) === 'arbitrating')
    story.primary.pauseAtNextEffect(1_200)
    runUntil(story.world, 100, () => !story.primary.process.up || stateOf(story.primary) === 'alone')
    end(story, story.primary)
  })

  test('a primary stopped for 5 s and continued finds itself void, and has sent nothing', () => {
    const story = begin(seed)
    story.primary.process.pause(5_000)
    runUntil(story.world, 1_000, () => stateOf(story.backup) === 'alone')
    story.world.run(5_000)
    expect(story.world.checkers.violation).toBeNull()
    expect(story.primary.ended).toBe(true)
    end(story, story.backup)
  })

  test('a primary stopped between deciding to release and releasing is kept out by the fence', () => {
    const story = begin(seed)
    story.primary.pauseAtNextEffect(2_000)
    runUntil(story.world, 200, () => !story.primary.process.up)
    story.world.run(2_500)
    end(story, stateOf(story.backup) === 'alone' ? story.backup : story.primary)
  })

  test('the store cannot be reached by the primary: the backup goes live', () => {
    const story = begin(seed)
    story.world.store.setReachable('primary', false)
    cutBothWays(story.world, 'primary', 'backup')
    runUntil(story.world, 2_000, () => stateOf(story.backup) === 'alone')
    expect(story.primary.ended).toBe(false)
    end(story, story.backup)
    expect(story.primary.ended).toBe(true)
  })

  test('the store cannot be reached by the backup: the primary goes on', () => {
    const story = begin(seed)
    story.world.store.setReachable('backup', false)
    cutBothWays(story.world, 'primary', 'backup')
    runUntil(story.world, 2_000, () => stateOf(story.primary) === 'alone')
    expect(story.backup.ended).toBe(false)
    end(story, story.primary)
    expect(story.backup.ended).toBe(true)
  })

  test('the store cannot be reached by anyone: both wait, nothing leaves, and one goes on when it is back', () => {
    const story = begin(seed)
    for (const { name } of story.world.replicas) story.world.store.setReachable(name, false)
    cutBothWays(story.world, 'primary', 'backup')
    story.world.run(400)
    const before = story.world.outside.replies
    story.world.run(3_000)
    expect(story.world.outside.replies).toBe(before)
    expect([stateOf(story.primary), stateOf(story.backup)]).toEqual(['arbitrating', 'arbitrating'])
    story.world.calmDown()
    story.world.run(1_000)
    end(story, story.primary.ended ? story.backup : story.primary)
  })

  test('the channel breaks while both can hear each other: the primary decides, the machine stays', () => {
    const story = begin(seed)
    story.primary.resetConnections()
    runUntil(story.world, 1_000, () => stateOf(story.primary) === 'alone')
    end(story, story.primary)
    expect(story.backup.ended).toBe(true)
  })

  test('the channel breaks and the primary cannot reach the store: the backup waits its time, then goes live', () => {
    const story = begin(seed)
    story.world.store.setReachable('primary', false)
    story.primary.resetConnections()
    runUntil(story.world, 2_000, () => stateOf(story.backup) === 'alone')
    end(story, story.backup)
  })

  test.each([
    ['frames', 'primary', 'backup'],
    ['acknowledgements', 'backup', 'primary'],
  ])('a channel on which %s stall is lost, though heartbeats pass both ways', (_what, from, to) => {
    const story = begin(seed)
    story.world.network.stall(from, to)
    runUntil(story.world, 1_500, () => stateOf(story.primary) === 'alone')
    runUntil(story.world, 1_500, () => story.backup.ended)
    end(story, story.primary)
  })

  test('a hello repeated from an older generation is refused and changes nothing', () => {
    const story = begin(seed)
    const { world } = story
    for (const generation of [0, 0, 1]) {
      const hello = helloOf({
        vm: 'vm',
        generation,
        replica: 'ghost',
        role: 'backup',
        sequence: 0,
        logBytesMax: 1_000,
      })
      const ghost = {
        name: 'ghost',
        host: 'ghost',
        process: new Process(world.scheduler, world.random),
        opened: (connection: Connection) => connection.write(ghost, encodeMessage(hello)),
        received: () => undefined,
        closed: () => undefined,
      }
      world.connect(ghost, story.primary)
      world.connect(ghost, story.backup)
    }
    world.run(200)
    expect(stateOf(story.primary)).toBe('protected')
    end(story, story.primary)
    expect(stateOf(story.backup)).toBe('following')
  })

  test('a backup that is started again is not taken in the same generation', () => {
    const story = begin(seed)
    story.backup.kill(false)
    const another = story.world.add('backup-2', 'backup')
    another.start(story.primary)
    end(story, story.primary)
    expect(another.ended).toBe(true)
  })

  test('a backup that never heard the answer to its hello does not contend', () => {
    const world = new World({
      seed,
      weather: CALM,
      storeLatencyMsMax: 3,
      storeLostAnswers: 0,
      replayMsMax: 2,
    })
    const { primary, backup } = world.startPair()
    // The stream stands; what the primary answers on it never arrives.
    world.network.cut('primary', 'backup')
    runUntil(world, 1_000, () => stateOf(primary) === 'alone')
    expect(stateOf(backup)).toBe('joining')
    world.run(1_000)
    expect(stateOf(backup)).toBe('joining')
    end({ world, primary, backup }, primary)
  })

  test('a power-off in the backup’s log is final, even if the primary dies before it can say more', () => {
    const story = begin(seed)
    story.primary.wantPowerOff()
    runUntil(story.world, 200, () => stateOf(story.backup) === 'ending' || stateOf(story.backup) === 'ended')
    story.primary.kill(false)
    story.world.run(2_000)
    expect(story.backup.ended).toBe(true)
    expect(story.world.checkers.violation).toBeNull()
  })

  test('stop ends both, and is no failure', () => {
    const story = begin(seed)
    story.primary.step({ kind: 'operation', operation: 'stop' })
    story.world.run(2_000)
    expect([story.primary.ended, story.backup.ended]).toEqual([true, true])
    expect(story.world.checkers.violation).toBeNull()
  })

  test('failover moves the machine without a pause to speak of', () => {
    const story = begin(seed)
    story.primary.step({ kind: 'operation', operation: 'failover' })
    const before = story.world.outside.replies
    expect(runUntil(story.world, 1_000, () => story.world.outside.replies > before)).toBeLessThan(120)
    end(story, story.backup)
    expect(story.primary.ended).toBe(true)
  })

  test('unprotect leaves the primary alone, in its generation', () => {
    const story = begin(seed)
    story.primary.step({ kind: 'operation', operation: 'unprotect' })
    end(story, story.primary)
    expect(story.primary.generation).toBe(1)
    expect(story.backup.ended).toBe(true)
  })

  test('a primary cut off from the gateway is not called dead, and its late frames are fenced after a takeover', () => {
    const story = begin(seed)
    cutBothWays(story.world, 'primary', OUTSIDE)
    story.world.run(200)
    expect(stateOf(story.primary)).toBe('protected')
    story.primary.step({ kind: 'operation', operation: 'failover' })
    runUntil(story.world, 1_000, () => stateOf(story.backup) === 'alone')
    end(story, story.backup)
  })
})

test('without the fence, a primary stopped just before it writes does harm when it wakes', () => {
  const harmed = Array.from({ length: 200 }, (_, seed) => seed).some((seed) => {
    const story = begin(seed, { fence: false })
    story.primary.pauseAtNextEffect(2_000)
    return story.world.run(3_000)?.invariant === 'harmless-pause'
  })
  expect(harmed).toBe(true)
})
