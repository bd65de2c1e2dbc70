/**
 * The driver's side of virtio-mmio and of split virtqueues, small and strict, for tests: it follows the "driver"
 * clauses of virtio 1.2, section 2.7, and fails when the device breaks a "device" clause.
 */

import { RAM_BASE } from '../memory-map.ts'
import { F_EVENT_IDX, F_INDIRECT_DESC, F_VERSION_1, REGISTER } from '../virtio/protocol.ts'
import type { VirtioMmio } from '../virtio/transport.ts'
import type { TestRam } from './test-ram.ts'

export interface DriverOptions {
  readonly queues: number
  readonly queueSize: number
  readonly eventIndex?: boolean
  readonly indirect?: boolean
  /** Feature bits of the device type. */
  readonly features?: bigint
}

export interface UsedChain {
  readonly head: number
  readonly length: number
  /** The writable part, as far as the device says it wrote. */
  readonly data: Uint8Array
}

interface QueueModel {
  readonly descriptors: number
  readonly avail: number
  readonly used: number
  free: number[]
  availIndex: number
  kickedIndex: number
  usedIndex: number
  readonly chains: Map<number, { descriptors: number[]; writable: { address: number; length: number }[] }>
}

const DESC_NEXT = 1
const DESC_WRITE = 2
const DESC_INDIRECT = 4

/** Rings of each queue lie this far apart; buffers come behind them. */
const QUEUE_ROOM_BYTES = 64 * 1024

export class TestDriver {
  readonly ram: TestRam
  /** Replaced when a test goes on with a clone of the device. */
  mmio: VirtioMmio
  readonly options: DriverOptions
  queues: QueueModel[] = []
  #bufferBase = 0
  #bufferNext = 0

  constructor(mmio: VirtioMmio, ram: TestRam, options: DriverOptions) {
    this.mmio = mmio
    this.ram = ram
    this.options = options
  }

  read(register: number): number {
    return this.mmio.read(register, 4)
  }

  write(register: number, value: number): void {
    this.mmio.write(register, 4, value)
  }

  /** Section 3.1.1, the whole of it. */
  start(): void {
    this.negotiate()
    for (let index = 0; index < this.options.queues; index++) this.setUpQueue(index)
    this.write(REGISTER.status, 15)
  }

  /** Up to FEATURES_OK. */
  negotiate(): void {
    this.write(REGISTER.status, 0)
    this.write(REGISTER.status, 1)
    this.write(REGISTER.status, 3)
    let features = (this.options.features ?? 0n) | (1n << BigInt(F_VERSION_1))
    if (this.options.eventIndex === true) features |= 1n << BigInt(F_EVENT_IDX)
    if (this.options.indirect === true) features |= 1n << BigInt(F_INDIRECT_DESC)
    for (const half of [0, 1]) {
      this.write(REGISTER.driverFeaturesSel, half)
      this.write(REGISTER.driverFeatures, Number((features >> BigInt(32 * half)) & 0xffff_ffffn))
    }
    this.write(REGISTER.status, 11)
    if (this.read(REGISTER.status) !== 11) throw new Error('the device refused the features')
    this.queues = []
    this.#bufferBase = RAM_BASE + QUEUE_ROOM_BYTES * (this.options.queues + 1)
    this.#bufferNext = this.#bufferBase
  }

  setUpQueue(index: number): void {
    const size = this.options.queueSize
    const base = RAM_BASE + QUEUE_ROOM_BYTES * index
    const queue: QueueModel = {
      descriptors: base,
      avail: base + 16 * size,
      used: base + 16 * size + Math.ceil((6 + 2 * size) / 4) * 4,
      free: Array.from({ length: size }, (_, descriptor) => descriptor),
      availIndex: 0,
      kickedIndex: 0,
      usedIndex: 0,
      chains: new Map(),
    }
    this.ram.view(base, QUEUE_ROOM_BYTES).fill(0)
    this.write(REGISTER.queueSel, index)
    this.write(REGISTER.queueNum, size)
    this.write(REGISTER.queueDescLow, queue.descriptors)
    this.write(REGISTER.queueDescHigh, 0)
    this.write(REGISTER.queueDriverLow, queue.avail)
    this.write(REGISTER.queueDriverHigh, 0)
    this.write(REGISTER.queueDeviceLow, queue.used)
    this.write(REGISTER.queueDeviceHigh, 0)
    this.write(REGISTER.queueReady, 1)
    this.queues[index] = queue
  }

  /** Free descriptors. */
  room(index: number): number {
    return this.queues[index].free.length
  }

  /** A piece of RAM for a buffer. */
  allocate(length: number): number {
    const address = this.#bufferNext
    this.#bufferNext += Math.ceil(length / 16) * 16
    if (!this.ram.contains(address, length)) throw new Error('the test needs more RAM')
    return address
  }

