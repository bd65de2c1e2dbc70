import { beforeEach, describe, expect, test } from 'vitest'
import type { PlacementHost } from './placement.ts'
import type { Wish } from './reconcile.ts'
import { Restoration, type RestorationEffect, type SeenMachine } from './restoration.ts'
import { AVOID_MS, CLONE_HOST_GONE_MS, OCCUPIED_MS } from './timing.ts'

const GIB = 1024 ** 3
const PROTECT: Wish = { protect: true, primary: null, backup: null }

function host(name: string, memoryBytes = 8 * GIB): PlacementHost {
  const idle = { draining: false, usedBytes: 0, cpus: 4, replicas: 0 }
  return { host: name, failureDomain: name, memoryBytes, ...idle }
}

/** A machine that is alone on host a. */
function alone(vm: string, fields: Partial<SeenMachine> = {}): SeenMachine {
  const place = { host: 'a', failureDomain: 'a', memoryBytes: GIB }
  return {
    vm,
    ...place,
    protection: 'unprotected',
    backupHost: null,
    cloningTo: null,
    wish: PROTECT,
    ...fields,
  }
}

const HOSTS = [host('a'), host('b'), host('c')]

let restoration: Restoration
let nowMs: number
beforeEach(() => {
  restoration = new Restoration()
  nowMs = 1_000
})

function look(): RestorationEffect[] {
  return restoration.handle({ kind: 'look' }, nowMs)
}

function gathered(machines: readonly SeenMachine[], hosts = HOSTS): RestorationEffect[] {
  return restoration.handle({ kind: 'gathered', seen: { machines, hosts } }, nowMs)
}

function see(machines: readonly SeenMachine[], hosts = HOSTS): RestorationEffect[] {
  look()
  return gathered(machines, hosts)
}

const taken = (number: number) => restoration.handle({ kind: 'taken', number }, nowMs)
const failed = (number: number, isOccupied = false) =>
  restoration.handle({ kind: 'failed', number, isOccupied }, nowMs)

function clones(effects: readonly RestorationEffect[]): string[] {
  return effects.flatMap((effect) =>
    effect.kind === 'take' && effect.step.kind === 'clone' ? [`${effect.vm} to ${effect.step.to}`] : [],
  )
}

const kinds = (effects: readonly RestorationEffect[]) => effects.map(({ kind }) => kind)

describe('looking', () => {
  test('happens once more, and once only, when it was asked for meanwhile', () => {
    expect(kinds(look())).toEqual(['gather'])
    expect(look()).toEqual([])
    expect(look()).toEqual([])
    expect(kinds(gathered([]))).toEqual(['gather'])
    expect(gathered([])).toEqual([])
  })

  test('goes on when nothing was to be had', () => {
    look()
    look()
    expect(kinds(restoration.handle({ kind: 'gathered', seen: null }, nowMs))).toEqual(['gather'])
  })
})

describe('steps', () => {
  test('of machines that need the same room: what the first is promised, the second does not get', () => {
    const effects = see([alone('one'), alone('two')], [host('a'), host('b', GIB)])
    expect(clones(effects)).toEqual(['one to b'])
    expect(effects).toContainEqual(
      expect.objectContaining({
        kind: 'decided',
        vm: 'two',
        step: expect.objectContaining({ kind: 'wait' }),
      }),
    )
  })

  test('spread over hosts although none of them shows yet', () => {
    expect(clones(see([alone('one'), alone('two')]))).toEqual(['one to b', 'two to c'])
  })

  test('are taken one at a time for each machine, and hold up no other', () => {
    expect(clones(see([alone('one')]))).toEqual(['one to b'])
    expect(clones(see([alone('one'), alone('two')]))).toEqual(['two to c'])
  })

  test('are not decided by what was seen before the last one ended', () => {
    see([alone('one')])
    look()
    taken(1)
    // It was alone when this was gathered; meanwhile it is being cloned.
    const effects = gathered([alone('one')])
    expect(clones(effects)).toEqual([])
    expect(kinds(effects)).toEqual(['gather'])
    expect(clones(gathered([alone('one', { cloningTo: 'b' })]))).toEqual([])
  })

  test('that cannot be taken are said once', () => {
    const only = [host('a')]
    expect(kinds(see([alone('one')], only))).toEqual(['decided'])
    expect(see([alone('one')], only)).toEqual([])
  })

  test('make forgotten the places that were wished and are there', () => {
    const pair = {
      protection: 'protected',
      backupHost: 'b',
      wish: { ...PROTECT, primary: 'a', backup: 'b' },
    } as const
    expect(see([alone('one', pair)])).toEqual([{ kind: 'met', vm: 'one', primary: true, backup: true }])
  })
})

describe('a host at which a clone failed', () => {
  test('is avoided for this machine and for a time, when it was refused there', () => {
    see([alone('one')])
    failed(1)
    expect(clones(gathered([alone('one'), alone('two')]))).toEqual(['one to c', 'two to b'])
    nowMs += AVOID_MS
    expect(restoration.avoided('one', nowMs)).toEqual(new Set())
  })

  test('is avoided for a moment when it was occupied', () => {
    see([alone('one')])
    failed(1, true)
    expect(restoration.avoided('one', nowMs)).toEqual(new Set(['b']))
    nowMs += OCCUPIED_MS
    expect(restoration.avoided('one', nowMs)).toEqual(new Set())
  })

  test('is avoided when the clone began and nothing came of it', () => {
    see([alone('one')])
    taken(1)
    gathered([alone('one', { cloningTo: 'b' })])
    expect(clones(see([alone('one')]))).toEqual(['one to c'])
  })

  test('is not, when the machine has left meanwhile and comes back alone: it was its backup that went live', () => {
    see([alone('one')])
    taken(1)
    gathered([])
    expect(clones(see([alone('one')]))).toEqual(['one to b'])
  })

  test('is not, when the machine got its backup there and gives it up again', () => {
    see([alone('one')])
    taken(1)
    gathered([alone('one', { protection: 'protected', backupHost: 'b' })])
    expect(restoration.avoided('one', nowMs)).toEqual(new Set())
  })
})

describe('a host that is gone', () => {
  const rest = [host('a'), host('c')]

  test('is waited for no longer when it owes an answer; one that comes late changes nothing', () => {
    see([alone('one')])
    expect(clones(see([alone('one')], rest))).toEqual([])
    nowMs += CLONE_HOST_GONE_MS
    expect(kinds(see([alone('one')], rest))).toContain('gather')
    expect(clones(gathered([alone('one')]))).toEqual(['one to c'])
    expect(taken(1)).toEqual([])
  })

  test('takes the clone with it that was on its way there', () => {
    const cloning = alone('one', { cloningTo: 'b' })
    expect(see([cloning], rest)).toEqual([])
    nowMs += CLONE_HOST_GONE_MS - 1
    expect(see([cloning], rest)).toEqual([])
    nowMs += 1
    const gaveUp = expect.objectContaining({
      kind: 'take',
      step: expect.objectContaining({ kind: 'unprotect' }),
    })
    expect(see([cloning], rest)).toContainEqual(gaveUp)
  })

  test('keeps its clone when it answers again in time', () => {
    const cloning = alone('one', { cloningTo: 'b' })
    see([cloning], rest)
    nowMs += CLONE_HOST_GONE_MS - 1
    see([cloning])
    nowMs += 1
    expect(see([cloning], rest)).toEqual([])
  })
})
