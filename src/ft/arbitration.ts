import type { TestAndSetOutcome } from './messages.ts'
import { ARBITRATION_ATTEMPT_MS_MAX, ARBITRATION_RETRY_MS_MAX, ARBITRATION_RETRY_MS_MIN } from './timing.ts'

/**
 * The contest for a generation.
 *
 * The store holds one key for each generation, created once and never changed, whose value names the winner. Whoever
 * creates it has won; whoever finds another's name has lost; both are final. So an attempt may be repeated without
 * harm: an attempt whose answer got lost is answered again, and a replica that finds its own name has won.
 *
 * That leaves one rule: no answer is no answer. A replica that cannot reach the store has neither won nor lost, and
 * waits, holding its outputs, for as long as it takes.
 */
export class Arbitration {
  readonly #vm: string
  readonly #winner: string
  #contest: Contest | null = null

  /** @param winner this incarnation's name, unique for ever: a restarted process must not find itself the winner. */
  constructor(vm: string, winner: string) {
    this.#vm = vm
    this.#winner = winner
  }

  /** Begins to contend for a generation; returns the first attempt. */
  begin(generation: number, nowMs: number): TestAndSet {
    this.#contest = {
      generation,
      sinceMs: nowMs,
      retryMs: ARBITRATION_RETRY_MS_MIN,
      nextAttemptMs: nowMs + ARBITRATION_ATTEMPT_MS_MAX,
    }
    return this.#attempt(generation)
  }

  /** Time has passed; returns another attempt when one is due. */
  tick(nowMs: number): TestAndSet | null {
    const contest = this.#contest
    if (contest === null || nowMs < contest.nextAttemptMs) return null
    contest.nextAttemptMs = nowMs + ARBITRATION_ATTEMPT_MS_MAX
    return this.#attempt(contest.generation)
  }

  /** An answer came. Returns the verdict, once, or null: no contest for that generation, or no answer yet. */
  answer(generation: number, outcome: TestAndSetOutcome, nowMs: number): Verdict | null {
    const contest = this.#contest
    if (contest === null || contest.generation !== generation) return null
    if (outcome === 'unreachable') {
      contest.nextAttemptMs = nowMs + contest.retryMs
      contest.retryMs = Math.min(ARBITRATION_RETRY_MS_MAX, contest.retryMs * 2)
      return null
    }
    this.#contest = null
    return { outcome, generation, durationMs: nowMs - contest.sinceMs }
  }

  #attempt(generation: number): TestAndSet {
    return { kind: 'test-and-set', vm: this.#vm, generation, winner: this.#winner }
  }
}

interface Contest {
  readonly generation: number
  readonly sinceMs: number
  retryMs: number
  nextAttemptMs: number
}

/** The effect that asks the shell for an attempt: create-if-absent of `vm/<vm>/generation/<generation>` with value `winner`. */
export interface TestAndSet {
  readonly kind: 'test-and-set'
  readonly vm: string
  readonly generation: number
  readonly winner: string
}

/** How a contest ended, and how long it took. */
export interface Verdict {
  readonly outcome: 'won' | 'lost'
  readonly generation: number
  readonly durationMs: number
}
