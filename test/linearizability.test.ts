/** The checker of histories: right histories pass, wrong ones do not, small ones as trying every order says. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../src/sim/random.ts'
import {
  type CounterOperation,
  type CounterRequest,
  counterModel,
  type Model,
  type Operation,
  type RegisterOperation,
  type RegisterRequest,
  registerModel,
} from './history.ts'
import { checkHistory } from './linearizability.ts'

interface Simulated {
  readonly seed: number
  readonly clients: number
  readonly operations: number
  /** Of answers that never come; of these half have happened. */
  readonly lostShare: number
}

/**
 * A real object used by real concurrent clients, in simulated time: each operation has its effect at one instant between
 * call and return. `ask` draws what to ask, `act` does it and gives the answer.
 */
function simulate<State, Request, Result>(
  { seed, clients, operations, lostShare }: Simulated,
  model: Model<State, Request, Result>,
  ask: (random: Random, n: number) => Request,
  act: (state: State, request: Request) => { state: State; result: Result },
): Operation<Request, Result>[] {
  const random = new Random(seed)
  const freeAtMs = Array.from({ length: clients }, () => random.between(0, 5))
  const lives = Array.from({ length: clients }, () => 0)
  const planned = Array.from({ length: operations }, (_, n) => {
    const client = freeAtMs.indexOf(Math.min(...freeAtMs))
    const callMs = freeAtMs[client] + random.between(0, 3)
    const effectMs = callMs + random.magnitude(0.1, 10)
    const returnMs = effectMs + random.magnitude(0.1, 10)
    freeAtMs[client] = returnMs
    const isLost = random.chance(lostShare)
    const process = `c${client}.${lives[client]}`
    // Who waits for an answer in vain comes back as somebody else.
    if (isLost) lives[client]++
    const happens = !isLost || random.chance(0.5)
    return { process, request: ask(random, n), callMs, effectMs, returnMs: isLost ? null : returnMs, happens }
  })
  let state = model.initial
  const history: Operation<Request, Result>[] = []
  for (const { process, request, callMs, returnMs, happens } of planned.toSorted(
    (a, b) => a.effectMs - b.effectMs,
  )) {
    const acted = happens ? act(state, request) : null
    if (acted !== null) state = acted.state
    history.push({
      process,
      key: 'k',
      request,
      callMs,
      returnMs,
      result: returnMs === null ? null : acted!.result,
    })
  }
  return history.sort((a, b) => a.callMs - b.callMs)
}

function counterHistory(simulated: Simulated): CounterOperation[] {
  const ask = (random: Random): CounterRequest => ({ kind: random.chance(0.7) ? 'increment' : 'read' })
  return simulate(simulated, counterModel, ask, (before, { kind }) => {
    const state = kind === 'increment' ? before + 1 : before
    return { state, result: { value: state } }
  })
}

function registerHistory(simulated: Simulated, casShare = 0.2): RegisterOperation[] {
  const ask = (random: Random, n: number): RegisterRequest => {
    if (random.chance(0.4)) return { kind: 'read' }
    if (!random.chance(casShare)) return { kind: 'write', value: `v${n}` }
    return { kind: 'cas', expected: random.chance(0.2) ? null : `v${n - random.whole(1, 4)}`, value: `v${n}` }
  }
  return simulate(simulated, registerModel, ask, (before, request) => {
    switch (request.kind) {
      case 'read':
        return { state: before, result: { kind: 'read', value: before } }
      case 'write':
        return { state: request.value, result: { kind: 'written' } }
      case 'cas': {
        const swapped = before === request.expected
        return { state: swapped ? request.value : before, result: { kind: 'cas', swapped } }
      }
    }
  })
}

