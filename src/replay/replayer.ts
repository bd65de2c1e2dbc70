/**
 * Replays log frames on a machine and compares where each ends with what the log says.
 *
 * Only the clock, the inputs and the retired count steer the replay. The reason a slice ended for says why the
 * recording stopped there; where a run call ends is no part of the guest's state. A run call of the recording
 * that was spent exactly at an output went on past it, while a replay in other pieces sees the output itself.
 * So `output` and `budget` are the same to a replay, but an idle or powered-off machine can go no further.
 */
import type { MachineOutput } from '../machine/io.ts'
import { type Machine, RUN_BUDGET_MAX, type SliceEnd } from '../machine/machine.ts'
import { type Compared, DivergenceError, FrameError } from './errors.ts'
import type { FrameCursor, LogFrame } from './frame.ts'
import { Session } from './session.ts'

/**
 * Run calls in a row that may retire nothing. An early end may fall between two instructions, but a machine
 * that makes no progress has diverged, which is no reason to hang.
 */
const FRUITLESS_RUNS_MAX = 8

export interface ReplayOptions {
  /** Splits slices into run calls of at most this many instructions. The result may not depend on it. */
  readonly maxRunInstructions?: number
  readonly cursor?: FrameCursor
}

export class Replayer extends Session {
  readonly #runBudgetMax: number

  constructor(machine: Machine, options: ReplayOptions = {}) {
    super(machine, options.cursor)
    this.#runBudgetMax = Math.max(1, Math.min(RUN_BUDGET_MAX, options.maxRunInstructions ?? RUN_BUDGET_MAX))
  }

  /** Replays the frame at the cursor and returns what the machine put out. Throws DivergenceError. */
  replay(frame: LogFrame): MachineOutput[] {
    const { sequence } = this.cursor
    if (frame.sequence !== sequence) {
      throw new FrameError('FRAME_OUT_OF_ORDER', 0, `frame ${frame.sequence} where ${sequence} is next`)
    }
    this.begin(frame)
    let last: SliceEnd
    let fruitless = 0
    do {
      last = this.run(Math.min(this.#runBudgetMax, frame.retired - this.sliceRetired))
      fruitless = last.retired === 0 ? fruitless + 1 : 0
    } while (this.sliceRetired < frame.retired && !isStuck(last) && fruitless < FRUITLESS_RUNS_MAX)
    const outputs = this.end()
    this.#compare(frame, last)
    return outputs
  }

  #compare(frame: LogFrame, last: SliceEnd): void {
    this.#same(frame, 'retired count', frame.retired, this.sliceRetired)
    this.#same(frame, 'power state', power(frame.reason === 'halted'), power(this.machine.halted))
    // The recording would have called it idle too; the other way round an exactly spent run may not have noticed.
    if (last.reason === 'idle' && frame.reason === 'budget') this.#same(frame, 'end reason', 'budget', 'idle')
    this.#same(frame, 'digest', hex(frame.digest), hex(this.machine.digest()))
    if (frame.fullDigest === null) return
    this.#same(frame, 'full digest', hex(frame.fullDigest), hex(this.machine.fullDigest()))
  }

  #same(frame: LogFrame, compared: Compared, expected: string | number, actual: string | number): void {
    if (expected === actual) return
    const where = { sequence: frame.sequence, retired: this.machine.retired }
    throw new DivergenceError(where, compared, String(expected), String(actual))
  }
}

function isStuck(end: SliceEnd): boolean {
  return end.reason === 'idle' || end.reason === 'halted'
}

function power(halted: boolean): string {
  return halted ? 'off' : 'on'
}

function hex(digest: bigint): string {
  return digest.toString(16).padStart(16, '0')
}
