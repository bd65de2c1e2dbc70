import type { TestAndSetOutcome } from '../ft/messages.ts'
import type { Process } from './process.ts'
import type { Random } from './random.ts'
import type { Scheduler } from './scheduler.ts'

/** Who asks the store. */
export interface StoreClient {
  readonly name: string
  readonly host: string
  readonly process: Process
}

/**
 * The way to the shared store, as its clients see it at its worst: slow, unreachable for some, and now and then taking an
 * attempt whose answer never arrives.
 */
export class StoreAccess {
  readonly #scheduler: Scheduler
  readonly #random: Random
  readonly #latencyMsMax: number
  readonly #lostAnswers: number
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

  /** `work` happens in the store, at one moment, if the client can reach it; the answer may be lost. */
  ask<T>(client: StoreClient, work: () => T, answer: (result: T | 'unreachable') => void): void {
    this.#scheduler.after(this.#latencyMs(), () => {
      if (this.#unreachable.has(client.host)) {
        // An unreachable store is noticed at once (refused) or not at all (the shell's time limit).
        if (this.#random.chance(0.7)) this.#answer(client, () => answer('unreachable'))
        return
      }
      const result = work()
      if (!this.#calm && this.#random.chance(this.#lostAnswers)) {
        if (this.#random.chance(0.7)) this.#answer(client, () => answer('unreachable'))
        return
      }
      this.#answer(client, () => answer(result))
    })
  }

  #answer({ process }: StoreClient, answer: () => void): void {
    this.#scheduler.after(this.#latencyMs(), () => process.deliver(answer))
  }

  #latencyMs(): number {
    return this.#random.between(0.1, this.#latencyMsMax)
  }
}

/** What the store has of one virtual machine: who won each generation. */
export class SimulatedStore {
  readonly #access: StoreAccess
  readonly #winners = new Map<number, string>()

  constructor(access: StoreAccess) {
    this.#access = access
  }

  setReachable(host: string, reachable: boolean): void {
    this.#access.setReachable(host, reachable)
  }

  calmDown(): void {
    this.#access.calmDown()
  }

  winnerOf(generation: number): string | undefined {
    return this.#winners.get(generation)
  }

  /** The highest generation that has a winner; 0 when none has. */
  get newestGeneration(): number {
    return Math.max(0, ...this.#winners.keys())
  }

  /** The client contends for a generation, in its own name. */
  testAndSet(client: StoreClient, generation: number, answer: (outcome: TestAndSetOutcome) => void): void {
    const contend = (): TestAndSetOutcome => {
      if (!this.#winners.has(generation)) this.#winners.set(generation, client.name)
      return this.#winners.get(generation) === client.name ? 'won' : 'lost'
    }
    this.#access.ask<TestAndSetOutcome>(client, contend, answer)
  }
}
