/**
 * A computer small enough to see through, for testing replicas without booting a guest. It counts: each frame
 * it receives asks for one increment under a request number, and is answered with the count; a repeated request is
 * answered again and not counted again, as TCP would have it. It wakes every 100 ms of guest time, echoes its
 * console, and powers off when told so there. All of its state goes into its digest.
 */
import type { MachineConfig } from '../src/machine/config.ts'
import type { MachineInput, MachineOutput } from '../src/machine/io.ts'
import type { Machine, SliceEnd, SliceStart } from '../src/machine/machine.ts'

const TICK_PERIOD = 1_000_000n
const REQUEST_INSTRUCTIONS = 5_000
const TICK_INSTRUCTIONS = 2_000
const RATE_ONE = 2n ** 32n

/** Local experimental ethertype (IEEE 802, 9.2.3). */
export const ECHO_ETHERTYPE = 0x88b5
export const ECHO_FRAME_BYTES = 60
/** A request with this number makes the machine's replicas diverge. */
export const ECHO_POISON = 0xffff_ffff

/** The request with number `id` from `client` to the machine. */
export function echoRequest(guest: Uint8Array, client: Uint8Array, id: number): Uint8Array {
  const frame = new Uint8Array(ECHO_FRAME_BYTES)
  frame.set(guest, 0)
  frame.set(client, 6)
  const view = new DataView(frame.buffer)
  view.setUint16(12, ECHO_ETHERTYPE)
  view.setUint32(14, id)
  return frame
}

export function echoReply(frame: Uint8Array): { id: number; count: number } | null {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
  if (frame.length < ECHO_FRAME_BYTES || view.getUint16(12) !== ECHO_ETHERTYPE) return null
  return { id: view.getUint32(14), count: view.getUint32(18) }
}

interface Job {
  left: number
  readonly done: () => void
}

class EchoMachine implements Machine {
  retired = 0n
  halted = false
  readonly #mac: Uint8Array
  #clock = 0n
  #clockRate = 0n
  #fraction = 0n
  #nextTick = TICK_PERIOD
  #state = 0x12345678
  #count = 0
  #lastId = 0
  #line = ''
  #jobs: Job[] = []
  #outputs: MachineOutput[] = []
  #kicked = false

  constructor(config: MachineConfig) {
    this.#mac = config.nics[0]?.mac ?? new Uint8Array(6)
    for (const byte of config.rngSeed) this.#mix(byte)
    this.#jobs.push({ left: 1_000_000, done: () => this.#emit({ kind: 'entropy-request', bytes: 16 }) })
  }

  beginSlice(start: SliceStart): void {
    if (start.clock < this.guestClock()) throw new Error('the clock runs backwards')
    this.#clock = start.clock
    this.#fraction = 0n
    this.#clockRate = BigInt(start.clockRate)
    for (const input of start.inputs) this.#input(input)
  }

  run(budget: number): SliceEnd {
    let retired = 0
    while (retired < budget && !this.halted) {
      if (this.guestClock() >= this.#nextTick) {
        this.#nextTick += TICK_PERIOD
        this.#jobs.push({ left: TICK_INSTRUCTIONS, done: () => this.#mix(1) })
      }
      const job = this.#jobs[0]
      if (job === undefined) return { retired, reason: 'idle' }
      const steps = Math.min(job.left, budget - retired, 100)
      for (let i = 0; i < steps; i++) this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0
      job.left -= steps
      retired += steps
      this.retired += BigInt(steps)
      this.#fraction += BigInt(steps) * this.#clockRate
      if (job.left > 0) continue
      this.#jobs.shift()
      job.done()
      if (this.#kicked) {
        this.#kicked = false
        return { retired, reason: this.halted ? 'halted' : 'output' }
      }
    }
    return { retired, reason: this.halted ? 'halted' : 'budget' }
  }

  takeOutputs(): MachineOutput[] {
    const outputs = this.#outputs
    this.#outputs = []
    return outputs
  }

  guestClock(): bigint {
    return this.#clock + this.#fraction / RATE_ONE
  }

  timerDeadline(): bigint | null {
    return this.#nextTick
  }

  digest(): bigint {
    return (BigInt(this.#state) << 32n) | BigInt((this.#count * 65_537 + this.#lastId) >>> 0)
  }

  fullDigest(): bigint {
    return this.digest() ^ (this.retired << 1n)
  }

  #input(input: MachineInput): void {
    switch (input.kind) {
      case 'net-rx': {
        const { frame } = input
        const reply = echoReply(frame)
        if (reply === null) return
        const client = frame.slice(6, 12)
        this.#jobs.push({ left: REQUEST_INSTRUCTIONS, done: () => this.#serve(client, reply.id) })
        return
      }
      case 'console-rx':
        this.#jobs.push({ left: 100 * input.data.length, done: () => this.#type(input.data) })
        return
      case 'entropy':
        for (const byte of input.data) this.#mix(byte)
        this.#emit({ kind: 'console-tx', port: 'uart', data: Buffer.from('echo machine ready\n') })
        return
      case 'disk-complete':
        return
    }
  }

  #serve(client: Uint8Array, id: number): void {
    if (id === ECHO_POISON) {
      // What a machine must never do: its state now depends on the process it runs in.
      this.#mix(process.pid)
      return
    }
    if (id > this.#lastId) {
      this.#lastId = id
      this.#count += 1
    }
    const frame = echoRequest(client, this.#mac, id)
    new DataView(frame.buffer).setUint32(18, this.#count)
    this.#emit({ kind: 'net-tx', nic: 0, frame })
  }

  #type(data: Uint8Array): void {
    this.#emit({ kind: 'console-tx', port: 'uart', data })
    this.#line += Buffer.from(data).toString('latin1')
    if (this.#line.includes('poweroff\n')) {
      this.halted = true
      this.#emit({ kind: 'power', action: 'off', exitStatus: 0 })
    }
    this.#line = this.#line.slice(this.#line.lastIndexOf('\n') + 1)
  }

  #emit(output: MachineOutput): void {
    this.#outputs.push(output)
    this.#kicked = true
  }

  #mix(value: number): void {
    this.#state = (Math.imul(this.#state ^ value, 0x9e3779b1) + 1) >>> 0
  }
}

export function createMachine(config: MachineConfig): Machine {
  return new EchoMachine(config)
}
