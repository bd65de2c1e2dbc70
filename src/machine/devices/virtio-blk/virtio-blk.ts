/**
 * The block device (virtio 1.2, section 5.2) on a raw disk.
 *
 * The disk itself is outside the machine: a request becomes an output, and its end an input (`complete`), possibly in
 * another order. Until then it is pending, which is part of the state. A pending write keeps its data, so that
 * a replica that goes live can issue again exactly what was asked for (`pendingOutputs`), whatever the guest has done
 * to its buffer since.
 */
import type { MachineOutput } from '../../io.ts'
import type { DeviceState } from '../device.ts'
import { StateReader } from '../state.ts'
import { type DescriptorChain, readSegments, writeSegments } from '../virtio/chain.ts'
import type { VirtioFunction, VirtioPort } from '../virtio/function.ts'
import { DEVICE_BLOCK, SECTOR_BYTES } from '../virtio/protocol.ts'
import type { Virtqueue } from '../virtio/virtqueue.ts'
import { type PendingRequest, restorePending, savePending } from './pending.ts'

/** Data of one request. Linux asks for at most a few MiB; more would make one log frame or one output huge. */
export const REQUEST_BYTES_MAX = 8 * 1024 * 1024
/** Data of all pending requests: what the state of the device may grow to. Beyond it, requests wait in the ring. */
export const PENDING_BYTES_MAX = 32 * 1024 * 1024

const QUEUE_SIZE_MAX = 256
/** Data segments in a request: a chain of the queue's size without header and status. */
const SEG_MAX = QUEUE_SIZE_MAX - 2

/** Section 5.2.3. */
const F_SEG_MAX = 2
const F_RO = 5
const F_BLK_SIZE = 6
const F_FLUSH = 9

/** Section 5.2.6. */
const T_IN = 0
const T_OUT = 1
const T_FLUSH = 4
const T_GET_ID = 8
const ID_BYTES = 20
const HEADER_BYTES = 16
const STATUS_BYTES = 1
const S_OK = 0
const S_IOERR = 1
const S_UNSUPP = 2

const VERSION = 1

export interface VirtioBlkOptions {
  /** The index that inputs and outputs carry. */
  readonly disk: number
  /** A multiple of 512. */
  readonly sizeBytes: number
  readonly readOnly: boolean
}

export class VirtioBlk implements VirtioFunction {
  readonly name: string
  readonly deviceId = DEVICE_BLOCK
  readonly features: bigint
  readonly queueSizesMax = [QUEUE_SIZE_MAX]
  readonly config: Uint8Array
  readonly #options: VirtioBlkOptions
  #port!: VirtioPort
  /** In the order they were issued. */
  #pending = new Map<number, PendingRequest>()
  #pendingBytes = 0
  /** Never used twice, so that an answer to a request from before a reset is known for what it is. */
  #nextId = 0

