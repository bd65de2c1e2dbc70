import type { MachineOutput } from '../machine/io.ts'
import type { Machine, SliceEnd, SliceStart } from '../machine/machine.ts'
import { CURSOR_AT_START, type FrameCursor } from './frame.ts'

/**
 * What recording and replaying have in common: a machine driven slice by slice, and the place in the log. Both
 * pass through the same calls of the machine in the same order, so whatever differs afterwards is the machine.
 */
export abstract class Session {
  protected readonly machine: Machine
  #cursor: FrameCursor
  #sliceRetired = 0

  /** `cursor` is where in the log the machine stands; the default is a machine that was just powered on. */
  constructor(machine: Machine, cursor: FrameCursor = CURSOR_AT_START) {
    this.machine = machine
    this.#cursor = cursor
  }

  /** The place of the next frame. */
  get cursor(): FrameCursor {
    return this.#cursor
  }

  /** Instructions retired so far in the slice begun last. */
  protected get sliceRetired(): number {
    return this.#sliceRetired
  }

  protected begin(start: SliceStart): void {
    this.machine.beginSlice(start)
    this.#sliceRetired = 0
    const { clock, clockRate } = start
    this.#cursor = { sequence: this.#cursor.sequence + 1, clock, clockRate }
  }

  protected run(budget: number): SliceEnd {
    const end = this.machine.run(budget)
    this.#sliceRetired += end.retired
    return end
  }

  protected end(): MachineOutput[] {
    return this.machine.takeOutputs()
  }
}
