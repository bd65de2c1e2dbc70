import type { MachineInput, MachineOutput } from '../../machine/io.ts'
import type { Machine, SliceEnd, SliceEndReason, SliceStart } from '../../machine/machine.ts'

/** Chosen so that all kinds of ends happen often in short runs. */
const OUTPUT_EVERY = 13n
const IDLE_EVERY = 17n
const CLOCK_READ_EVERY = 5n
const IDLE_TICKS = 40n
const MASK = (1n << 64n) - 1n

/**
 * A computer small enough to see through, for tests of recording and replay. Each "instruction" stirs a 64-bit
 * state; some read the guest clock, some make an output that ends the slice, some wait for a timer or an input,
 * and one powers off. Deterministic in the sense of `Machine`, unless told to lie.
 */
export class ToyMachine implements Machine {
  #state = 1n
  #retired = 0n
  #halted = false
  #waiting = false
  #deadline: bigint | null = null
  #clock = 0n
  #clockRate = 0
  #sliceRetired = 0n
  #outputs: MachineOutput[] = []
  readonly #haltAt: bigint
  readonly #lieAt: bigint

  /** Powers off after `haltAt` instructions. Does something else than it should at instruction `lieAt`. */
  constructor(haltAt: number, lieAt = -1) {
    this.#haltAt = BigInt(haltAt)
    this.#lieAt = BigInt(lieAt)
  }

  get retired(): bigint {
    return this.#retired
  }

  get halted(): boolean {
    return this.#halted
  }

  beginSlice(start: SliceStart): void {
    if (start.clock < this.guestClock()) throw new Error('the clock runs backwards')
    this.#clock = start.clock
    this.#clockRate = start.clockRate
    this.#sliceRetired = 0n
    for (const input of start.inputs) this.#apply(input)
    if (this.#deadline !== null && start.clock >= this.#deadline) this.#wake()
  }

  run(budget: number): SliceEnd {
    let retired = 0
    while (retired < budget) {
      if (this.#halted) return { retired, reason: 'halted' }
      if (this.#waiting) return { retired, reason: 'idle' }
      const reason = this.#step()
      retired++
      if (reason !== 'budget') return { retired, reason }
    }
    return { retired, reason: 'budget' }
  }

  takeOutputs(): MachineOutput[] {
    const outputs = this.#outputs
    this.#outputs = []
    return outputs
  }

  guestClock(): bigint {
    return this.#clock + ((this.#sliceRetired * BigInt(this.#clockRate)) >> 32n)
  }

  timerDeadline(): bigint | null {
    return this.#deadline
  }

  digest(): bigint {
    return this.#state
  }

  fullDigest(): bigint {
    return (this.#state * 3n + this.#retired) & MASK
  }

  #step(): SliceEndReason {
    const at = this.#retired
    this.#retired++
    this.#sliceRetired++
    this.#stir(at === this.#lieAt ? 2n : 1n)
    if (at % CLOCK_READ_EVERY === 0n) this.#stir(this.guestClock())
    if (this.#retired === this.#haltAt) {
      this.#halted = true
      this.#outputs.push({ kind: 'power', action: 'off', exitStatus: 7 })
      return 'halted'
    }
    if (at % IDLE_EVERY === 0n) {
      this.#waiting = true
      this.#deadline = this.guestClock() + IDLE_TICKS
      return 'idle'
    }
    if (at % OUTPUT_EVERY === 0n) {
      const data = Uint8Array.of(Number(this.#state & 0xffn))
      this.#outputs.push({ kind: 'console-tx', port: 'uart', data })
      return 'output'
    }
    return 'budget'
  }

  #apply(input: MachineInput): void {
    const bytes = bytesOf(input)
    this.#stir(BigInt(bytes.length))
    for (const byte of bytes) this.#stir(BigInt(byte))
    this.#wake()
  }

  #wake(): void {
    this.#waiting = false
    this.#deadline = null
  }

  #stir(value: bigint): void {
    this.#state = ((this.#state ^ value) * 0x9e37_79b9_7f4a_7c15n + 0x1234_5678n) & MASK
  }
}

function bytesOf(input: MachineInput): Uint8Array {
  if (input.kind === 'reset') return new Uint8Array()
  return input.kind === 'net-rx' ? input.frame : input.data
}