  constructor(options: VirtioBlkOptions) {
    const { disk, sizeBytes, readOnly } = options
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0 || sizeBytes % SECTOR_BYTES !== 0)
      throw new RangeError(`the size of a disk is a multiple of ${SECTOR_BYTES}, not ${sizeBytes}`)
    this.name = `disk${disk}`
    this.#options = options
    this.features =
      (1n << BigInt(F_SEG_MAX)) |
      (1n << BigInt(F_BLK_SIZE)) |
      (1n << BigInt(F_FLUSH)) |
      (readOnly ? 1n << BigInt(F_RO) : 0n)
    this.config = new Uint8Array(60)
    const view = new DataView(this.config.buffer)
    view.setBigUint64(0, BigInt(sizeBytes / SECTOR_BYTES), true)
    view.setUint32(12, SEG_MAX, true)
    view.setUint32(20, SECTOR_BYTES, true)
    // num_queues; read only by drivers that accepted multiqueue, but harmless to all.
    view.setUint16(34, 1, true)
  }

  connect(port: VirtioPort): void {
    this.#port = port
  }

  notify(): void {
    this.#issueAll()
  }

  /**
   * Input: the request `id` has ended. `data` is what a read returned. An answer that no pending request waits for,
   * as after a reset by the driver, is counted and ignored; one with the wrong length counts as an I/O error.
   */
  complete(id: number, ok: boolean, data: Uint8Array): void {
    const port = this.#port
    const request = this.#pending.get(id)
    if (request === undefined) {
      port.warn('completion-unknown')
      return
    }
    this.#pending.delete(id)
    this.#pendingBytes -= request.lengthBytes
    const wrongLength = ok && data.length !== (request.kind === 'read' ? request.lengthBytes : 0)
    if (wrongLength) port.warn('completion-length')
    // The device may have faulted since; then its rings and the guest's buffers are out of bounds until reset.
    if (!port.live) return
    const done = ok && !wrongLength
    if (done && request.kind === 'read') writeSegments(port.memory, request.segments, 0, data)
    const queue = port.queue(0)
    this.#finish(queue, request, done ? S_OK : S_IOERR, done && request.kind === 'read' ? data.length : 0)
    this.#issueAll()
    port.signal(queue)
  }

  /** The outputs of all pending requests again, in the order they were issued. */
  pendingOutputs(): MachineOutput[] {
    return [...this.#pending].map(([id, request]) => this.#output(id, request))
  }

  reset(): void {
    this.#pending = new Map()
    this.#pendingBytes = 0
  }

  save(): DeviceState {
    return { version: VERSION, nextId: this.#nextId, pending: savePending(this.#pending) }
  }

  restore(state: DeviceState): void {
    const reader = new StateReader(this.name, state, VERSION)
    const nextId = reader.integer('nextId', 0, Number.MAX_SAFE_INTEGER)
    const limits = {
      nextId,
      sizeBytes: this.#options.sizeBytes,
      countMax: QUEUE_SIZE_MAX,
      requestBytesMax: REQUEST_BYTES_MAX,
    }
    const pending = restorePending(reader, this.#port.memory, limits)
    this.#nextId = nextId
    this.#pending = pending
    this.#pendingBytes = [...pending.values()].reduce((sum, request) => sum + request.lengthBytes, 0)
  }

  #issueAll(): void {
    const port = this.#port
    const queue = port.queue(0)
    let issued = false
    while (port.live && this.#pendingBytes < PENDING_BYTES_MAX && this.#pending.size < queue.size) {
      const chain = queue.pop()
      if (chain === null) break
      if (this.#start(queue, chain)) issued = true
    }
    port.signal(queue)
    if (issued) port.endSlice()
  }

  /** Turns a chain into a pending request, or answers it at once; says whether an output was made. */
  #start(queue: Virtqueue, chain: DescriptorChain): boolean {
    const port = this.#port
    if (chain.readableBytes < HEADER_BYTES || chain.writableBytes < STATUS_BYTES) {
      // Without a header there is nothing to do, without a status byte nothing to say.
      port.fault('request-malformed')
      return false
    }
    const header = readSegments(port.memory, chain.readable, 0, HEADER_BYTES)
    const view = new DataView(header.buffer)
    const type = view.getUint32(0, true)
    const sector = view.getBigUint64(8, true)
    const segments = chain.writable
    const statusOffset = chain.writableBytes - STATUS_BYTES
    const place = { head: chain.head, segments, statusOffset }
    const outBytes = chain.readableBytes - HEADER_BYTES
    switch (type) {
      case T_IN: {
        if (!this.#isInside(sector, statusOffset)) break
        const offset = Number(sector) * SECTOR_BYTES
        return this.#issue({
          kind: 'read',
          ...place,
          offsetBytes: offset,
          lengthBytes: statusOffset,
          data: null,
        })
      }
      case T_OUT: {
        if (this.#options.readOnly || !this.#isInside(sector, outBytes)) break
        const offset = Number(sector) * SECTOR_BYTES
        const data = readSegments(port.memory, chain.readable, HEADER_BYTES, outBytes)
        return this.#issue({ kind: 'write', ...place, offsetBytes: offset, lengthBytes: outBytes, data })
      }
      case T_FLUSH:
        return this.#issue({ kind: 'flush', ...place, offsetBytes: 0, lengthBytes: 0, data: null })
      case T_GET_ID: {
        const id = new Uint8Array(Math.min(ID_BYTES, statusOffset))
        id.set(new TextEncoder().encode(`understudy-${this.name}`).subarray(0, id.length))
        writeSegments(port.memory, segments, 0, id)
        this.#finish(queue, place, S_OK, id.length)
        return false
      }
      default:
        this.#finish(queue, place, S_UNSUPP, 0)
        return false
    }
    this.#finish(queue, place, S_IOERR, 0)
    return false
  }

  /** Whole sectors, at least one, at most REQUEST_BYTES_MAX, all on the disk. */
  #isInside(sector: bigint, lengthBytes: number): boolean {
    if (lengthBytes === 0 || lengthBytes % SECTOR_BYTES !== 0 || lengthBytes > REQUEST_BYTES_MAX) return false
    return sector + BigInt(lengthBytes / SECTOR_BYTES) <= BigInt(this.#options.sizeBytes / SECTOR_BYTES)
  }

  #issue(request: PendingRequest): true {
    const id = this.#nextId++
    this.#pending.set(id, request)
    this.#pendingBytes += request.lengthBytes
    this.#port.output(this.#output(id, request))
    return true
  }

  #output(id: number, request: PendingRequest): MachineOutput {
    const disk = this.#options.disk
    const offset = request.offsetBytes
    if (request.kind === 'read') return { kind: 'disk-read', disk, id, offset, length: request.lengthBytes }
    if (request.kind === 'flush') return { kind: 'disk-flush', disk, id }
    return { kind: 'disk-write', disk, id, offset, data: request.data ?? new Uint8Array(0) }
  }

  #finish(
    queue: Virtqueue,
    place: Pick<PendingRequest, 'head' | 'segments' | 'statusOffset'>,
    status: number,
    dataBytes: number,
  ): void {
    writeSegments(this.#port.memory, place.segments, place.statusOffset, Uint8Array.of(status))
    queue.pushUsed(place.head, dataBytes + STATUS_BYTES)
  }
}
