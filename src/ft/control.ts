import { PRIMARY_SHARE_MIN } from './lag.ts'
import type { ControlMessage } from './messages.ts'

/**
 * What explicit operations have made of a machine that goes on existing: whether it is paused, and how much CPU it may use.
 *
 * It belongs to the machine, not to a replica: a backup that goes live must be as paused and as limited as its primary
 * was. So the primary tells it in the stream (the paper's control entries, section 3.1), whole each time, and an
 * operation counts as done only when the backup has confirmed it: who was told that the machine is paused will find it
 * paused after any takeover. Until then either may be found.
 */
export interface ControlState {
  readonly paused: boolean
  /** Upper bound of the share of a core that the machine may use, CPU_LIMIT_MIN to 1. */
  readonly shareMax: number
}

/** A machine that nobody has done anything to. */
export const UNCONTROLLED: ControlState = { paused: false, shareMax: 1 }

/** An explicit operation is done: it holds, and would after a takeover. */
export type ControlReport =
  | { readonly type: 'paused' | 'resumed'; readonly generation: number }
  /** `share`: what the machine may use of a core, at most. */
  | { readonly type: 'limited'; readonly generation: number; readonly share: number }

/** Less than a slow backup leaves to its primary is no machine any more; whoever wants that pauses it. */
export const CPU_LIMIT_MIN = PRIMARY_SHARE_MIN

/** Limits are kept in these steps, so that they are the same on both sides of the wire. */
export const CPU_LIMIT_STEPS = 10_000

export class Control {
  #state: ControlState
  #confirmed: ControlState
  /** Counts the changes; an acknowledgement names the one it is for. */
  #number = 0

  constructor(state: ControlState) {
    this.#state = state
    this.#confirmed = state
  }

  /** Takes an operation in; false when it changes nothing. A limit is brought into its bounds. */
  change(change: Partial<ControlState>): boolean {
    const { paused, shareMax } = { ...this.#state, ...change }
    const steps = Math.round(Math.min(1, Math.max(CPU_LIMIT_MIN, shareMax)) * CPU_LIMIT_STEPS)
    const state = { paused, shareMax: steps / CPU_LIMIT_STEPS }
    if (state.paused === this.#state.paused && state.shareMax === this.#state.shareMax) return false
    this.#state = state
    this.#number++
    return true
  }

  /** The present state for the backup. */
  get message(): ControlMessage {
    return { kind: 'control', number: this.#number, ...this.#state }
  }

  /** The backup has a change; whether it can be one of those made here, and whether it is the newest. */
  acknowledged(number: number): 'nonsense' | 'older' | 'newest' {
    if (number > this.#number) return 'nonsense'
    return number < this.#number ? 'older' : 'newest'
  }

  /** The present state will survive any takeover. Returns what is done by that. */
  confirm(generation: number): ControlReport[] {
    const before = this.#confirmed
    const { paused, shareMax } = this.#state
    this.#confirmed = this.#state
    const reports: ControlReport[] = []
    if (paused !== before.paused) reports.push({ type: paused ? 'paused' : 'resumed', generation })
    if (shareMax !== before.shareMax) reports.push({ type: 'limited', generation, share: shareMax })
    return reports
  }

  /** What holds here now. */
  get state(): ControlState {
    return this.#state
  }

  /** What will be found after any takeover, unless a change is under way. */
  get confirmed(): ControlState {
    return this.#confirmed
  }
}
