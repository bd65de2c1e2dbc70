/**
 * The console device (virtio 1.2, section 5.3) with a single port: no control queues. Bytes typed while the guest
 * has no buffers wait in a bounded queue; bytes the guest sends are gathered and leave as one output per slice.
 */
import { ByteQueue } from '../byte-queue.ts'
import type { DeviceState } from '../device.ts'
import { StateReader } from '../state.ts'
import { readSegments, writeSegments } from '../virtio/chain.ts'
import type { VirtioFunction, VirtioPort } from '../virtio/function.ts'
import { DEVICE_CONSOLE } from '../virtio/protocol.ts'

/** A long paste. More is refused: the sender learns how much was taken. */
export const CONSOLE_WAITING_BYTES_MAX = 64 * 1024
/** Gathered output leaves at this size even before the slice ends, so that a guest cannot make it grow. */
const GATHER_BYTES_MAX = 4096

const RECEIVE_QUEUE = 0
const TRANSMIT_QUEUE = 1
const QUEUE_SIZE_MAX = 64

const VERSION = 1

export class VirtioConsole implements VirtioFunction {
  readonly name = 'console'
  readonly deviceId = DEVICE_CONSOLE
  readonly features = 0n
  readonly queueSizesMax = [QUEUE_SIZE_MAX, QUEUE_SIZE_MAX]
  /** cols, rows, max_nr_ports and emerg_wr: each valid only with a feature that is not offered. */
  readonly config = new Uint8Array(12)
  readonly #waiting = new ByteQueue(CONSOLE_WAITING_BYTES_MAX)
  readonly #gathered = new Uint8Array(GATHER_BYTES_MAX)
  #gatheredBytes = 0
  #port!: VirtioPort

  /** How many bytes `receive` would take now. */
  get receiveFree(): number {
    return this.#waiting.free
  }

  connect(port: VirtioPort): void {
    this.#port = port
  }

  /** Input: bytes typed at the console. Says how many were taken; the rest is dropped. */
  receive(data: Uint8Array): number {
    const accepted = this.#waiting.push(data)
    this.#deliver()
    return accepted
  }

  /** Emits what was sent since the last flush. The machine calls it when a slice ends. */
  flush(): void {
    if (this.#gatheredBytes === 0) return
    this.#port.output({
      kind: 'console-tx',
      port: 'virtio',
      data: this.#gathered.slice(0, this.#gatheredBytes),
    })
    this.#gatheredBytes = 0
  }

  notify(queue: number): void {
    if (queue === RECEIVE_QUEUE) this.#deliver()
    else this.#transmit()
  }

  /** What was sent has left the guest and stays; what was typed waits for the next driver. */
  reset(): void {}

  save(): DeviceState {
    return {
      version: VERSION,
      waiting: this.#waiting.peek(CONSOLE_WAITING_BYTES_MAX),
      gathered: this.#gathered.slice(0, this.#gatheredBytes),
    }
  }

  restore(state: DeviceState): void {
    const reader = new StateReader(this.name, state, VERSION)
    const waiting = reader.bytes('waiting', 0, CONSOLE_WAITING_BYTES_MAX)
    const gathered = reader.bytes('gathered', 0, GATHER_BYTES_MAX - 1)
    this.#waiting.clear()
    this.#waiting.push(waiting)
    this.#gathered.set(gathered)
    this.#gatheredBytes = gathered.length
  }

  #deliver(): void {
    const port = this.#port
    if (!port.live) return
    const queue = port.queue(RECEIVE_QUEUE)
    while (this.#waiting.length > 0) {
      const chain = queue.pop()
      if (chain === null) break
      const data = this.#waiting.take(chain.writableBytes)
      queue.pushUsed(chain.head, writeSegments(port.memory, chain.writable, 0, data))
    }
    port.signal(queue)
  }

  #transmit(): void {
    const port = this.#port
    const queue = port.queue(TRANSMIT_QUEUE)
    for (let chain = queue.pop(); chain !== null; chain = queue.pop()) {
      // A chain may describe the same page a thousand times: it is read piece by piece, never as a whole.
      for (let offset = 0; offset < chain.readableBytes; ) {
        const piece = Math.min(GATHER_BYTES_MAX - this.#gatheredBytes, chain.readableBytes - offset)
        this.#gathered.set(readSegments(port.memory, chain.readable, offset, piece), this.#gatheredBytes)
        this.#gatheredBytes += piece
        offset += piece
        if (this.#gatheredBytes === GATHER_BYTES_MAX) this.flush()
      }
      queue.pushUsed(chain.head, 0)
    }
    port.signal(queue)
  }
}
