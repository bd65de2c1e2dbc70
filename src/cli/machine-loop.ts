/**
 * A live machine on one thread: a slice, then a turn of the event loop that lets inputs in and outputs out, then
 * the next; asleep while the guest is. There is no backup here, so outputs leave at once.
 */
import type { ConsolePort, MachineOutput } from '../machine/io.ts'
import { type Machine, RUN_BUDGET_MAX } from '../machine/machine.ts'
import type { LogFrame } from '../replay/frame.ts'
import { Recorder } from '../replay/recorder.ts'
import { SLICE_MS_MAX, SlicePolicy } from '../replica/slice-policy.ts'
import { MachineVerbError } from './machine-errors.ts'
import type { InputQueue } from './machine-inputs.ts'

/** A digest of all memory goes into the log about once a second of hard work: often enough to find where a replay left. */
const FULL_DIGEST_INSTRUCTIONS = 2 ** 28

type PowerOutput = Extract<MachineOutput, { kind: 'power' }>

export interface LoopSurroundings {
  readonly inputs: InputQueue
  readonly consolePort: ConsolePort
  /** Whether anything may still arrive while no timer is armed. */
  canBeWoken(): boolean
  /** Resolves when the machine may go on, which is at once unless the console's reader is slow. */
  output(output: MachineOutput): Promise<void> | undefined
  frame(frame: LogFrame): void
  /** Host time in milliseconds, monotonic. */
  now(): number
}

export interface LoopOptions {
  /** At most this many instructions in a run call of the machine. */
  readonly maxRunInstructions?: number
}

export class MachineLoop {
  readonly #machine: Machine
  readonly #recorder: Recorder
  readonly #around: LoopSurroundings
  readonly #policy: SlicePolicy
  readonly #maxRunInstructions: number
  #isStopping = false
  #sinceFullDigest = 0

  constructor(machine: Machine, around: LoopSurroundings, options: LoopOptions = {}) {
    this.#machine = machine
    this.#recorder = new Recorder(machine)
    this.#around = around
    this.#policy = new SlicePolicy(around.now(), machine.guestClock())
    this.#maxRunInstructions = options.maxRunInstructions ?? RUN_BUDGET_MAX
  }

  /** Ends `run` after the slice in progress. */
  stop(): void {
    this.#isStopping = true
    this.#around.inputs.wakeUp()
  }

  /** Runs until the guest powers off or `stop`; gives the power output if there was one. */
  async run(): Promise<PowerOutput | null> {
    let isIdle = false
    while (!this.#isStopping) {
      if (isIdle && this.#around.inputs.isEmpty) await this.#sleep()
      else await turnOfEventLoop()
      if (this.#isStopping) break
      const { reason, outputs } = this.#slice()
      isIdle = reason === 'idle'
      let power: PowerOutput | null = null
      for (const output of outputs) {
        if (output.kind === 'power' && output.action === 'off') power = output
        const pending = this.#around.output(output)
        if (pending !== undefined) await pending
      }
      if (power !== null || reason === 'halted') return power
    }
    return null
  }

  #slice() {
    const { inputs, consolePort, now } = this.#around
    const startMs = now()
    const plan = this.#policy.plan(startMs, this.#machine.guestClock())
    const { frame, outputs } = this.#recorder.record(
      {
        clock: plan.clock,
        clockRate: plan.clockRate,
        inputs: inputs.take(consolePort),
        budget: plan.budget,
        runBudget: Math.min(plan.runBudget, this.#maxRunInstructions),
        fullDigest: this.#sinceFullDigest >= FULL_DIGEST_INSTRUCTIONS,
      },
      () => now() - startMs >= SLICE_MS_MAX,
    )
    this.#policy.measured(frame.retired, now() - startMs)
    this.#sinceFullDigest = frame.fullDigest === null ? this.#sinceFullDigest + frame.retired : 0
    this.#around.frame(frame)
    return { reason: frame.reason, outputs }
  }

  async #sleep(): Promise<void> {
    const deadline = this.#machine.timerDeadline()
    if (deadline === null && !this.#around.canBeWoken()) {
      throw new MachineVerbError('MACHINE_ASLEEP', 'The guest sleeps and nothing can wake it.')
    }
    await this.#around.inputs.wait(this.#policy.idleMs(this.#around.now(), deadline))
  }
}

function turnOfEventLoop(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}
