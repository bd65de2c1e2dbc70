import type { MachineInput, MachineOutput } from '../machine/io.ts'
import { RUN_BUDGET_MAX, type SliceEnd } from '../machine/machine.ts'
import { type LogFrame, SLICE_RETIRED_MAX } from './frame.ts'
import { Session } from './session.ts'

/** How a slice shall start and how far it may go; a slice policy decides it from the host's time. */
export interface SliceOrder {
  /** Ticks of 100 ns. */
  readonly clock: bigint
  /** Ticks per instruction, unsigned 0.32 fixed point. */
  readonly clockRate: number
  readonly inputs: readonly MachineInput[]
  /** Instructions the whole slice may retire, 1 to SLICE_RETIRED_MAX. */
  readonly budget: number
  /** Instructions to run before `interrupted` is asked again, 1 to RUN_BUDGET_MAX. */
  readonly runBudget: number
  /** Whether the frame shall carry a digest of all memory. */
  readonly fullDigest: boolean
}

export interface RecordedSlice {
  readonly frame: LogFrame
  readonly outputs: readonly MachineOutput[]
}

/** Drives a live machine and makes the log frame of each slice. Encoding and keeping it are the caller's. */
export class Recorder extends Session {
  /** `interrupted` is asked after each run call whether the slice shall end there for something that waits. */
  record(order: SliceOrder, interrupted: () => boolean = () => false): RecordedSlice {
    const { clock, clockRate, inputs } = order
    const sliceBudget = Math.min(order.budget, SLICE_RETIRED_MAX)
    const runBudget = Math.min(order.runBudget, RUN_BUDGET_MAX)
    const { sequence } = this.cursor
    this.begin({ clock, clockRate, inputs })
    let last: SliceEnd
    do {
      last = this.run(Math.min(runBudget, sliceBudget - this.sliceRetired))
    } while (last.reason === 'budget' && this.sliceRetired < sliceBudget && !interrupted())
    const outputs = this.end()
    const frame: LogFrame = {
      sequence,
      clock,
      clockRate,
      inputs,
      retired: this.sliceRetired,
      reason: this.machine.halted ? 'halted' : last.reason,
      digest: this.machine.digest(),
      fullDigest: order.fullDigest ? this.machine.fullDigest() : null,
    }
    return { frame, outputs }
  }
}
