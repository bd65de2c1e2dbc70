/**
 * Each hazard of restoring redundancy that was found or thought of, as a short story told to a calm cluster. The seeds vary only what
 * the story leaves open: latencies, how long replicas take to start and states to arrive.
 */
import { describe, expect, test } from 'vitest'
import { Primary } from '../../ft/primary.ts'
import { CLONE_AWAITED_MS_MAX } from '../../ft/timing.ts'
import { CLONE_HOST_GONE_MS } from '../../redundancy/timing.ts'
import { machineOf } from './agent.ts'
import { drain, wish } from './faults.ts'
import type { HostShape } from './host.ts'
import { type ClusterInjection, NO_CLUSTER_INJECTION } from './injection.ts'
import { PROTECTED_AGAIN_MS_MAX } from './simulation.ts'
import { ClusterWorld } from './world.ts'

const GIB = 1024 ** 3
const CALM = { latencyMsMin: 0.1, latencyMsMax: 1, loss: 0, duplication: 0, delay: 0 }
const SEEDS = [1, 2, 3, 4, 5, 6]

function host(name: string, fields: Partial<HostShape> = {}): HostShape {
  return { name, failureDomain: name, memoryBytes: 4 * GIB, ...fields }
}

interface Options {
  readonly hosts?: readonly HostShape[]
  readonly leases?: 'etcd' | 'directory'
  readonly injection?: Partial<ClusterInjection>
  /** The hosts of primary and backup of each machine. */
  readonly pairs?: readonly (readonly [primary: string, backup: string])[]
}

/** Pairs that stand, on hosts that know each other. */
function begin(seed: number, options: Options = {}): ClusterWorld {
  const { hosts = [host('a'), host('b'), host('c')], leases = 'etcd', pairs = [['a', 'b']] } = options
  const shape = { hosts, leases, weather: CALM, storeLatencyMsMax: 3, storeLostAnswers: 0 }
  const world = new ClusterWorld(seed, () => shape, { ...NO_CLUSTER_INJECTION, ...options.injection }, null)
  pairs.forEach(([primary, backup], index) => {
    const name = `vm-${index + 1}`
    world.run({ name, memoryBytes: GIB, primary: world.host(primary), backup: world.host(backup) })
  })
  world.advance(3_000)
  for (const { name } of world.vms) expect(stateOf(world, name).protection).toBe('protected')
  return world
}

function stateOf(world: ClusterWorld, vm = 'vm-1') {
  const resident = world.checker.residentOf(world.vm(vm))
  const machine = resident === null ? null : machineOf(resident)
  if (machine === null) return { primary: null, backup: null, protection: 'gone', cloningTo: null }
  const { host, backupHost, protection, cloningTo } = machine
  return { primary: host, backup: backupHost, protection, cloningTo }
}

/** Runs until `done`, at most `forMs`; returns how long it took. */
function runUntil(world: ClusterWorld, forMs: number, done: () => boolean): number {
  const begunMs = world.scheduler.nowMs
  world.advance(forMs, done)
  expect(world.violation).toBeNull()
  expect(done(), 'it never came to that').toBe(true)
  return world.scheduler.nowMs - begunMs
}

function isProtected(world: ClusterWorld, vm = 'vm-1'): boolean {
  return stateOf(world, vm).protection === 'protected'
}

/** A pair that was broken is one again. */
function untilProtectedAgain(world: ClusterWorld, withinMs = PROTECTED_AGAIN_MS_MAX, vm = 'vm-1'): number {
  const lostMs = runUntil(world, 3_000, () => !isProtected(world, vm))
  return lostMs + runUntil(world, withinMs, () => isProtected(world, vm))
}

function kill(world: ClusterWorld, on: string, vm = 'vm-1'): void {
  world.host(on).resident(vm)!.kill(false)
}