/** By definition: some order of the operations, without some unanswered ones, keeps real time and explains every answer. */
function tryEveryOrder<State, Request, Result>(
  model: Model<State, Request, Result>,
  history: readonly Operation<Request, Result>[],
): boolean {
  const follow = (state: State, left: readonly Operation<Request, Result>[]): boolean => {
    if (left.every(({ returnMs }) => returnMs === null)) return true
    return left.some((operation) => {
      if (left.some(({ returnMs }) => returnMs !== null && returnMs < operation.callMs)) return false
      const next = model.step(state, operation.request, operation.result)
      const rest = left.filter((other) => other !== operation)
      return next !== undefined && follow(next, rest)
    })
  }
  return follow(model.initial, history)
}

const simulated = (operationsMax: number, lostShareMax: number) =>
  fc.record({
    seed: fc.nat(),
    clients: fc.integer({ min: 1, max: 8 }),
    operations: fc.integer({ min: 1, max: operationsMax }),
    lostShare: fc.double({ min: 0, max: lostShareMax, noNaN: true }),
  })

/** Histories as bad luck would write them: answers drawn at random, most of them wrong. */
const scribbled = <Request, Result>(of: fc.Arbitrary<{ request: Request; result: Result }>) =>
  fc.array(
    fc.record({
      asked: of,
      callMs: fc.integer({ min: 0, max: 8 }),
      tookMs: fc.option(fc.integer({ min: 0, max: 6 })),
    }),
    { minLength: 1, maxLength: 6 },
  )

function historyOf<Request, Result>(
  scribbles: readonly {
    asked: { request: Request; result: Result }
    callMs: number
    tookMs: number | null
  }[],
): Operation<Request, Result>[] {
  return scribbles.map(({ asked, callMs, tookMs }, i) => ({
    process: `p${i}`,
    key: 'k',
    request: asked.request,
    callMs,
    returnMs: tookMs === null ? null : callMs + tookMs,
    result: tookMs === null ? null : asked.result,
  }))
}

describe('histories of a real object', () => {
  it('pass: a counter', () => {
    fc.assert(
      fc.property(simulated(200, 0.2), (run) => {
        expect(checkHistory(counterModel, counterHistory(run))).toEqual({ verdict: 'linearizable' })
      }),
    )
  })

  it('pass: a register', () => {
    fc.assert(
      fc.property(simulated(120, 0.1), fc.constantFrom(0, 0.3), (run, casShare) => {
        expect(checkHistory(registerModel, registerHistory(run, casShare))).toEqual({
          verdict: 'linearizable',
        })
      }),
    )
  })

  it('pass however long they are, in steps about as many as their operations', () => {
    const run = { seed: 3, clients: 8, operations: 5_000, lostShare: 0.01 }
    expect(checkHistory(counterModel, counterHistory(run), 300_000)).toEqual({ verdict: 'linearizable' })
    expect(checkHistory(registerModel, registerHistory({ ...run, lostShare: 0.002 }, 0), 300_000)).toEqual({
      verdict: 'linearizable',
    })
  })
})

