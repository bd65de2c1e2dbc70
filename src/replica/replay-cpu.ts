/** The CPU side of a backup: replays encoded frames exactly, each compared with where the log says it ends. */
import type { MachineInput, MachineOutput } from '../machine/io.ts'
import type { Machine } from '../machine/machine.ts'
import { type FrameCursor, FrameDecoder } from '../replay/frame.ts'
import { Replayer } from '../replay/replayer.ts'
import { ReplicaError } from './errors.ts'

export interface ReplayedSlice {
  readonly sequence: number
  readonly clock: bigint
  readonly inputs: readonly MachineInput[]
  readonly outputs: readonly MachineOutput[]
}

export class ReplayCpu {
  readonly #replayer: Replayer
  readonly #decoder: FrameDecoder

  /** `cursor` is where the log begins. */
  constructor(machine: Machine, cursor: FrameCursor) {
    this.#replayer = new Replayer(machine, { cursor })
    this.#decoder = new FrameDecoder(cursor)
  }

  /** Where the log continues. */
  get cursor(): FrameCursor {
    return this.#decoder.cursor
  }

  /** Replays one encoded frame. Throws `DivergenceError` when the machine ends elsewhere than the log says. */
  replay(bytes: Uint8Array): ReplayedSlice {
    const decoded = this.#decoder.decode(bytes)
    if (decoded.kind !== 'frame' || decoded.nextOffset !== bytes.length) {
      throw new ReplicaError('CHANNEL_NONSENSE', 'A log entry is not one whole frame.')
    }
    const { sequence, clock, inputs } = decoded.frame
    return { sequence, clock, inputs, outputs: this.#replayer.replay(decoded.frame) }
  }
}
