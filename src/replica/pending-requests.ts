/**
 * What the machine has asked the outside for and not been answered in the log yet: disk requests and entropy. A
 * replica that goes live asks again, because the old primary's answers died with it (section 3.4 of the paper:
 * pending disk I/O is re-issued; the requests are idempotent).
 */
import type { MachineInput, MachineOutput } from '../machine/io.ts'

export type Request = Extract<
  MachineOutput,
  { kind: 'entropy-request' | 'disk-read' | 'disk-write' | 'disk-flush' }
>

export class PendingRequests {
  #entropy: Request[] = []
  readonly #disk = new Map<string, Request>()

  output(output: MachineOutput): void {
    switch (output.kind) {
      case 'entropy-request':
        this.#entropy.push(output)
        return
      case 'disk-read':
      case 'disk-write':
      case 'disk-flush':
        this.#disk.set(`${output.disk}/${output.id}`, output)
        return
    }
  }

  /** The log answers entropy requests in the order they were made. */
  input(input: MachineInput): void {
    if (input.kind === 'entropy') this.#entropy.shift()
    if (input.kind === 'disk-complete') this.#disk.delete(`${input.disk}/${input.id}`)
  }

  /** In the order they were made. */
  list(): Request[] {
    return [...this.#entropy, ...this.#disk.values()]
  }
}