describe('small histories', () => {
  const counterAsked = fc.record({
    request: fc.constantFrom<CounterRequest>({ kind: 'increment' }, { kind: 'read' }),
    result: fc.record({ value: fc.integer({ min: 0, max: 4 }) }),
  })
  const value = fc.constantFrom('a', 'b')
  const orNull = fc.option(value)
  const registerAsked = fc.oneof(
    fc.record({
      request: fc.constant({ kind: 'read' } as const),
      result: fc.record({ kind: fc.constant('read' as const), value: orNull }),
    }),
    fc.record({
      request: fc.record({ kind: fc.constant('write' as const), value }),
      result: fc.constant({ kind: 'written' } as const),
    }),
    fc.record({
      request: fc.record({ kind: fc.constant('cas' as const), expected: orNull, value }),
      result: fc.record({ kind: fc.constant('cas' as const), swapped: fc.boolean() }),
    }),
  )

  it('are judged as trying every order judges them: a counter', () => {
    const seen = { linearizable: 0, violation: 0, undecided: 0 }
    fc.assert(
      fc.property(scribbled(counterAsked), (scribbles) => {
        const history = historyOf(scribbles)
        const { verdict } = checkHistory(counterModel, history)
        seen[verdict]++
        expect(verdict === 'linearizable').toBe(tryEveryOrder(counterModel, history))
      }),
      { numRuns: 10_000 },
    )
    // Neither answer is rare, or the comparison would say little.
    expect(Math.min(seen.linearizable, seen.violation)).toBeGreaterThan(300)
  })

  it('are judged as trying every order judges them: a register', () => {
    const seen = { linearizable: 0, violation: 0, undecided: 0 }
    fc.assert(
      fc.property(
        scribbled<RegisterRequest, NonNullable<RegisterOperation['result']>>(registerAsked),
        (scribbles) => {
          const history = historyOf(scribbles)
          const { verdict } = checkHistory(registerModel, history)
          seen[verdict]++
          expect(verdict === 'linearizable').toBe(tryEveryOrder(registerModel, history))
        },
      ),
      { numRuns: 10_000 },
    )
    expect(Math.min(seen.linearizable, seen.violation)).toBeGreaterThan(300)
  })

  it('are wrong from the window on alone, whatever the state before', () => {
    fc.assert(
      fc.property(scribbled(counterAsked), (scribbles) => {
        const history = historyOf(scribbles)
        const found = checkHistory(counterModel, history)
        if (found.verdict !== 'violation') return
        expect(found.window).toContainEqual(found.culprit)
        if (found.text.includes('whatever')) {
          for (let initial = 0; initial < 12; initial++)
            expect(tryEveryOrder({ ...counterModel, initial }, found.window)).toBe(false)
        } else expect(tryEveryOrder(counterModel, found.window)).toBe(false)
      }),
      { numRuns: 2_000 },
    )
  })
})

/** The mutations leave the times as they are; they are of what a broken takeover could do. */
describe('a history with one thing wrong is caught', () => {
  const runs = fc.record({
    seed: fc.nat(),
    clients: fc.integer({ min: 1, max: 8 }),
    operations: fc.constant(150),
  })

  it('a lost increment: everybody from some moment on sees one less', () => {
    fc.assert(
      fc.property(runs, (run) => {
        const history = counterHistory({ ...run, lostShare: 0 })
        const lost = history[75]
        const wrong = history.map((operation) => {
          if (operation.callMs <= lost.returnMs! || operation.result === null) return operation
          return { ...operation, result: { value: operation.result.value - 1 } }
        })
        // Two increments answered with the same number, or a read that went back.
        const verdict = checkHistory(counterModel, wrong).verdict
        const shows = wrong.some(
          ({ callMs, request }) => callMs > lost.returnMs! && request.kind === 'increment',
        )
        if (shows) expect(verdict).toBe('violation')
      }),
    )
  })

  it('an increment that happened twice', () => {
    fc.assert(
      fc.property(runs, (run) => {
        const history = counterHistory({ ...run, lostShare: 0 })
        const from = history[75].result!.value
        const wrong = history.map((operation) => {
          const { value } = operation.result!
          return value > from ? { ...operation, result: { value: value + 1 } } : operation
        })
        if (wrong.some(({ result }) => result!.value > from))
          expect(checkHistory(counterModel, wrong).verdict).toBe('violation')
      }),
    )
  })

  it('a stale read, with a window that shows no more than what contradicts it', () => {
    fc.assert(
      fc.property(runs, (run) => {
        const history = registerHistory({ ...run, lostShare: 0 }, 0)
        const writes = history.filter(({ request }) => request.kind === 'write')
        const old = writes[0]
        const between = writes.find(({ callMs }) => callMs > old.returnMs!)
        const stale = history.findLast(
          ({ request, callMs }) =>
            request.kind === 'read' && between !== undefined && callMs > between.returnMs!,
        )
        if (stale === undefined || old.request.kind !== 'write') return
        const { value } = old.request
        const wrong = history.map((operation) =>
          operation === stale ? { ...operation, result: { kind: 'read', value } as const } : operation,
        )
        const found = checkHistory(registerModel, wrong)
        expect(found.verdict).toBe('violation')
        if (found.verdict !== 'violation') return
        expect(found.culprit.callMs).toBe(stale.callMs)
        // Nothing but a last write before it and what ran beside these: far from the whole history.
        expect(found.window.length).toBeLessThan(60)
      }),
    )
  })

  it('a write that is undone: a register goes back to the value before', () => {
    const at = (callMs: number, request: RegisterRequest, result: RegisterOperation['result']) => ({
      ...{ process: 'p', key: 'k', request, callMs, returnMs: callMs + 1, result },
    })
    const write = (callMs: number, value: string) => at(callMs, { kind: 'write', value }, { kind: 'written' })
    const read = (callMs: number, value: string) => at(callMs, { kind: 'read' }, { kind: 'read', value })
    const earlier = Array.from({ length: 500 }, (_, i) => write(i * 2, `old${i}`))
    const history = [...earlier, write(2000, 'a'), write(2002, 'b'), read(2004, 'b'), read(2006, 'a')]
    const found = checkHistory(registerModel, history)
    expect(found).toMatchObject({ verdict: 'violation', key: 'k' })
    if (found.verdict !== 'violation') return
    expect(found.window).toEqual(history.slice(-2))
    expect(found.text.split('\n')).toEqual([
      'k: not linearizable, whatever the state before:',
      '  0.00 to 1.00 ms  p: read -> b',
      '  2.00 to 3.00 ms  p: read -> a   <-- nothing explains this answer',
    ])
  })
})