describe.each(SEEDS)('seed %i', (seed) => {
  test('a killed backup is made anew within two seconds: its end wakes the agent', () => {
    const world = begin(seed)
    kill(world, 'b')
    expect(untilProtectedAgain(world)).toBeLessThan(2_500)
  })

  test.each(['etcd', 'directory'] as const)(
    'a host without power is placed on no longer: leases in %s',
    (leases) => {
      const world = begin(seed, { leases })
      world.host('a').die()
      untilProtectedAgain(world)
      expect(stateOf(world)).toMatchObject({ primary: 'b', backup: 'c' })
    },
  )

  test('the agent dies between starting a replica and having the machine cloned onto it: the place is free again', () => {
    const story = (injection: Partial<ClusterInjection>) => {
      // The only place there is.
      const world = begin(seed, { hosts: [host('a'), host('b')], injection })
      kill(world, 'b')
      world.advance(3_000, () => world.host('b').resident('vm-1') !== null)
      world.host('a').killAgent()
      world.advance(1_000)
      world.host('a').startAgent()
      world.advance(PROTECTED_AGAIN_MS_MAX + CLONE_AWAITED_MS_MAX, () => isProtected(world))
      return isProtected(world)
    }
    expect(story({})).toBe(true)
    expect(story({ awaited: false })).toBe(false)
  })

  test('the host of a clone loses its power, and the connection does not tell: it is given up', () => {
    const story = (injection: Partial<ClusterInjection>) => {
      const world = begin(seed, { hosts: ['a', 'b', 'c', 'd'].map((name) => host(name)), injection })
      kill(world, 'b')
      const isOnItsWay = () => {
        const { cloningTo } = stateOf(world)
        return cloningTo !== null && world.host(cloningTo).resident('vm-1')?.replica != null
      }
      runUntil(world, 3_000, isOnItsWay)
      world.host(stateOf(world).cloningTo!).die()
      world.advance(PROTECTED_AGAIN_MS_MAX + CLONE_HOST_GONE_MS, () => isProtected(world))
      return isProtected(world)
    }
    expect(story({})).toBe(true)
    expect(story({ goneClone: false })).toBe(false)
  })

  test('an order is lost with a host that comes back at once without it: the connection is known no more', () => {
    const world = begin(seed, { hosts: [host('a'), host('b')] })
    kill(world, 'b')
    runUntil(world, 3_000, () => world.host('b').resident('vm-1') !== null)
    world.host('b').die()
    world.host('b').return()
    runUntil(world, PROTECTED_AGAIN_MS_MAX + 10_000, () => isProtected(world))
  })

  test('two machines of one host need a backup, and a host has room for one: it gets one', () => {
    const hosts = [host('a'), host('b'), host('c', { memoryBytes: GIB })]
    const world = begin(seed, {
      hosts,
      pairs: [
        ['a', 'b'],
        ['a', 'b'],
      ],
    })
    world.host('b').die()
    world.advance(PROTECTED_AGAIN_MS_MAX)
    expect(world.violation).toBeNull()
    expect(['vm-1', 'vm-2'].filter((vm) => isProtected(world, vm)).length).toBe(1)
  })

  test('two hosts place a backup on the same third one at once: it takes no more than it has memory for', () => {
    const story = (injection: Partial<ClusterInjection>) => {
      const hosts = [host('a'), host('b'), host('c'), host('d', { memoryBytes: GIB })]
      const world = begin(seed, {
        hosts,
        pairs: [
          ['a', 'c'],
          ['b', 'c'],
        ],
        injection,
      })
      world.host('c').die()
      world.advance(PROTECTED_AGAIN_MS_MAX)
      return world
    }
    expect(story({}).violation).toBeNull()
  })

  test('a machine that hands over is not cloned meanwhile: its new primary finds the host free', () => {
    const world = begin(seed)
    const { replica } = world.host('a').resident('vm-1')!
    replica!.step({ kind: 'operation', operation: 'failover' })
    // Whatever happens makes agents look just now.
    for (const each of world.hosts) each.agent!.look()
    runUntil(world, 3_000, () => stateOf(world).primary === 'b')
    expect(runUntil(world, 4_000, () => isProtected(world))).toBeLessThan(3_000)
    expect(stateOf(world).backup).toBe('c')
  })

  test('after handing over between two hosts the old primary’s place is tried again when it is gone, not ten seconds later', () => {
    const world = begin(seed, { hosts: [host('a'), host('b')] })
    world.host('a').resident('vm-1')!.replica!.step({ kind: 'operation', operation: 'failover' })
    expect(untilProtectedAgain(world)).toBeLessThan(5_000)
    expect(stateOf(world)).toMatchObject({ primary: 'b', backup: 'a' })
  })

  test('a host that was asked for and is full: the machine is protected elsewhere, and a pair is not parted for it', () => {
    const hosts = [host('a'), host('b'), host('c'), host('d', { memoryBytes: GIB / 2 })]
    const world = begin(seed, { hosts })
    wish(world, world.vm('vm-1'), { backup: 'd' })
    world.advance(5_000)
    expect(isProtected(world)).toBe(true)
    kill(world, 'b')
    untilProtectedAgain(world)
    expect(stateOf(world).backup).not.toBe('d')
  })

  test('a drained host is left by both kinds of replicas, and no machine is lost', () => {
    const world = begin(seed, {
      pairs: [
        ['a', 'b'],
        ['b', 'a'],
      ],
    })
    drain(world, world.host('a'), true)
    runUntil(world, 15_000, () => world.host('a').residents.length === 0)
    runUntil(world, 5_000, () => ['vm-1', 'vm-2'].every((vm) => isProtected(world, vm)))
    world.checker.machinesLive(new Set(['vm-1', 'vm-2']))
    expect(world.violation).toBeNull()
  })

  test('a primary that is moved to a third host goes there, and its clients notice nothing else', () => {
    const world = begin(seed)
    wish(world, world.vm('vm-1'), { primary: 'c' })
    runUntil(world, 10_000, () => stateOf(world).primary === 'c' && isProtected(world))
    expect(world.registry.wishes.get('vm-1')).toMatchObject({ primary: null })
  })

  test('whoever ordered a clone calls it off late, when it is live: it is not ended by that', () => {
    const world = begin(seed)
    kill(world, 'b')
    untilProtectedAgain(world)
    world.advance(100)
    const { backup } = stateOf(world)
    const resident = world.host(backup!).resident('vm-1')!
    kill(world, 'a')
    runUntil(world, 2_000, () => stateOf(world).primary === backup)
    resident.abandon()
    resident.breakOff()
    world.advance(1_000)
    expect(resident.replica!.protocol).toBeInstanceOf(Primary)
    expect(resident.process.up).toBe(true)
  })
})

test('without its check a host takes more than it has memory for', () => {
  const isFull = SEEDS.concat([7, 8, 9, 10, 11, 12]).some((seed) => {
    const hosts = [host('a'), host('b'), host('c'), host('d', { memoryBytes: GIB })]
    const world = begin(seed, {
      hosts,
      pairs: [
        ['a', 'c'],
        ['b', 'c'],
      ],
      injection: { hostMemory: false },
    })
    world.host('c').die()
    world.advance(PROTECTED_AGAIN_MS_MAX)
    return world.violation?.invariant === 'placement'
  })
  expect(isFull).toBe(true)
})
