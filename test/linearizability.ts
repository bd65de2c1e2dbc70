/**
 * Whether a history of concurrent operations is linearizable: whether each operation may have happened at one instant between its
 * call and its return, so that all answers are those of a sequential object (Herlihy and Wing, "Linearizability", 1990).
 *
 * Objects are checked one by one, which is enough (the same paper, "locality"). For one, Wing and Gong's search (1993) tries which
 * operation came first among those that no other had returned before, and so on, and goes back when the answers do not fit. With
 * Lowe's addition (2017) no two ways to the same set of operations done and the same state are both followed. Here that set
 * is told by the first operation, by time of call, that is not done and the done ones behind it: with few clients at
 * work these are few, however long the history.
 *
 * Operations never answered are told apart by what they asked only, and done in the order of their calls: of two that asked the same,
 * the earlier one could stand wherever the later one does. So a hundred lost answers of increments cost no hundredfold search.
 */
import type { Model, Operation } from './history.ts'

/** Steps of the search for one object. Histories that are linearizable take few more steps than operations; a million is seconds. */
export const STEPS_MAX = 1_000_000

/** Longer windows are cut in front when they are shown. */
const SHOWN_OPERATIONS_MAX = 40

export type Verdict<Request, Result> =
  | { readonly verdict: 'linearizable' }
  /** The search was given up after `steps`: neither shown nor refuted. */
  | { readonly verdict: 'undecided'; readonly key: string; readonly steps: number }
  | Violation<Request, Result>

export interface Violation<Request, Result> {
  readonly verdict: 'violation'
  readonly key: string
  /** The answer that nothing explains: without it, and what was called after it, the history is linearizable. */
  readonly culprit: Operation<Request, Result>
  /** The last operations up to the culprit that contradict each other already, by time of call. */
  readonly window: readonly Operation<Request, Result>[]
  /** What to tell people. */
  readonly text: string
}

/** Throws a RangeError for an operation that returns before it is called. */
export function checkHistory<State, Request, Result>(
  model: Model<State, Request, Result>,
  history: readonly Operation<Request, Result>[],
  stepsMax = STEPS_MAX,
): Verdict<Request, Result> {
  let undecided: Verdict<Request, Result> | null = null
  for (const [key, operations] of Map.groupBy(history, ({ key }) => key)) {
    const sorted = operations.toSorted((a, b) => a.callMs - b.callMs)
    const outcome = search(model, sorted, [model.initial], stepsMax)
    if (outcome === 'no') return explain(model, key, sorted, stepsMax)
    if (outcome === 'undecided') undecided ??= { verdict: 'undecided', key, steps: stepsMax }
  }
  return undecided ?? { verdict: 'linearizable' }
}

type Outcome = 'yes' | 'no' | 'undecided'

/** Operations done so far, and the state they led to. */
interface Configuration<State> {
  /** Index of the first answered operation that is not done. */
  readonly low: number
  /** Indices of answered operations behind it that are done, ascending. */
  readonly beyond: readonly number[]
  /** How many of each class of unanswered operations are done. */
  readonly unanswered: readonly number[]
  readonly state: State
}

/** `operations` by time of call; `initials` are the states they may begin in. */
function search<State, Request, Result>(
  model: Model<State, Request, Result>,
  operations: readonly Operation<Request, Result>[],
  initials: Iterable<State>,
  stepsMax: number,
): Outcome {
  const answered = operations.filter(({ returnMs }) => returnMs !== null)
  const returns = answered.map(({ returnMs, callMs }) => {
    if (returnMs! < callMs) throw new RangeError('an operation returns before it is called')
    return returnMs!
  })
  const unanswered = operations.filter(({ returnMs }) => returnMs === null)
  const classes = [...Map.groupBy(unanswered, ({ request }) => JSON.stringify(request)).values()].filter(
    ([{ request }]) => model.mayShow(request, operations),
  )
  const seen = new Set<string>()
  const stack: Configuration<State>[] = []
  const visit = (next: Configuration<State>): void => {
    const key = `${next.low};${next.beyond};${next.unanswered};${model.stateKey(next.state)}`
    if (seen.has(key)) return
    seen.add(key)
    stack.push(next)
  }
  for (const state of initials) {
    stack.length = 0
    visit({ low: 0, beyond: [], unanswered: classes.map(() => 0), state })
    for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
      // What was never answered need not have happened.
      if (at.low === answered.length) return 'yes'
      if (seen.size > stepsMax) return 'undecided'
      const candidates: number[] = []
      let firstReturnMs = Number.POSITIVE_INFINITY
      for (let i = at.low; i < answered.length && answered[i].callMs <= firstReturnMs; i++) {
        if (at.beyond.includes(i)) continue
        candidates.push(i)
        firstReturnMs = Math.min(firstReturnMs, returns[i])
      }
      // Tried last, for it is seldom needed: an operation whose answer never came.
      for (let which = 0; which < classes.length; which++) {
        const next = classes[which][at.unanswered[which]]
        if (next === undefined || next.callMs > firstReturnMs) continue
        const state = model.step(at.state, next.request, null)
        if (state === undefined || model.stateKey(state) === model.stateKey(at.state)) continue
        visit({ ...at, unanswered: at.unanswered.with(which, at.unanswered[which] + 1), state })
      }
      // Tried first, being last on the stack: the one that returned first.
      candidates.sort((a, b) => returns[b] - returns[a])
      for (const i of candidates) {
        const state = model.step(at.state, answered[i].request, answered[i].result)
        if (state !== undefined) visit({ ...done(at, i), state })
      }
    }
  }
  return 'no'
}

