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

export class HeldOutputs {
  #held: { readonly sequence: number; readonly outputs: readonly VisibleOutput[] }[] = []

  /** In sequence. */
  hold(sequence: number, outputs: readonly VisibleOutput[]): void {
    if (outputs.length > 0) this.#held.push({ sequence, outputs })
  }

  /** Takes out the outputs of all frames up to and including this one, in order. */
  take(throughSequence: number): VisibleOutput[] {
    const after = this.#held.findIndex((entry) => entry.sequence > throughSequence)
    return this.#held.splice(0, after < 0 ? this.#held.length : after).flatMap((entry) => entry.outputs)
  }

  clear(): void {
    this.#held = []
  }
}
