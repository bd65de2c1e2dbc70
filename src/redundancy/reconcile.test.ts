/**
 * The steps are carried out in a small world: whatever hosts come, go and are drained, and whatever is wished, the machine
 * never loses more than its protection, and comes to rest as it is wished if there is a way.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { PlacementHost } from './placement.ts'
import { type LiveMachine, nextStep, type Step, type Wish } from './reconcile.ts'

const GIB = 1024 ** 3
/** More than any chain of moves: unprotect, clone, fail over, clone, and once more when a host is lost. */
const STEPS_MAX = 12

function host(name: string, draining = false): PlacementHost {
  const room = { memoryBytes: 8 * GIB, usedBytes: 0, cpus: 4, replicas: 0 }
  return { host: name, failureDomain: name, draining, ...room }
}

interface World {
  primary: string
  backup: string | null
  wish: Wish
}

/** Looks and acts until nothing is left to do; returns the steps. */
function settle(world: World, hosts: readonly PlacementHost[]): Step[] {
  const steps: Step[] = []
  for (;;) {
    const { primary, backup, wish } = world
    if (wish.primary === primary) world.wish = { ...wish, primary: null }
    if (wish.backup !== null && wish.backup === backup) world.wish = { ...world.wish, backup: null }
    const step = nextStep({
      machine: {
        host: primary,
        failureDomain: primary,
        memoryBytes: GIB,
        protection: backup === null ? 'unprotected' : 'protected',
        backupHost: backup,
        cloningTo: null,
      },
      wish: world.wish,
      hosts,
      avoid: new Set(),
    })
    if (step.kind === 'none' || step.kind === 'wait') return [...steps, step]
    steps.push(step)
    if (steps.length > STEPS_MAX) throw new Error(`no rest: ${JSON.stringify(steps)}`)
    if (step.kind === 'clone') {
      if (backup !== null) throw new Error('a pair was cloned')
      world.backup = step.to
    } else if (step.kind === 'unprotect') world.backup = null
    else {
      if (backup === null) throw new Error('a lone machine was handed over')
      world.primary = backup
      // The old primary ends.
      world.backup = null
    }
  }
}

const kinds = (steps: readonly Step[]) => steps.map(({ kind }) => kind)
const noWish = { primary: null, backup: null }

describe('what is done', () => {
  const hosts = [host('a'), host('b'), host('c')]

  test('a machine that lost its backup gets another', () => {
    const world = { primary: 'a', backup: null, wish: { protect: true, ...noWish } }
    expect(kinds(settle(world, hosts))).toEqual(['clone', 'none'])
    expect(world.backup).toBe('b')
  })

  test('a drained host loses a primary by handing over, and a backup by a new one', () => {
    const drained = [host('a', true), host('b'), host('c')]
    const primary = { primary: 'a', backup: 'b', wish: { protect: true, ...noWish } }
    expect(kinds(settle(primary, drained))).toEqual(['failover', 'clone', 'none'])
    expect(primary).toMatchObject({ primary: 'b', backup: 'c' })
    const backup = { primary: 'b', backup: 'a', wish: { protect: true, ...noWish } }
    expect(kinds(settle(backup, drained))).toEqual(['unprotect', 'clone', 'none'])
    expect(backup).toMatchObject({ primary: 'b', backup: 'c' })
  })

  test('a pair on the last two hosts stays one though both are drained', () => {
    const world = { primary: 'a', backup: 'b', wish: { protect: true, ...noWish } }
    expect(kinds(settle(world, [host('a', true), host('b', true)]))).toEqual(['wait'])
  })

  test('an unprotected machine is moved by a clone, and is unprotected again', () => {
    const world = { primary: 'a', backup: null, wish: { protect: false, primary: 'c', backup: null } }
    expect(kinds(settle(world, hosts))).toEqual(['clone', 'failover', 'none'])
    expect(world).toMatchObject({ primary: 'c', backup: null })
  })

  test('a primary is moved to a third host, and is protected there', () => {
    const world = { primary: 'a', backup: 'b', wish: { protect: true, primary: 'c', backup: null } }
    expect(kinds(settle(world, hosts))).toEqual(['unprotect', 'clone', 'failover', 'clone', 'none'])
    expect(world.primary).toBe('c')
  })
})

/** A machine on host a of rack 1, alone. */
const LONE: LiveMachine = {
  host: 'a',
  failureDomain: 'rack-1',
  memoryBytes: GIB,
  protection: 'unprotected',
  backupHost: null,
  cloningTo: null,
}

test('the failure domains are kept apart also while the own host is not among those that answer', () => {
  const hosts = [{ ...host('b'), failureDomain: 'rack-1' }, host('c')]
  const wish = { protect: true, ...noWish }
  expect(nextStep({ machine: LONE, wish, hosts, avoid: new Set() })).toMatchObject({ kind: 'clone', to: 'c' })
})

test('a machine that parts from its backup is left alone until it is known who is live', () => {
  const hosts = [host('a'), host('b'), host('c')]
  const machine = { ...LONE, backupHost: 'b' }
  const wish = { protect: true, ...noWish }
  expect(nextStep({ machine, wish, hosts, avoid: new Set() })).toEqual({ kind: 'none' })
})

test('a named host at which a clone has just failed does not keep a machine alone', () => {
  const hosts = [host('a'), host('b'), host('c')]
  const wish = { protect: true, primary: null, backup: 'b' }
  const view = { wish, hosts, avoid: new Set(['b']) }
  expect(nextStep({ machine: LONE, ...view })).toMatchObject({ kind: 'clone', to: 'c' })
  const pair = { ...LONE, protection: 'protected', backupHost: 'c' } as const
  expect(nextStep({ machine: pair, ...view })).toMatchObject({ kind: 'wait' })
})

test('whatever hosts there are and whatever is wished, it comes to rest, and protected if a host is there for it', () => {
  const names = ['a', 'b', 'c', 'd']
  const place = fc.constantFrom(null, ...names)
  fc.assert(
    fc.property(
      fc.subarray(names, { minLength: 1 }),
      fc.subarray(names),
      fc.record({ protect: fc.boolean(), primary: place, backup: place }),
      fc.nat(3),
      fc.nat(3),
      (there, draining, wish, first, second) => {
        const hosts = there.map((name) => host(name, draining.includes(name)))
        const primary = there[first % there.length]
        const other = there[second % there.length]
        const world: World = { primary, backup: other === primary ? null : other, wish }
        const last = settle(world, hosts).at(-1)
        expect(world.backup).not.toBe(world.primary)
        const hasPlace = hosts.some(({ host, draining }) => host !== world.primary && !draining)
        if (wish.protect && hasPlace) expect(world.backup, JSON.stringify(last)).not.toBe(null)
        if (!wish.protect && last?.kind === 'none') expect(world.backup).toBe(null)
        // A host that is drained is left if any other is not, unless it was asked for by name.
        const isFree = hosts.some(({ draining }) => !draining)
        const named = [wish.primary, wish.backup]
        if (last?.kind === 'none' && isFree && !named.includes(world.primary)) {
          expect(hosts.find(({ host }) => host === world.primary)?.draining).toBe(false)
        }
      },
    ),
    { numRuns: 2000 },
  )
})
