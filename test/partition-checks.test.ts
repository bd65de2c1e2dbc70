/** Every promise that is checked after partitions can be broken: evidence that is right, and changed in one place. */
import { describe, expect, it } from 'vitest'
import type { UnderstudyEvent } from '../src/replica/event-log.ts'
import type { CounterOperation } from './history.ts'
import { brokenPromises, type Evidence } from './partition-checks.ts'

function event(type: UnderstudyEvent['type'], host: string, details: object = {}): UnderstudyEvent {
  return { time: '2026-01-01T00:00:00.000Z', vm: 'vm', type, host, ...details }
}

function counter(
  kind: 'increment' | 'read',
  callMs: number,
  value: number | null,
  key = 'counter:0',
): CounterOperation {
  return {
    ...{ process: `c${callMs % 2}`, key, request: { kind }, callMs },
    returnMs: value === null ? null : callMs + 1,
    result: value === null ? null : { value },
  }
}

/** h1 began, h2 took over and got h3 for a backup; one increment was never answered and has happened. */
const RIGHT: Evidence = {
  vm: 'vm',
  history: {
    counters: [
      counter('increment', 0, 1),
      counter('increment', 2, 2),
      counter('increment', 4, null),
      counter('increment', 6, 4),
      counter('read', 8, 4),
    ],
    registers: [
      {
        ...{
          process: 'c0',
          key: 'register:0',
          request: { kind: 'write', value: 'a' },
          callMs: 0,
          returnMs: 1,
        },
        result: { kind: 'written' },
      },
      {
        ...{ process: 'c0', key: 'register:0', request: { kind: 'read' }, callMs: 2, returnMs: 3 },
        result: { kind: 'read', value: 'a' },
      },
    ],
    breaks: [],
  },
  events: [
    event('started', 'h1', { generation: 1 }),
    event('protected', 'h1', { generation: 1, backup: 'h2/x' }),
    event('protected', 'h2', { generation: 1, primary: 'h1/x' }),
    event('lost-primary', 'h2', { generation: 1 }),
    event('went-live', 'h2', { generation: 2 }),
    event('unprotected', 'h2', { generation: 2 }),
    event('halted', 'h1', { generation: 1 }),
    event('protected', 'h2', { generation: 2, backup: 'h3/x' }),
    // What happens to other machines and to hosts is no matter here.
    { ...event('diverged', 'h1'), vm: 'other' },
    { ...event('went-live', 'h1', { generation: 2 }), vm: 'other' },
  ],
  generations: [
    { generation: 1, winner: 'h1/x' },
    { generation: 2, winner: 'h2/x' },
  ],
  status: {
    ...{ state: 'running', protection: 'protected', generation: 2 },
    ...{ primary: { host: 'h2' }, backup: { host: 'h3' } },
  },
}

const withEvents = (...events: UnderstudyEvent[]): Evidence => ({
  ...RIGHT,
  events: [...RIGHT.events, ...events],
})
const withCounters = (counters: readonly CounterOperation[]): Evidence => ({
  ...RIGHT,
  history: { ...RIGHT.history, counters },
})
const withStatus = (changed: Partial<Evidence['status']>): Evidence => ({
  ...RIGHT,
  status: { ...RIGHT.status, ...changed },
})

it('finds nothing where nothing is', () => {
  expect(brokenPromises(RIGHT)).toEqual([])
})

describe('finds', () => {
  const { counters } = RIGHT.history
  const cases: readonly (readonly [string, Evidence, RegExp[]])[] = [
    [
      'an acknowledged increment that is lost',
      withCounters([...counters.slice(0, 3), counter('increment', 6, 2), counter('read', 8, 2)]),
      [/^counter:0: not linearizable/, /^counter:0: 1 acknowledged increments are lost$/],
    ],
    [
      'an increment that was done twice',
      withCounters([...counters.slice(0, 2), counter('increment', 6, 4), counter('read', 8, 4)]),
      [/^counter:0: not linearizable/, /^counter:0: 1 increments are too many$/],
    ],
    [
      'a counter that nobody read at the end',
      withCounters(counters.slice(0, 4)),
      [/^counter:0: was not read at the end$/],
    ],
    [
      'a counter whose last read came before its last increment',
      withCounters([...counters, counter('increment', 10, 5)]),
      [/^counter:0: was not read at the end$/],
    ],
    [
      'a stale read of a register',
      {
        ...RIGHT,
        history: {
          ...RIGHT.history,
          registers: RIGHT.history.registers.with(1, {
            ...RIGHT.history.registers[1],
            result: { kind: 'read', value: null },
          }),
        },
      },
      [/^register:0: not linearizable/],
    ],
    [
      'a connection that broke',
      {
        ...RIGHT,
        history: {
          ...RIGHT.history,
          breaks: [{ kind: 'break', process: 'c1', atMs: 5, why: 'reset', detail: 'ECONNRESET' }],
        },
      },
      [/^client c1: reset at 5 ms \(ECONNRESET\)$/],
    ],
    [
      'a replica that went live in a generation that another won',
      withEvents(event('went-live', 'h3', { generation: 1 })),
      [/^h3 says went-live in generation 1, which h1 won$/],
    ],
    [
      'one that goes on alone in a generation that nobody won',
      { ...withEvents(event('unprotected', 'h1', { generation: 3 })) },
      [/^h1 says unprotected in generation 3, which nobody won$/],
    ],
    [
      'a primary that has a backup in a generation that another won',
      withEvents(event('protected', 'h1', { generation: 2, backup: 'h3/y' })),
      [/^h1 says protected in generation 2, which h2 won$/],
    ],
    [
      'two takeovers in one generation, on one host even',
      withEvents(event('went-live', 'h2', { generation: 2 })),
      [/^h2 and h2 went live in generation 2$/],
    ],
    [
      'a generation that was skipped',
      { ...RIGHT, generations: [...RIGHT.generations, { generation: 4, winner: 'h2/x' }] },
      [/^generations are not one after the other: 1,2,4$/, /^at the end/],
    ],
    [
      'a store that knows nothing',
      { ...RIGHT, generations: [] },
      [/says/, /says/, /says/, /says/, /knows no/, /at the end/],
    ],
    ['a backup that diverged', withEvents(event('diverged', 'h3', { generation: 2 })), [/"diverged"/]],
    ['a replica that failed', withEvents(event('failed', 'h3', { code: 'X' })), [/"failed"/]],
    [
      'a machine that is not protected',
      withStatus({ protection: 'unprotected', backup: null }),
      [/^at the end/],
    ],
    ['a machine that does not run', withStatus({ state: 'taking-over' }), [/^at the end/]],
    ['both replicas on one host', withStatus({ backup: { host: 'h2' } }), [/^at the end/]],
    ['a primary that is not the winner', withStatus({ primary: { host: 'h1' } }), [/^at the end/]],
    ['an old generation that still runs', withStatus({ generation: 1 }), [/^at the end/]],
  ]

  it.each(cases)('%s', (_, evidence, expected) => {
    const found = brokenPromises(evidence)
    expect(found.length, found.join('\n')).toBe(expected.length)
    for (const [i, pattern] of expected.entries()) expect(found[i]).toMatch(pattern)
  })
})
