/**
 * Outputs that may not leave yet, by the log frame of the slice that made them. The protocol (`src/ft`) decides
 * when they go; here they only lie.
 */
import type { MachineOutput } from '../machine/io.ts'

/** What the outside could see, and so waits for the Output Rule. Entropy is asked of this very host: nobody sees it. */
export type VisibleOutput = Exclude<MachineOutput, { kind: 'entropy-request' }>

export function isVisible(output: MachineOutput): output is VisibleOutput {
  return output.kind !== 'entropy-request'
}

/** Bytes an output occupies while it is held; a fixed part stands for the object itself. */
export function outputBytes(output: VisibleOutput): number {
  const overhead = 64
  switch (output.kind) {
    case 'net-tx':
      return overhead + output.frame.length
    case 'console-tx':
    case 'disk-write':
      return overhead + output.data.length
    default:
      return overhead
  }
}

export function bytesOf(outputs: readonly VisibleOutput[]): number {
  return outputs.reduce((sum, output) => sum + outputBytes(output), 0)
}

/** The outputs of one frame, at least one, and since when they lie here. */
export interface HeldFrame {
  readonly sequence: number
  readonly outputs: readonly VisibleOutput[]
  readonly bytes: number
  readonly sinceMs: number
}

export class HeldOutputs {
  #held: HeldFrame[] = []
  #bytes = 0

  /** In sequence; `nowMs` is when. */
  hold(sequence: number, outputs: readonly VisibleOutput[], nowMs: number): void {
    if (outputs.length === 0) return
    const bytes = bytesOf(outputs)
    this.#held.push({ sequence, outputs, bytes, sinceMs: nowMs })
    this.#bytes += bytes
  }

  /** Takes out the outputs of all frames up to and including this one, in order; `taken` is told of each frame. */
  take(throughSequence: number, taken?: (frame: HeldFrame) => void): VisibleOutput[] {
    const after = this.#held.findIndex((entry) => entry.sequence > throughSequence)
    const frames = this.#held.splice(0, after < 0 ? this.#held.length : after)
    for (const frame of frames) {
      this.#bytes -= frame.bytes
      taken?.(frame)
    }
    return frames.flatMap((frame) => frame.outputs)
  }

  /** Bytes of all that is held. */
  get bytes(): number {
    return this.#bytes
  }

  clear(): void {
    this.#held = []
    this.#bytes = 0
  }
}
