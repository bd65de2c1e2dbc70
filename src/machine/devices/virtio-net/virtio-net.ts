/**
 * The network device (virtio 1.2, section 5.1): one pair of queues, no offloads, so that every frame is whole and
 * means the same to any peer.
 *
 * A frame that arrives while the guest has no buffers waits here, in a bounded queue that is part of the state;
 * when that is full frames are dropped, as a switch would, and counted. Sent frames end the slice: latency is what
 * a client of the guest feels.
 */
import type { DeviceState } from '../device.ts'
import { StateReader } from '../state.ts'
import { type DescriptorChain, readSegments, writeSegments } from '../virtio/chain.ts'
import type { VirtioFunction, VirtioPort } from '../virtio/function.ts'
import { DEVICE_NET } from '../virtio/protocol.ts'
import type { Virtqueue } from '../virtio/virtqueue.ts'

/** The largest IP packet behind an Ethernet header with one VLAN tag. */
export const FRAME_BYTES_MAX = 65_535 + 18
/** Destination, source and type: anything shorter is no frame. */
export const FRAME_BYTES_MIN = 14
/** Frames that wait for buffers: a burst of a round trip at 1 Gbit/s; more would only add delay. */
export const RX_WAITING_FRAMES_MAX = 1024
/** And their bytes, so that jumbo frames cannot make the state of the device grow to 64 MiB. */
export const RX_WAITING_BYTES_MAX = 2 * 1024 * 1024

const RX_QUEUE = 0
const TX_QUEUE = 1
const QUEUE_SIZE_MAX = 256

/** Section 5.1.3. */
const F_MAC = 5
const F_MRG_RXBUF = 15
const F_STATUS = 16
const STATUS_LINK_UP = 1

/** Section 5.1.6: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, num_buffers. */
const HEADER_BYTES = 12
const HEADER_FLAG_NEEDS_CSUM = 1

const VERSION = 1

export class VirtioNet implements VirtioFunction {
  readonly name: string
  readonly deviceId = DEVICE_NET
  readonly features = (1n << BigInt(F_MAC)) | (1n << BigInt(F_MRG_RXBUF)) | (1n << BigInt(F_STATUS))
  readonly queueSizesMax = [QUEUE_SIZE_MAX, QUEUE_SIZE_MAX]
  readonly config: Uint8Array
  readonly #nic: number
  readonly #header = new Uint8Array(HEADER_BYTES)
  #port!: VirtioPort
  #waiting: Uint8Array[] = []
  #waitingBytes = 0

  /** `nic`: the index that inputs and outputs carry. `mac`: six bytes. */
  constructor(nic: number, mac: Uint8Array) {
    if (mac.length !== 6) throw new RangeError(`a MAC address has 6 bytes, not ${mac.length}`)
    this.name = `net${nic}`
    this.#nic = nic
    this.config = new Uint8Array(8)
    this.config.set(mac)
    this.config[6] = STATUS_LINK_UP
  }

  /** Frames waiting for the guest to provide buffers. */
  get waitingFrames(): number {
    return this.#waiting.length
  }

  connect(port: VirtioPort): void {
    this.#port = port
  }

  /** Input: a frame from the network, without FCS. The caller does not change it afterwards. */
  receive(frame: Uint8Array): void {
    const port = this.#port
    if (!port.live) {
      port.warn('rx-dropped-not-live')
      return
    }
    if (frame.length < FRAME_BYTES_MIN || frame.length > FRAME_BYTES_MAX) {
      port.warn('rx-dropped-length')
      return
    }
    const queue = port.queue(RX_QUEUE)
    if (this.#waiting.length === 0 && this.#deliver(queue, frame)) {
      port.signal(queue)
      return
    }
    if (!port.live) return
    if (
      this.#waiting.length >= RX_WAITING_FRAMES_MAX ||
      this.#waitingBytes + frame.length > RX_WAITING_BYTES_MAX
    ) {
      port.warn('rx-dropped-full')
      return
    }
    this.#waiting.push(frame)
    this.#waitingBytes += frame.length
  }

  notify(queue: number): void {
    if (queue === RX_QUEUE) this.#deliverWaiting()
    else this.#transmit()
  }

  reset(): void {
    this.#waiting = []
    this.#waitingBytes = 0
  }

