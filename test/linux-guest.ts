/**
 * A Linux guest in this process, driven in guest time: nothing waits for a clock, so a run is the same every time. What
 * happens to it is recorded.
 */
import type { Computer } from '../src/machine/computer.ts'
import type { MachineInput, MachineOutput } from '../src/machine/io.ts'
import type { LogFrame } from '../src/replay/frame.ts'
import { Recorder } from '../src/replay/recorder.ts'

/** A tick every 40 instructions, as on a hart of 400 MIPS. */
const CLOCK_RATE = Math.floor(2 ** 32 / 40)
const SLICE_INSTRUCTIONS = 400_000
const RUN_INSTRUCTIONS = 100_000
const RETIRED_MAX = 3_000_000_000n

export class LinuxGuest {
  readonly machine: Computer
  readonly frames: LogFrame[] = []
  readonly outputs: MachineOutput[] = []
  /** What the serial console said. */
  text = ''
  readonly #recorder: Recorder
  #inputs: MachineInput[]
  #clock: bigint

  constructor(machine: Computer, firstInputs: readonly MachineInput[] = []) {
    this.machine = machine
    this.#recorder = new Recorder(machine)
    this.#inputs = [...firstInputs]
    this.#clock = machine.guestClock()
  }

  input(...inputs: MachineInput[]): void {
    this.#inputs.push(...inputs)
  }

  type(text: string): void {
    this.input({ kind: 'console-rx', port: 'uart', data: new TextEncoder().encode(text) })
  }

  /** One slice; an idle guest sleeps until its timer is due. */
  step(): void {
    const order = {
      clock: this.#clock,
      clockRate: CLOCK_RATE,
      inputs: this.#inputs,
      budget: SLICE_INSTRUCTIONS,
      runBudget: RUN_INSTRUCTIONS,
      fullDigest: false,
    }
    const { frame, outputs } = this.#recorder.record(order)
    this.frames.push(frame)
    this.outputs.push(...outputs)
    this.#inputs = []
    for (const output of outputs) this.#answer(output)
    this.#clock = this.machine.guestClock()
    const deadline =
      frame.reason === 'idle' && this.#inputs.length === 0 ? this.machine.timerDeadline() : null
    if (deadline !== null && deadline > this.#clock) this.#clock = deadline
  }

  /** Disks hold zeros, and any bytes do for randomness: the test wants to repeat the run. */
  #answer(output: MachineOutput): void {
    switch (output.kind) {
      case 'entropy-request':
        return this.input({ kind: 'entropy', data: new Uint8Array(output.bytes).fill(this.frames.length) })
      case 'disk-read':
      case 'disk-write':
      case 'disk-flush': {
        const data = new Uint8Array(output.kind === 'disk-read' ? output.length : 0)
        return this.input({ kind: 'disk-complete', disk: output.disk, id: output.id, ok: true, data })
      }
      case 'console-tx':
        if (output.port === 'uart') this.text += Buffer.from(output.data).toString('latin1')
    }
  }

  /** Runs until the console has said something after `from`; returns where it ends. */
  until(text: string, from = 0): number {
    for (;;) {
      const at = this.text.indexOf(text, from)
      if (at !== -1) return at + text.length
      if (this.machine.retired > RETIRED_MAX || this.machine.halted)
        throw new Error(`the guest never said ${JSON.stringify(text)}:\n${this.text}`)
      this.step()
    }
  }

  /** Logs in and has a command executed; returns what it said. */
  command(line: string): string {
    if (!this.text.includes('# ')) {
      this.until('login: ')
      this.type('root\n')
    }
    this.until('# ')
    const from = this.text.length
    // The shell joins what the quotes part, so that the echo of the line is not its answer.
    this.type(`echo beg""in; ${line}; echo e""nd\n`)
    const end = this.until('end\r\n', from)
    const begin = this.text.indexOf('begin\r\n', from) + 'begin\r\n'.length
    return this.text.slice(begin, end - 'end\r\n'.length).trim()
  }
}
