import type { TestAndSetOutcome } from '../ft/messages.ts'
import type { Process } from './process.ts'
import type { Random } from './random.ts'
import type { Scheduler } from './scheduler.ts'

/**
 * The shared store, as its clients see it at its worst: slow, unreachable for some, and now and then taking an
 * attempt whose answer never arrives.
 */
export class SimulatedStore {
  readonly #scheduler: Scheduler
  readonly #random: Random
  readonly #latencyMsMax: number
  readonly #lostAnswers: number
  readonly #winners = new Map<number, string>()
  readonly #unreachable = new Set<string>()
  #calm = false

  /** @param lostAnswers the probability that an attempt is taken but not answered. */
  constructor(scheduler: Scheduler, random: Random, latencyMsMax: number, lostAnswers: number) {
    this.#scheduler = scheduler
    this.#random = random
    this.#latencyMsMax = latencyMsMax
    this.#lostAnswers = lostAnswers
  }

  setReachable(host: string, reachable: boolean): void {
    if (reachable) this.#unreachable.delete(host)
    else if (!this.#calm) this.#unreachable.add(host)
  }

  /** Reachable by all and answering, from now on. */
  calmDown(): void {
    this.#calm = true
    this.#unreachable.clear()
  }

  winnerOf(generation: number): string | undefined {
    return this.#winners.get(generation)
  }

  /** The highest generation that has a winner; 0 when none has. */
  get newestGeneration(): number {
    return Math.max(0, ...this.#winners.keys())
  }

  testAndSet(
    process: Process,
    generation: number,
    winner: string,
    answer: (outcome: TestAndSetOutcome) => void,
  ): void {
    this.#scheduler.after(this.#latencyMs(), () => {
      if (this.#unreachable.has(winner)) {
        // An unreachable store is noticed at once (refused) or not at all (the shell's time limit).
        if (this.#random.chance(0.7)) this.#answer(process, () => answer('unreachable'))
        return
      }
      if (!this.#winners.has(generation)) this.#winners.set(generation, winner)
      const outcome = this.#winners.get(generation) === winner ? 'won' : 'lost'
      if (!this.#calm && this.#random.chance(this.#lostAnswers)) {
        if (this.#random.chance(0.7)) this.#answer(process, () => answer('unreachable'))
        return
      }
      this.#answer(process, () => answer(outcome))
    })
  }

  #answer(process: Process, answer: () => void): void {
    this.#scheduler.after(this.#latencyMs(), () => process.deliver(answer))
  }

  #latencyMs(): number {
    return this.#random.between(0.1, this.#latencyMsMax)
  }
}
