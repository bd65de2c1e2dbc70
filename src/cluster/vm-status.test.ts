import { expect, test } from 'vitest'
import type { ReplicaStatus } from '../replica/status.ts'
import { Refusals, STDERR_LOG } from '../security/refusals.ts'
import type { VmRecord } from './vm-record.ts'
import { vmStatus } from './vm-status.ts'

const record: VmRecord = {
  name: 'web',
  image: 'tiny',
  memoryBytes: 1 << 29,
  mac: '525400000001',
  publish: [],
  protect: true,
  wish: { primary: null, backup: null },
  cloneBytesPerSecond: null,
  generation: 3,
  createdAt: '2026-01-01T00:00:00Z',
}

function replica(fields: Partial<ReplicaStatus>): ReplicaStatus {
  return {
    vm: 'web',
    host: 'host-1',
    pid: 11,
    replica: 'r',
    role: 'primary',
    phase: 'running',
    generation: 3,
    protection: 'protected',
    peer: null,
    memoryBytes: 1 << 29,
    lagMs: 4,
    share: 1,
    paused: false,
    shareMax: 1,
    retired: 1000,
    guestSeconds: 1,
    mips: 1,
    logFrames: 0,
    logBytes: 0,
    channelPort: 0,
    clonePort: 0,
    clone: null,
    heartbeatPort: 0,
    refusals: new Refusals(STDERR_LOG).counts(),
    ...fields,
  }
}

const backup = replica({ role: 'backup', host: 'host-2', pid: 22, phase: 'replaying', lagMs: null })

test('a machine is paused when its primary says so, and limited as its primary says', () => {
  const limited = replica({ paused: true, shareMax: 0.5 })
  expect(vmStatus(record, [backup, limited])).toMatchObject({ state: 'paused', cpuLimit: 0.5 })
  // A backup that knows more than the primary says it does not make it so.
  const told = replica({ ...backup, paused: true, shareMax: 0.5 })
  expect(vmStatus(record, [told, replica({})])).toMatchObject({ state: 'running', cpuLimit: 1 })
  expect(vmStatus(record, [])).toMatchObject({ state: 'stopped', cpuLimit: 1 })
})

test('a pair that stands is protected and has a lag', () => {
  expect(vmStatus(record, [backup, replica({})])).toMatchObject({
    state: 'running',
    protection: 'protected',
    primary: { host: 'host-1', pid: 11 },
    backup: { host: 'host-2', pid: 22 },
    lagMs: 4,
    retired: 1000,
  })
})

test('no replica, or only one that has ended, is stopped', () => {
  const stopped = { state: 'stopped', protection: 'unprotected', primary: null, backup: null, lagMs: null }
  expect(vmStatus(record, [])).toMatchObject(stopped)
  expect(vmStatus(record, [replica({ phase: 'ended' })])).toMatchObject(stopped)
  expect(vmStatus(record, [replica({ vm: 'other' })])).toMatchObject(stopped)
})

test('a backup without its primary is taking over', () => {
  const contending = { ...backup, phase: 'contending', protection: 'unprotected' } as const
  expect(vmStatus(record, [contending])).toMatchObject({ state: 'taking-over', primary: null })
})

test('of two that believe to be primary the newest generation is shown', () => {
  const paused = replica({ generation: 3 })
  const live = replica({ generation: 4, host: 'host-2', pid: 22, protection: 'unprotected', lagMs: null })
  for (const order of [
    [paused, live],
    [live, paused],
  ]) {
    expect(vmStatus(record, order)).toMatchObject({
      generation: 4,
      primary: { host: 'host-2', pid: 22 },
      protection: 'unprotected',
      lagMs: null,
    })
  }
})

test('a pair that is not complete yet is starting', () => {
  const waiting = replica({ phase: 'starting', protection: 'starting', lagMs: null })
  expect(vmStatus(record, [waiting, { ...backup, phase: 'starting' }])).toMatchObject({
    state: 'starting',
    protection: 'starting',
  })
})
