/**
 * Boots a guest to the point from which it can be started many times, and gives it its own identity when it is.
 *
 * The guest takes part: booted with BOOT_WORD on its kernel command line it does what is the same for every machine,
 * writes BOOT_LINE to its virtio console (`/dev/hvc0`) and reads a line from there. It is saved while it waits for that
 * line. Until then it must draw no secret and start no service: whatever is in its memory, all machines started from the
 * snapshot have in common.
 */

import type { MachineInput, MachineOutput } from '../machine/io.ts'
import type { SavableMachine } from '../machine/machine.ts'

/** On the kernel command line: wait to be saved. */
export const BOOT_WORD = 'understudy.snapshot'
/** From the guest: everything before was the same for all. */
const BOOT_LINE = 'understudy: snapshot'

/** A tick every 40 instructions, as on a hart of 400 MIPS: no host's speed shows in the snapshot. */
const CLOCK_RATE = Math.floor(2 ** 32 / 40)
const SLICE_INSTRUCTIONS = 1_000_000
/** Seven times what a small Linux guest needs. A guest that has not said the line by then will not. */
const BOOT_INSTRUCTIONS_MAX = 2_000_000_000n
/** The same for one that sleeps: a minute of guest time. */
const BOOT_TICKS_MAX = 600_000_000n

/**
 * Runs a machine from power-on until it waits to be saved and has no request under way. False when it never does: it
 * powered off, sleeps for ever, or is an image that does not know the word. Guest time runs as fast as the guest does.
 */
export function bootUntilSavable(
  machine: SavableMachine,
  randomBytes: (count: number) => Uint8Array,
): boolean {
  let said = ''
  let clock = machine.guestClock()
  let inputs: MachineInput[] = []
  while (machine.retired < BOOT_INSTRUCTIONS_MAX && clock < BOOT_TICKS_MAX && !machine.halted) {
    machine.beginSlice({ clock, clockRate: CLOCK_RATE, inputs })
    const { reason } = machine.run(SLICE_INSTRUCTIONS)
    const outputs = machine.takeOutputs()
    inputs = outputs.flatMap((output) => answer(output, randomBytes))
    said = lastOf(said + virtioText(outputs))
    clock = machine.guestClock()
    if (reason !== 'idle' || inputs.length > 0) continue
    if (said.includes(BOOT_LINE)) return machine.pendingRequests().length === 0
    const deadline = machine.timerDeadline()
    if (deadline === null) return false
    if (deadline > clock) clock = deadline
  }
  return false
}

function answer(output: MachineOutput, randomBytes: (count: number) => Uint8Array): MachineInput[] {
  return output.kind === 'entropy-request' ? [{ kind: 'entropy', data: randomBytes(output.bytes) }] : []
}

function virtioText(outputs: readonly MachineOutput[]): string {
  return outputs
    .map((output) => (output.kind === 'console-tx' && output.port === 'virtio' ? output.data : []))
    .map((data) => Buffer.from(data).toString('latin1'))
    .join('')
}

/** The line may come in pieces; no more of what was said needs to be kept. */
function lastOf(text: string): string {
  return text.includes(BOOT_LINE) ? BOOT_LINE : text.slice(-BOOT_LINE.length)
}

/** Which machine the guest is when it goes on. */
export interface Identity {
  /** 16 random bytes that no other machine gets. */
  readonly generation: Uint8Array
  /** Words as on the kernel command line: `hostname=web`. */
  readonly words: string
}

/** What the restored machine takes in first. */
export function identityInputs({ generation, words }: Identity): MachineInput[] {
  return [
    { kind: 'generation', data: generation },
    { kind: 'console-rx', port: 'virtio', data: new TextEncoder().encode(`${words}\n`) },
  ]
}
