/**
 * The CPU side of a live machine: runs slices, makes a log frame of each, and hands frame and outputs to the
 * I/O thread. Time is an argument; waiting and rings are the caller's.
 */
import type { MachineInput, MachineOutput } from '../machine/io.ts'
import type { Machine, SliceEndReason } from '../machine/machine.ts'
import type { FrameEncoder } from '../replay/frame.ts'
import type { SlicePolicy } from './slice-policy.ts'
import { SLICE_MS_MAX } from './slice-policy.ts'

/** A digest of all of RAM goes by at least this often while the guest idles: that is when hashing costs nothing. */
const FULL_DIGEST_IDLE_MS = 10_000
/** And this often when it never idles. */
const FULL_DIGEST_BUSY_MS = 60_000
/** Idle for at least this long counts as idle for hashing. */
const FULL_DIGEST_SLEEP_MS = 20

export interface RecordedSlice {
  readonly sequence: number
  readonly bytes: Uint8Array
  readonly outputs: readonly MachineOutput[]
  readonly reason: SliceEndReason
  readonly elapsedMs: number
}

export class LiveCpu {
  readonly #machine: Machine
  readonly #policy: SlicePolicy
  readonly #encoder: FrameEncoder
  readonly #now: () => number
  #reason: SliceEndReason
  #fullDigestMs: number

  constructor(machine: Machine, policy: SlicePolicy, encoder: FrameEncoder, now: () => number) {
    this.#machine = machine
    this.#policy = policy
    this.#encoder = encoder
    this.#now = now
    this.#reason = machine.halted ? 'halted' : 'budget'
    this.#fullDigestMs = now()
  }

  get halted(): boolean {
    return this.#reason === 'halted'
  }

  /** How long the machine may sleep unless an input comes: 0 when it has work to do. */
  sleepMs(): number {
    if (this.#reason === 'halted') return Number.POSITIVE_INFINITY
    if (this.#reason !== 'idle') return 0
    return this.#policy.idleMs(this.#now(), this.#machine.timerDeadline())
  }

  /** Runs one slice; `interrupted` tells, now and then, whether the slice should end early for something that waits. */
  slice(inputs: readonly MachineInput[], interrupted: () => boolean): RecordedSlice {
    const machine = this.#machine
    const startMs = this.#now()
    const plan = this.#policy.plan(startMs, machine.guestClock())
    machine.beginSlice({ clock: plan.clock, clockRate: plan.clockRate, inputs })
    let retired = 0
    let reason: SliceEndReason
    let elapsedMs: number
    do {
      const end = machine.run(Math.min(plan.runBudget, plan.budget - retired))
      retired += end.retired
      reason = end.reason
      elapsedMs = this.#now() - startMs
    } while (reason === 'budget' && retired < plan.budget && elapsedMs < SLICE_MS_MAX && !interrupted())
    const outputs = machine.takeOutputs()
    this.#reason = machine.halted ? 'halted' : reason
    this.#policy.measured(retired, elapsedMs)
    const { sequence } = this.#encoder.cursor
    const bytes = this.#encoder.encode({
      sequence,
      clock: plan.clock,
      clockRate: plan.clockRate,
      inputs,
      retired,
      reason: this.#reason,
      digest: machine.digest(),
      fullDigest: this.#fullDigestDue() ? machine.fullDigest() : null,
    })
    return { sequence, bytes, outputs, reason: this.#reason, elapsedMs }
  }

  #fullDigestDue(): boolean {
    const nowMs = this.#now()
    const sinceMs = nowMs - this.#fullDigestMs
    const due =
      sinceMs > FULL_DIGEST_BUSY_MS ||
      (sinceMs > FULL_DIGEST_IDLE_MS && this.#reason === 'idle' && this.sleepMs() > FULL_DIGEST_SLEEP_MS)
    if (due) this.#fullDigestMs = nowMs
    return due
  }
}
