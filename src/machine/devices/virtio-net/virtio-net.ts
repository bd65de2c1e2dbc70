/**
 * The network device (virtio 1.2, section 5.1): one pair of queues. Checksums may be left out by the driver: they are
 * completed here, and verified here for what arrives, so that every frame outside is whole and means the same to any
 * peer. Segments may be as large as an IP packet, by the MTU that the device advises; so nothing needs to be cut up or
 * put together again.
 *
 * A frame that arrives while the guest has no buffers waits here, in a bounded queue that is part of the state;
 * when that is full frames are dropped, as a switch would, and counted. Sent frames end the slice: latency is what
 * a client of the guest feels.
 */
import type { DeviceState } from '../device.ts'
import { StateReader } from '../state.ts'
import { type DescriptorChain, readSegments, type Segment, writeSegments } from '../virtio/chain.ts'
import type { VirtioFunction, VirtioPort } from '../virtio/function.ts'
import { DEVICE_NET } from '../virtio/protocol.ts'
import type { Virtqueue } from '../virtio/virtqueue.ts'
import { checksumOf, checksumSpan, isChecksumRight, sumSegments } from './checksum.ts'

/** The largest IP packet behind an Ethernet header with one VLAN tag. */
export const FRAME_BYTES_MAX = 65_535 + 18
/** Destination, source and type: anything shorter is no frame. */
export const FRAME_BYTES_MIN = 14
/**
 * What the device advises as MTU: the largest that is a multiple of 4 and still fits an Ethernet frame whose length,
 * header included, takes 16 bits. A guest on a network of segments of 64 KiB handles a tenth of the packets.
 */
export const MTU_BYTES = 65_520
/**
 * Frames that wait for buffers, and their bytes: a sender that fills a window of some MiB must not lose frames, because
 * user-mode TCP repairs a loss by sending the whole window again.
 */
export const RX_WAITING_FRAMES_MAX = 4096
export const RX_WAITING_BYTES_MAX = 8 * 1024 * 1024

const RX_QUEUE = 0
const TX_QUEUE = 1
/** A frame of 64 KiB takes 17 buffers or more: some dozen frames at a time. */
const QUEUE_SIZE_MAX = 512

/** Section 5.1.3. */
const F_CSUM = 0
const F_GUEST_CSUM = 1
const F_MTU = 3
const F_MAC = 5
const F_MRG_RXBUF = 15
const F_STATUS = 16
const FEATURES = [F_CSUM, F_GUEST_CSUM, F_MTU, F_MAC, F_MRG_RXBUF, F_STATUS]
const STATUS_LINK_UP = 1
/** Section 5.1.4: MAC address, status, number of queue pairs, MTU. */
const CONFIG = { status: 6, mtu: 10, bytes: 12 } as const

/** Section 5.1.6: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, num_buffers. */
const HEADER_BYTES = 12
const HEADER = { flags: 0, gsoType: 1, checksumStart: 6, checksumOffset: 8, buffers: 10 } as const
const HEADER_FLAG_NEEDS_CSUM = 1
const HEADER_FLAG_DATA_VALID = 2

const VERSION = 1

export class VirtioNet implements VirtioFunction {
  readonly name: string
  readonly deviceId = DEVICE_NET
  readonly features = FEATURES.reduce((bits, bit) => bits | (1n << BigInt(bit)), 0n)
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
    this.config = new Uint8Array(CONFIG.bytes)
    this.config.set(mac)
    this.config[CONFIG.status] = STATUS_LINK_UP
    new DataView(this.config.buffer).setUint16(CONFIG.mtu, MTU_BYTES, true)
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
   * Puts the frame into the guest's buffers, several if the driver merges them (section 5.1.6.4); false if there are too
   * few. True also for a frame that can never fit.
   */
  #deliver(queue: Virtqueue, frame: Uint8Array): boolean {
    const port = this.#port
    const needed = HEADER_BYTES + frame.length
    const first = queue.pop()
    if (first === null) return false
    const chains = [first]
    let room = first.writableBytes
    if (room < needed && !port.accepted(F_MRG_RXBUF)) {
      // Section 5.1.6.3.1 obliges the driver to offer larger buffers: the frame is lost, the buffer is not.
      queue.unpop(1)
      port.warn('rx-dropped-buffer-small')
      return true
    }
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
    this.#fill(queue, chains, frame)
    return true
  }

  /** Writes header and frame into chains that have room for them, and hands these to the driver. */
  #fill(queue: Virtqueue, chains: readonly DescriptorChain[], frame: Uint8Array): void {
    const { memory } = this.#port
    const segments = chains.length === 1 ? chains[0].writable : chains.flatMap((chain) => chain.writable)
    writeSegments(memory, segments, HEADER_BYTES, frame)
    const header = this.#header
    header[HEADER.flags] = this.#isVerified(frame, segments) ? HEADER_FLAG_DATA_VALID : 0
    header[HEADER.buffers] = chains.length & 0xff
    header[HEADER.buffers + 1] = chains.length >>> 8
    writeSegments(memory, segments, 0, header)
    let left = HEADER_BYTES + frame.length
    for (const chain of chains) {
      const used = Math.min(chain.writableBytes, left)
      queue.pushUsed(chain.head, used)
      left -= used
    }
  }

  /** Whether the guest may believe the frame's checksum: summed where the frame now lies, behind its header. */
  #isVerified(frame: Uint8Array, segments: readonly Segment[]): boolean {
    if (!this.#port.accepted(F_GUEST_CSUM)) return false
    const span = checksumSpan(frame)
    if (span === null) return false
    const sum = sumSegments(this.#port.memory, segments, HEADER_BYTES + span.start, span.length)
    return isChecksumRight(span.pseudoHeader, sum)
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
    const header = readSegments(port.memory, chain.readable, 0, HEADER_BYTES)
    const frame = readSegments(port.memory, chain.readable, HEADER_BYTES, frameBytes)
    if (header[HEADER.gsoType] !== 0 || !this.#complete(header, chain, frame)) {
      port.warn('tx-frame-offload')
      return false
    }
    port.output({ kind: 'net-tx', nic: this.#nic, frame })
    return true
  }

  /**
   * Completes the checksum if the header asks for it (section 5.1.6.2): the field holds the sum of the pseudo-header, and
   * the rest is summed from `checksumStart` on. False if the header asks for what was not accepted, or does not fit.
   */
  #complete(header: Uint8Array, chain: DescriptorChain, frame: Uint8Array): boolean {
    if ((header[HEADER.flags] & HEADER_FLAG_NEEDS_CSUM) === 0) return true
    if (!this.#port.accepted(F_CSUM)) return false
    const view = new DataView(header.buffer)
    const start = view.getUint16(HEADER.checksumStart, true)
    const field = start + view.getUint16(HEADER.checksumOffset, true)
    if (field + 2 > frame.length) return false
    const sum = sumSegments(this.#port.memory, chain.readable, HEADER_BYTES + start, frame.length - start)
    new DataView(frame.buffer).setUint16(field, checksumOf(sum))
    return true
  }
}
