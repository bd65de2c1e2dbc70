/**
 * Decides, for each slice of a live machine, the guest clock at its start, how fast guest time passes inside
 * it, and how many instructions it may retire. Pure: the host's time is an argument.
 *
 * Intuition: guest time has to follow host time, but inside a slice it may only depend on the log. So each
 * slice starts at host time (or at where guest time already is, which is never undone), and its rate is chosen so
 * that guest time arrives a little behind host time when the slice ends. What is missing is made up by the step of
 * the next frame. Guest time never runs ahead on purpose: when a slice turns out faster than expected and guest time is
 * ahead, the next one is slower, down to a standstill, until the host has caught up.
 */

/** The guest's time base: 10 MHz. */
export const TICKS_PER_MS = 10_000

/**
 * Of a slice that nothing cuts short: 330 frames a second are a small cost, and a backup that gets the frame at its end
 * is so much behind.
 */
export const SLICE_MS_MAX = 3

/** What the fastest code retires in that time; a bound on the consequences of a wrong measurement, not meant to be reached. */
export const SLICE_INSTRUCTIONS_MAX = 30_000_000

/** Below this a slice costs more in its frame than it does in work. */
const SLICE_INSTRUCTIONS_MIN = 1_000

/** The driver looks at the clock and at its inputs this often within a slice. */
const RUN_MS = 0.5

/** Aim this share of a slice's expected duration, so that an underestimated speed does not put guest time ahead. */
const RATE_MARGIN = 0.9

/** A fresh machine is taken to be fast, so that its first slices put guest time behind and not ahead. */
const INITIAL_INSTRUCTIONS_PER_MS = 400_000

/** Weight of the newest measurement in the running mean of the speed. */
const SPEED_WEIGHT = 0.2

/** Slices shorter than this measure the host's clock and scheduler more than the machine. */
const SPEED_MEASURABLE_MS = 0.05

/** Timers armed beyond this are looked at again then; an idle guest's wake-up an hour is nothing. */
const IDLE_MS_MAX = 3_600_000

/** The rate is an unsigned 0.32 fixed-point fraction: just below one tick an instruction at most. */
const CLOCK_RATE_ONE = 2 ** 32
const CLOCK_RATE_MAX = CLOCK_RATE_ONE - 1

export interface SlicePlan {
  /** Ticks. */
  readonly clock: bigint
  /** Ticks per instruction, unsigned 0.32 fixed point. */
  readonly clockRate: number
  /** Instructions the whole slice may retire. */
  readonly budget: number
  /** Instructions to run before looking at the host's clock and the inputs again. */
  readonly runBudget: number
}

export class SlicePolicy {
  readonly #baseMs: number
  readonly #baseTicks: bigint
  #instructionsPerMs = INITIAL_INSTRUCTIONS_PER_MS

  /** Guest time is `ticks` when the host's monotonic clock says `hostMs`; from there on they go together. */
  constructor(hostMs: number, ticks: bigint) {
    this.#baseMs = hostMs
    this.#baseTicks = ticks
  }

  get instructionsPerMs(): number {
    return this.#instructionsPerMs
  }

  /** Guest time as the host's clock has it, in ticks. */
  hostTicks(hostMs: number): bigint {
    return this.#baseTicks + BigInt(Math.max(0, Math.floor((hostMs - this.#baseMs) * TICKS_PER_MS)))
  }

  plan(hostMs: number, guestClock: bigint): SlicePlan {
    const host = this.hostTicks(hostMs)
    const clock = host > guestClock ? host : guestClock
    const budget = Math.round(
      Math.min(
        SLICE_INSTRUCTIONS_MAX,
        Math.max(SLICE_INSTRUCTIONS_MIN, this.#instructionsPerMs * SLICE_MS_MAX),
      ),
    )
    const expectedTicks = (budget / this.#instructionsPerMs) * TICKS_PER_MS
    const aheadTicks = Number(clock - host)
    const ticks = Math.max(0, expectedTicks * RATE_MARGIN - aheadTicks)
    return {
      clock,
      clockRate: Math.min(CLOCK_RATE_MAX, Math.floor((ticks / budget) * CLOCK_RATE_ONE)),
      budget,
      runBudget: Math.round(
        Math.min(budget, Math.max(SLICE_INSTRUCTIONS_MIN, this.#instructionsPerMs * RUN_MS)),
      ),
    }
  }

  /** Takes in how long a slice took. */
  measured(retired: number, elapsedMs: number): void {
    if (elapsedMs < SPEED_MEASURABLE_MS || retired === 0) return
    const speed = retired / elapsedMs
    this.#instructionsPerMs += (speed - this.#instructionsPerMs) * SPEED_WEIGHT
  }

  /** Milliseconds an idle machine sleeps unless an input comes first. Infinite when no timer is armed. */
  idleMs(hostMs: number, deadline: bigint | null): number {
    if (deadline === null) return Number.POSITIVE_INFINITY
    const ticks = deadline - this.hostTicks(hostMs)
    return ticks <= 0n ? 0 : Math.min(IDLE_MS_MAX, Number(ticks) / TICKS_PER_MS)
  }
}
