/** The machine as a device sees it, for tests: it records what the device does. */
import type { MachineOutput } from '../../io.ts'
import type { DeviceContext, GuestMemory, InterruptLine } from '../device.ts'
import { TestRam } from './test-ram.ts'

export class TestContext implements DeviceContext {
  readonly memory: GuestMemory
  readonly interrupt: InterruptLine = {
    set: (asserted) => {
      if (asserted && !this.asserted) this.interrupts += 1
      this.asserted = asserted
    },
  }
  asserted = false
  /** How often the line rose. */
  interrupts = 0
  clock = 0n
  sliceEnds = 0
  outputs: MachineOutput[] = []

  constructor(memory: GuestMemory = new TestRam(4096)) {
    this.memory = memory
  }

  guestClock(): bigint {
    return this.clock
  }

  output(output: MachineOutput): void {
    this.outputs.push(output)
  }

  endSlice(): void {
    this.sliceEnds += 1
  }

  takeOutputs(): MachineOutput[] {
    const taken = this.outputs
    this.outputs = []
    return taken
  }
}
