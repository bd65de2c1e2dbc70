/**
 * The CPU side of a backup: replays frames exactly and compares where each ends with what the log says.
 */
import type { MachineInput, MachineOutput } from '../machine/io.ts'
import type { Machine, SliceEndReason } from '../machine/machine.ts'
import { RUN_BUDGET_MAX } from '../machine/machine.ts'
import type { FrameDecoder, LogFrame } from '../replay/frame.ts'
import { ReplicaError } from './errors.ts'

export interface ReplayedSlice {
  readonly sequence: number
  readonly clock: bigint
  readonly inputs: readonly MachineInput[]
  readonly outputs: readonly MachineOutput[]
}

/** The machine came to another place or state than the log says. */
export class DivergenceError extends ReplicaError {
  readonly sequence: number

  constructor(sequence: number, what: string, expected: unknown, actual: unknown) {
    super('DIVERGED', `Frame ${sequence}: ${what} is ${actual}, the log says ${expected}.`)
    this.sequence = sequence
  }
}

export class ReplayCpu {
  readonly #machine: Machine
  readonly #decoder: FrameDecoder

  constructor(machine: Machine, decoder: FrameDecoder) {
    this.#machine = machine
    this.#decoder = decoder
  }

  /** Where the log continues; an encoder made from it goes on where the replay ended. */
  get cursor() {
    return this.#decoder.cursor
  }

  /** Replays one encoded frame. Throws `DivergenceError` when it ends elsewhere. */
  replay(bytes: Uint8Array): ReplayedSlice {
    const decoded = this.#decoder.decode(bytes)
    if (decoded.kind !== 'frame' || decoded.nextOffset !== bytes.length) {
      throw new ReplicaError('CHANNEL_NONSENSE', 'A log entry is not one whole frame.')
    }
    const { frame } = decoded
    const machine = this.#machine
    machine.beginSlice({ clock: frame.clock, clockRate: frame.clockRate, inputs: frame.inputs })
    let retired = 0
    let reason: SliceEndReason
    do {
      const end = machine.run(Math.min(RUN_BUDGET_MAX, frame.retired - retired))
      retired += end.retired
      reason = end.reason
    } while (reason === 'budget' && retired < frame.retired)
    const outputs = machine.takeOutputs()
    this.#compare(frame, retired)
    return { sequence: frame.sequence, clock: frame.clock, inputs: frame.inputs, outputs }
  }

  #compare(frame: LogFrame, retired: number): void {
    const differ = (what: string, expected: unknown, actual: unknown) => {
      throw new DivergenceError(frame.sequence, what, expected, actual)
    }
    if (retired !== frame.retired) differ('the retired count', frame.retired, retired)
    const halted = frame.reason === 'halted'
    if (this.#machine.halted !== halted) differ('power-off', halted, this.#machine.halted)
    const digest = this.#machine.digest()
    if (digest !== frame.digest) differ('the digest', frame.digest, digest)
    if (frame.fullDigest === null) return
    const fullDigest = this.#machine.fullDigest()
    if (fullDigest !== frame.fullDigest) differ('the digest of all memory', frame.fullDigest, fullDigest)
  }
}