it('keeps in mind which unanswered operations were used up on the way', () => {
  const write = (value: string, callMs: number, returnMs: number | null): RegisterOperation => ({
    ...{ process: 'p', key: 'k', request: { kind: 'write', value }, callMs, returnMs },
    result: returnMs === null ? null : { kind: 'written' },
  })
  const read = (value: string, callMs: number): RegisterOperation => ({
    ...{
      process: 'p',
      key: 'k',
      request: { kind: 'read' },
      callMs,
      returnMs: callMs + 1,
      result: { kind: 'read', value },
    },
  })
  // Only if b came before a is the unanswered write left for the last read.
  const history = [
    write('a', 0, null),
    write('a', 1, 3),
    write('b', 2, 4),
    read('a', 5),
    write('c', 7, 8),
    read('a', 9),
  ]
  expect(checkHistory(registerModel, history).verdict).toBe('linearizable')
})

it('judges each key by itself, and names the wrong one', () => {
  const increment = (key: string, callMs: number, value: number): CounterOperation => ({
    ...{ process: 'p', key, request: { kind: 'increment' }, callMs, returnMs: callMs + 1, result: { value } },
  })
  expect(checkHistory(counterModel, [increment('a', 0, 1), increment('b', 2, 1)]).verdict).toBe(
    'linearizable',
  )
  const wrong = checkHistory(counterModel, [increment('a', 0, 1), increment('b', 2, 1), increment('b', 4, 1)])
  expect(wrong).toMatchObject({ verdict: 'violation', key: 'b', culprit: { callMs: 4 } })
})

it('says so when it gives up', () => {
  const history = counterHistory({ seed: 1, clients: 8, operations: 100, lostShare: 0 })
  expect(checkHistory(counterModel, history, 10)).toEqual({ verdict: 'undecided', key: 'k', steps: 10 })
})

it('takes no history that cannot be', () => {
  const [first] = counterHistory({ seed: 1, clients: 1, operations: 1, lostShare: 0 })
  expect(() => checkHistory(counterModel, [{ ...first, returnMs: first.callMs - 1 }])).toThrow(RangeError)
})
