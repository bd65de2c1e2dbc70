/**
 * The CPU side of a live machine: runs slices as the policy plans them and encodes a log frame of each. Waiting
 * and rings are the caller's.
 */
import type { MachineInput, MachineOutput } from '../machine/io.ts'
import type { Machine, SliceEndReason } from '../machine/machine.ts'
import { type FrameCursor, FrameEncoder } from '../replay/frame.ts'
import { Recorder } from '../replay/recorder.ts'
import { SLICE_MS_MAX, type SlicePolicy } from './slice-policy.ts'

/** A digest of all of RAM goes by this often while the guest idles: that is when hashing costs nothing. */
const FULL_DIGEST_IDLE_MS = 10_000
/** And this often when it never idles. */
const FULL_DIGEST_BUSY_MS = 60_000

export interface EncodedSlice {
  readonly sequence: number
  /** Valid until the next slice. */
  readonly bytes: Uint8Array
  readonly outputs: readonly MachineOutput[]
  readonly elapsedMs: number
}

export class LiveCpu {
  readonly #machine: Machine
  readonly #policy: SlicePolicy
  readonly #recorder: Recorder
  readonly #encoder: FrameEncoder
  readonly #now: () => number
  #reason: SliceEndReason
  #fullDigestMs: number

  /** `cursor` is where the log continues; `now` is the host's monotonic clock in ms. */
  constructor(machine: Machine, policy: SlicePolicy, cursor: FrameCursor, now: () => number) {
    this.#machine = machine
    this.#policy = policy
    this.#recorder = new Recorder(machine, cursor)
    this.#encoder = new FrameEncoder(cursor)
    this.#now = now
    this.#reason = machine.halted ? 'halted' : 'budget'
    this.#fullDigestMs = now()
  }

  /** Where the log goes on. */
  get cursor(): FrameCursor {
    return this.#encoder.cursor
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
  slice(inputs: readonly MachineInput[], interrupted: () => boolean): EncodedSlice {
    const startMs = this.#now()
    const plan = this.#policy.plan(startMs, this.#machine.guestClock())
    const order = { ...plan, inputs, fullDigest: this.#fullDigestDue(startMs) }
    let elapsedMs = 0
    const { frame, outputs } = this.#recorder.record(order, () => {
      elapsedMs = this.#now() - startMs
      return elapsedMs >= SLICE_MS_MAX || interrupted()
    })
    elapsedMs = this.#now() - startMs
    // A slice that hashed all of memory says nothing about how fast instructions are.
    if (frame.fullDigest === null) this.#policy.measured(frame.retired, elapsedMs)
    this.#reason = frame.reason
    return { sequence: frame.sequence, bytes: this.#encoder.encodeView(frame), outputs, elapsedMs }
  }

  #fullDigestDue(nowMs: number): boolean {
    const sinceMs = nowMs - this.#fullDigestMs
    const idles = this.#reason === 'idle'
    const due = sinceMs > (idles ? FULL_DIGEST_IDLE_MS : FULL_DIGEST_BUSY_MS)
    if (due) this.#fullDigestMs = nowMs
    return due
  }
}
