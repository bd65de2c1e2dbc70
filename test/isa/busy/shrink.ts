/** Finds a small busy program that still fails: drops steps, calls and iterations while the failure remains. */
import { isPlain } from '../reductions.ts'
import type { BusyFunction, BusyProgram, Step } from './program.ts'
import { innerSteps } from './step-words.ts'

type Fails = (candidate: BusyProgram) => Promise<boolean>

/**
 * The smallest program found. At most `attemptsMax` candidates are tried; one that throws counts as no failure.
 * Functions stay where they are, whatever is dropped.
 */
export async function shrinkBusy(
  failing: BusyProgram,
  fails: Fails,
  attemptsMax: number,
): Promise<BusyProgram> {
  const search = new Search(failing, fails, attemptsMax)
  await search.run()
  return search.best
}

class Search {
  best: BusyProgram
  readonly #fails: Fails
  #attemptsLeft: number

  constructor(failing: BusyProgram, fails: Fails, attemptsMax: number) {
    this.best = failing
    this.#fails = fails
    this.#attemptsLeft = attemptsMax
  }

  async run(): Promise<void> {
    for (let before = -1; before !== size(this.best) && this.#attemptsLeft > 0; ) {
      before = size(this.best)
      await this.#iterations()
      for (let n = 0; n < this.best.functions.length; n++) await this.#function(n)
    }
  }

  async #try(candidate: BusyProgram): Promise<boolean> {
    if (this.#attemptsLeft-- <= 0) return false
    if (!(await this.#fails(candidate).catch(() => false))) return false
    this.best = candidate
    return true
  }

  async #iterations(): Promise<void> {
    for (const iterations of [1, 2, 5, 10, Math.floor(this.best.iterations / 2)]) {
      if (iterations < 1 || iterations >= this.best.iterations) continue
      if (await this.#try({ ...this.best, iterations })) return
    }
  }

  async #function(n: number): Promise<void> {
    const change = (changes: Partial<BusyFunction>) =>
      this.#try({
        ...this.best,
        functions: this.best.functions.with(n, { ...this.best.functions[n]!, ...changes }),
      })
    const now = () => this.best.functions[n]!
    if (now().tail !== null) await change({ tail: null })
    if (now().skewed) await change({ skewed: false })
    if (now().steps.length === 0) return
    if (await change({ steps: [] })) return
    await this.#list(
      () => now().steps,
      (steps) => change({ steps }),
    )
  }

  /** Drops halves, quarters, single steps; then what is inside each step that is left. */
  async #list(
    get: () => readonly Step[],
    replace: (steps: readonly Step[]) => Promise<boolean>,
  ): Promise<void> {
    for (let chunk = Math.max(1, get().length >> 1); chunk >= 1; chunk >>= 1) {
      for (let start = get().length - chunk; start >= 0; start -= chunk) {
        await replace(get().toSpliced(start, chunk))
        start = Math.min(start, get().length)
      }
    }
    for (let n = get().length - 1; n >= 0; n--) {
      const step = get()[n]!
      if (step.kind === 'run') await this.#instructions(get, replace, n)
      const inner = innerSteps(step)
      if (inner.length === 0) continue
      if (await replace(get().toSpliced(n, 1, ...inner.flat()))) continue
      for (let which = 0; which < inner.length; which++) {
        await this.#list(
          () => innerSteps(get()[n]!)[which]!,
          (steps) => replace(get().with(n, withInner(get()[n]!, which, steps))),
        )
      }
    }
  }

  async #instructions(
    get: () => readonly Step[],
    replace: (steps: readonly Step[]) => Promise<boolean>,
    n: number,
  ): Promise<void> {
    const now = () => get()[n] as Step & { kind: 'run' }
    // Dropping the computation of an address would send the program astray.
    if (!isPlain(now())) return
    for (let i = now().instructions.length - 1; i >= 0 && now().instructions.length > 1; i--) {
      await replace(get().with(n, { kind: 'run', instructions: now().instructions.toSpliced(i, 1) }))
    }
  }
}

function withInner(step: Step, which: number, steps: readonly Step[]): Step {
  switch (step.kind) {
    case 'skip':
    case 'loop':
    case 'sometimes':
    case 'catch':
      return { ...step, steps }
    case 'choice':
      return { ...step, cases: step.cases.with(which, steps) }
    default:
      return step
  }
}

function size({ functions, iterations }: BusyProgram): number {
  const count = (steps: readonly Step[]): number =>
    steps.reduce(
      (sum, step) =>
        sum +
        (step.kind === 'run' ? step.instructions.length : 1) +
        innerSteps(step).reduce((inside, inner) => inside + count(inner), 0),
      0,
    )
  return iterations + functions.reduce((sum, { steps }) => sum + count(steps), 0)
}
