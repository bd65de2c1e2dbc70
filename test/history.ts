/** Histories of concurrent operations, and the objects they are checked against: a counter and a register. */

/**
 * One operation as its client saw it. Times are of one clock for the whole history; two operations of which one returns at
 * the very time the other is called count as concurrent.
 */
export interface Operation<Request, Result> {
  /** Who asked: one that has its operations one after another. */
  readonly process: string
  /** The object asked for. Each key is an object of its own, in its initial state at first. */
  readonly key: string
  readonly request: Request
  readonly callMs: number
  /** Null when the answer never came: it may have taken effect at any time after the call, or not at all. */
  readonly returnMs: number | null
  /** Null when the answer never came. */
  readonly result: Result | null
}

/** A sequential object, as a pure function. */
export interface Model<State, Request, Result> {
  readonly initial: State
  /**
   * The state after `request` was answered with `result` in `state`; undefined if it cannot have been answered so. A `result`
   * of null stands for any answer.
   */
  step(state: State, request: Request, result: Result | null): State | undefined
  /** The same text for the same state, and only for it. */
  stateKey(state: State): string
  describe(request: Request, result: Result | null): string
  /** Whether anybody among `operations` could tell that `request`, which was never answered, happened. False saves its trial. */
  mayShow(request: Request, operations: readonly Operation<Request, Result>[]): boolean
  /** Every state in which these operations may begin, when nothing is known of what came before them. */
  statesBefore(operations: readonly Operation<Request, Result>[]): Iterable<State>
}

export type CounterRequest = { readonly kind: 'increment' } | { readonly kind: 'read' }
export interface CounterResult {
  readonly value: number
}
export type CounterOperation = Operation<CounterRequest, CounterResult>

/** A number that increments answer with the new value of, from 0. */
export const counterModel: Model<number, CounterRequest, CounterResult> = {
  initial: 0,
  step(state, request, result) {
    const next = request.kind === 'increment' ? state + 1 : state
    return result === null || result.value === next ? next : undefined
  },
  stateKey: String,
  describe: ({ kind }, result) => `${kind}${result === null ? '' : ` -> ${result.value}`}`,
  mayShow: ({ kind }) => kind === 'increment',
  *statesBefore(operations) {
    // The least answer is at most all these increments above where they began, and never below it.
    const values = operations.flatMap(({ result }) => (result === null ? [] : [result.value]))
    if (values.length === 0) return yield 0
    const least = values.reduce((a, b) => Math.min(a, b))
    const increments = operations.filter(({ request }) => request.kind === 'increment').length
    for (let state = least; state >= Math.max(0, least - increments); state--) yield state
  },
}

export type RegisterRequest =
  | { readonly kind: 'read' }
  | { readonly kind: 'write'; readonly value: string }
  /** Writes `value` if the register holds `expected`. */
  | { readonly kind: 'cas'; readonly expected: string | null; readonly value: string }
export type RegisterResult =
  | { readonly kind: 'read'; readonly value: string | null }
  | { readonly kind: 'written' }
  | { readonly kind: 'cas'; readonly swapped: boolean }
export type RegisterOperation = Operation<RegisterRequest, RegisterResult>

/** A value that is null until it is written. */
export const registerModel: Model<string | null, RegisterRequest, RegisterResult> = {
  initial: null,
  step(state, request, result) {
    switch (request.kind) {
      case 'read':
        return result === null || (result.kind === 'read' && result.value === state) ? state : undefined
      case 'write':
        return result === null || result.kind === 'written' ? request.value : undefined
      case 'cas': {
        const swaps = state === request.expected
        const fits = result === null || (result.kind === 'cas' && result.swapped === swaps)
        return fits ? (swaps ? request.value : state) : undefined
      }
    }
  },
  stateKey: (state) => JSON.stringify(state),
  describe(request, result) {
    switch (request.kind) {
      case 'read':
        return `read${result?.kind === 'read' ? ` -> ${result.value}` : ''}`
      case 'write':
        return `write ${request.value}`
      case 'cas':
        return `cas ${request.expected} to ${request.value}${result?.kind === 'cas' ? ` -> ${result.swapped ? 'done' : 'differs'}` : ''}`
    }
  },
  mayShow(request, operations) {
    if (request.kind === 'read') return false
    return operations.some((operation) => {
      return operation.request.kind === 'cas' || told(operation).includes(request.value)
    })
  },
  *statesBefore(operations) {
    // Any value: those that are told apart here, and one that stands for all others.
    const values = new Set([null, ...operations.flatMap(told)])
    let other = 'other'
    while (values.has(other)) other += '+'
    yield* values
    yield other
  },
}

/** The values that an operation tells apart from others. */
function told({ request, result }: RegisterOperation): (string | null)[] {
  if (request.kind === 'cas') return [request.expected]
  return result?.kind === 'read' ? [result.value] : []
}