  /** Makes a chain available and returns its head. */
  submit(
    index: number,
    readable: readonly Uint8Array[],
    writable: readonly number[],
    indirect = false,
  ): number {
    const queue = this.queues[index]
    // All buffers have come back, so their room can be used again.
    if (this.queues.every((each) => each.chains.size === 0)) this.#bufferNext = this.#bufferBase
    const pieces = [
      ...readable.map((data) => {
        const address = this.allocate(data.length)
        this.ram.write(address, data)
        return { address, length: data.length, flags: 0 }
      }),
      ...writable.map((length) => ({ address: this.allocate(length), length, flags: DESC_WRITE })),
    ]
    const written = pieces.filter((piece) => piece.flags === DESC_WRITE)
    const descriptors = queue.free.splice(0, indirect ? 1 : pieces.length)
    if (descriptors.length < (indirect ? 1 : pieces.length)) throw new Error('the queue is full')
    queue.chains.set(descriptors[0], { descriptors, writable: written })
    if (indirect) {
      const table = this.allocate(16 * pieces.length)
      this.#writeTable(table, pieces, (position) => position)
      this.writeDescriptor(index, descriptors[0], BigInt(table), 16 * pieces.length, DESC_INDIRECT, 0)
    } else this.#writeTable(queue.descriptors, pieces, (position) => descriptors[position])
    this.offer(index, descriptors[0])
    return descriptors[0]
  }

  /** Puts any number into the available ring, as a driver with or without sense might. */
  offer(index: number, head: number): void {
    const queue = this.queues[index]
    this.ram.setU16(queue.avail + 4 + 2 * (queue.availIndex % this.options.queueSize), head)
    queue.availIndex = (queue.availIndex + 1) & 0xffff
    this.ram.setU16(queue.avail + 2, queue.availIndex)
  }

  writeDescriptor(
    index: number,
    descriptor: number,
    address: bigint,
    length: number,
    flags: number,
    next: number,
  ): void {
    this.#writeEntry(this.queues[index].descriptors + 16 * descriptor, address, length, flags, next)
  }

  /** Writes descriptors anywhere: an indirect table. */
  writeTable(
    at: number,
    entries: readonly { address: bigint; length: number; flags: number; next: number }[],
  ): void {
    for (const [position, entry] of entries.entries())
      this.#writeEntry(at + 16 * position, entry.address, entry.length, entry.flags, entry.next)
  }

  /** Notifies the device if it wants that (section 2.7.10); says whether it did. */
  kick(index: number): boolean {
    const queue = this.queues[index]
    const before = queue.kickedIndex
    const now = queue.availIndex
    if (now === before) return false
    queue.kickedIndex = now
    if (this.options.eventIndex === true) {
      const availEvent = this.ram.u16(queue.used + 4 + 8 * this.options.queueSize)
      if (((now - availEvent - 1) & 0xffff) >= ((now - before) & 0xffff)) return false
    }
    this.write(REGISTER.queueNotify, index)
    return true
  }

  /** Used chains not reaped yet, each checked to be one the driver made available and the device had not used. */
  reap(index: number): UsedChain[] {
    const queue = this.queues[index]
    const size = this.options.queueSize
    const used: UsedChain[] = []
    const end = this.ram.u16(queue.used + 2)
    if (((end - queue.usedIndex) & 0xffff) > size) throw new Error('the used index jumped')
    while (queue.usedIndex !== end) {
      const element = queue.used + 4 + 8 * (queue.usedIndex % size)
      const head = this.ram.u32(element)
      const length = this.ram.u32(element + 4)
      const chain = queue.chains.get(head)
      if (chain === undefined) throw new Error(`the device used chain ${head}, which it did not have`)
      queue.chains.delete(head)
      queue.free.push(...chain.descriptors)
      used.push({ head, length, data: this.#gather(chain.writable, length) })
      queue.usedIndex = (queue.usedIndex + 1) & 0xffff
    }
    return used
  }

  /** Asks for an interrupt as soon as `further` more chains are used (0: the next); with event indexes only. */
  setUsedEvent(index: number, further = 0): void {
    const queue = this.queues[index]
    this.ram.setU16(queue.avail + 4 + 2 * this.options.queueSize, (queue.usedIndex + further) & 0xffff)
  }

  /** VIRTQ_AVAIL_F_NO_INTERRUPT; without event indexes only. */
  suppressInterrupts(index: number, suppressed: boolean): void {
    this.ram.setU16(this.queues[index].avail, suppressed ? 1 : 0)
  }

  /** Reads and acknowledges the interrupt status, as a handler does. */
  acknowledge(): number {
    const status = this.read(REGISTER.interruptStatus)
    this.write(REGISTER.interruptAck, status)
    return status
  }

  #writeTable(
    table: number,
    pieces: readonly { address: number; length: number; flags: number }[],
    place: (position: number) => number,
  ): void {
    for (const [position, piece] of pieces.entries()) {
      const last = position === pieces.length - 1
      const flags = piece.flags | (last ? 0 : DESC_NEXT)
      this.#writeEntry(
        table + 16 * place(position),
        BigInt(piece.address),
        piece.length,
        flags,
        last ? 0 : place(position + 1),
      )
    }
  }

  #writeEntry(at: number, address: bigint, length: number, flags: number, next: number): void {
    this.ram.setU64(at, address)
    this.ram.setU32(at + 8, length)
    this.ram.setU16(at + 12, flags)
    this.ram.setU16(at + 14, next)
  }

  #gather(writable: readonly { address: number; length: number }[], length: number): Uint8Array {
    const bytes: number[] = []
    for (const piece of writable)
      bytes.push(...this.ram.view(piece.address, Math.min(piece.length, length - bytes.length)))
    if (bytes.length < length) throw new Error('the device says it wrote more than there was room')
    return Uint8Array.from(bytes)
  }
}