  save(): DeviceState {
    return { version: VERSION, waiting: this.#waiting.map((frame) => frame.slice()) }
  }

  restore(state: DeviceState): void {
    const reader: StateReader = new StateReader(this.name, state, VERSION)
    const waiting: Uint8Array[] = []
    let bytes = 0
    for (const frame of reader.list('waiting', 0, RX_WAITING_FRAMES_MAX)) {
      if (!(frame instanceof Uint8Array) || frame.length < FRAME_BYTES_MIN || frame.length > FRAME_BYTES_MAX)
        reader.fail('a waiting frame is no frame')
      waiting.push(frame.slice())
      bytes += frame.length
    }
    if (bytes > RX_WAITING_BYTES_MAX) reader.fail('too many bytes are waiting')
    this.#waiting = waiting
    this.#waitingBytes = bytes
  }

  #deliverWaiting(): void {
    const port = this.#port
    const queue = port.queue(RX_QUEUE)
    let delivered = 0
    while (delivered < this.#waiting.length && this.#deliver(queue, this.#waiting[delivered])) {
      this.#waitingBytes -= this.#waiting[delivered].length
      delivered += 1
    }
    if (delivered === 0) return
    this.#waiting.splice(0, delivered)
    port.signal(queue)
  }

  /**
   * Puts the frame into the guest's buffers; false if there are too few. True also for a frame that can never fit.
   */
  #deliver(queue: Virtqueue, frame: Uint8Array): boolean {
    const port = this.#port
    const needed = HEADER_BYTES + frame.length
    const first = queue.pop()
    if (first === null) return false
    const header = this.#header
    if (first.writableBytes >= needed) {
      header[10] = 1
      header[11] = 0
      writeSegments(port.memory, first.writable, 0, header)
      writeSegments(port.memory, first.writable, HEADER_BYTES, frame)
      queue.pushUsed(first.head, needed)
      return true
    }
    if (!port.accepted(F_MRG_RXBUF)) {
      // Section 5.1.6.3.1 obliges the driver to offer larger buffers: the frame is lost, the buffer is not.
      queue.unpop(1)
      port.warn('rx-dropped-buffer-small')
      return true
    }
    return this.#deliverMerged(queue, first, frame)
  }

  /** Section 5.1.6.4: the frame lies in several buffers, the first of which begins with the header. */
  #deliverMerged(queue: Virtqueue, first: DescriptorChain, frame: Uint8Array): boolean {
    const port = this.#port
    const needed = HEADER_BYTES + frame.length
    const chains = [first]
    let room = first.writableBytes
    while (room < needed) {
      const chain = chains.length < queue.size ? queue.pop() : null
      if (chain === null) {
        if (!port.live) return false
        queue.unpop(chains.length)
        if (chains.length < queue.size) return false
        // The whole queue together is too small, so waiting would be for ever.
        port.warn('rx-dropped-buffer-small')
        return true
      }
      room += chain.writableBytes
      chains.push(chain)
    }
    if (first.writableBytes < HEADER_BYTES) {
      port.fault('request-malformed')
      return false
    }
    this.#header[10] = chains.length & 0xff
    this.#header[11] = chains.length >>> 8
    writeSegments(port.memory, first.writable, 0, this.#header)
    let sent = 0
    for (const chain of chains) {
      const offset = chain === first ? HEADER_BYTES : 0
      const written = writeSegments(port.memory, chain.writable, offset, frame.subarray(sent))
      sent += written
      queue.pushUsed(chain.head, offset + written)
    }
    return true
  }

  #transmit(): void {
    const port = this.#port
    const queue = port.queue(TX_QUEUE)
    let sent = 0
    for (let chain = queue.pop(); chain !== null; chain = queue.pop()) {
      if (this.#send(chain)) sent += 1
      queue.pushUsed(chain.head, 0)
    }
    port.signal(queue)
    if (sent > 0) port.endSlice()
  }

  #send(chain: DescriptorChain): boolean {
    const port = this.#port
    const frameBytes = chain.readableBytes - HEADER_BYTES
    if (frameBytes < FRAME_BYTES_MIN || frameBytes > FRAME_BYTES_MAX) {
      port.warn('tx-frame-length')
      return false
    }
    if (this.#asksForOffload(chain)) {
      port.warn('tx-frame-offload')
      return false
    }
    port.output({
      kind: 'net-tx',
      nic: this.#nic,
      frame: readSegments(port.memory, chain.readable, HEADER_BYTES, frameBytes),
    })
    return true
  }

  /** No offload is offered, so a header that asks for one describes a frame that is not whole. */
  #asksForOffload(chain: DescriptorChain): boolean {
    const memory = this.#port.memory
    const first = chain.readable[0]
    if (first.length >= 2)
      return (memory.u8(first.address) & HEADER_FLAG_NEEDS_CSUM) !== 0 || memory.u8(first.address + 1) !== 0
    const header = readSegments(memory, chain.readable, 0, 2)
    return (header[0] & HEADER_FLAG_NEEDS_CSUM) !== 0 || header[1] !== 0
  }
}