function done<State>(at: Configuration<State>, i: number): Configuration<State> {
  if (i !== at.low) return { ...at, beyond: [...at.beyond, i].sort((a, b) => a - b) }
  let low = i + 1
  let passed = 0
  for (; at.beyond[passed] === low; passed++) low++
  return { ...at, low, beyond: at.beyond.slice(passed) }
}

function explain<State, Request, Result>(
  model: Model<State, Request, Result>,
  key: string,
  operations: readonly Operation<Request, Result>[],
  stepsMax: number,
): Violation<Request, Result> {
  // Histories only ever get worse: the first return with which this one is wrong can be found by halving.
  const returns = operations.flatMap(({ returnMs }) => (returnMs === null ? [] : [returnMs]))
  returns.sort((a, b) => a - b)
  const wrongAt = firstIndex(returns.length, (i) => {
    return search(model, seenAt(operations, returns[i]), [model.initial], stepsMax) === 'no'
  })
  const prefix = seenAt(operations, returns[wrongAt])
  // And the window gets more telling the earlier it begins, up to the whole, which begins in the initial state.
  const before = firstIndex(prefix.length, (count) => {
    const window = windowFrom(prefix, prefix.length - 1 - count)
    return search(model, window, model.statesBefore(window), stepsMax) === 'no'
  })
  const isWhole = before === prefix.length
  const window = isWhole ? prefix : windowFrom(prefix, prefix.length - 1 - before)
  const culprit = window.findLast(({ returnMs }) => returnMs === returns[wrongAt])!
  return { verdict: 'violation', key, culprit, window, text: show(model, key, window, culprit, isWhole) }
}

/** The least index below `count` for which `holds`, which holds for all behind it as well; `count` if for none. Gallops. */
function firstIndex(count: number, holds: (index: number) => boolean): number {
  let low = 0
  let high = 1
  while (high <= count && !holds(high - 1)) {
    low = high
    high *= 2
  }
  high = Math.min(high, count + 1)
  while (low + 1 < high) {
    const middle = (low + high) >> 1
    if (holds(middle - 1)) high = middle
    else low = middle
  }
  return high - 1
}

/** What was known at a time: what was called up to then, unanswered what had not returned. */
function seenAt<Request, Result>(
  operations: readonly Operation<Request, Result>[],
  nowMs: number,
): readonly Operation<Request, Result>[] {
  return operations
    .filter(({ callMs }) => callMs <= nowMs)
    .map((operation) => {
      const hasReturned = operation.returnMs !== null && operation.returnMs <= nowMs
      return hasReturned ? operation : { ...operation, returnMs: null, result: null }
    })
}

/**
 * The operations from one on, by time of call. What was called earlier and is not known to have returned by then is
 * kept as unanswered: it may have come before. If the whole is linearizable, so is this from some state.
 */
function windowFrom<Request, Result>(
  operations: readonly Operation<Request, Result>[],
  first: number,
): readonly Operation<Request, Result>[] {
  const fromMs = operations[first].callMs
  return operations.flatMap((operation) => {
    const { callMs, returnMs } = operation
    if (callMs >= fromMs) return [operation]
    return returnMs !== null && returnMs < fromMs ? [] : [{ ...operation, returnMs: null, result: null }]
  })
}

function show<State, Request, Result>(
  model: Model<State, Request, Result>,
  key: string,
  window: readonly Operation<Request, Result>[],
  culprit: Operation<Request, Result>,
  isWhole: boolean,
): string {
  const shown = window.slice(-SHOWN_OPERATIONS_MAX)
  const zeroMs = shown[0].callMs
  const cut =
    window.length > shown.length ? [`  (${window.length - shown.length} earlier ones not shown)`] : []
  const lines = shown.map((operation) => {
    const { process, request, result, callMs, returnMs } = operation
    const end = returnMs === null ? '(no answer)' : `${(returnMs - zeroMs).toFixed(2)} ms`
    const isCulprit = operation === culprit
    const what = model.describe(request, result)
    return `  ${(callMs - zeroMs).toFixed(2)} to ${end}  ${process}: ${what}${isCulprit ? '   <-- nothing explains this answer' : ''}`
  })
  const begin = isWhole ? `from ${model.stateKey(model.initial)} on` : 'whatever the state before'
  return [`${key}: not linearizable, ${begin}:`, ...cut, ...lines].join('\n')
}
