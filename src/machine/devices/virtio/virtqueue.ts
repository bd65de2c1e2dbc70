/**
 * The device's side of a split virtqueue (virtio 1.2, section 2.7), with indirect descriptors and event indexes.
 *
 * Everything in the rings was written by the guest and may be nonsense or malice. The ring areas are checked once,
 * when the queue becomes ready; each chain is checked as it is walked, every step of which is counted, so that a
 * loop ends. A broken ring or chain is reported by code and `pop` gives nothing more: nothing here throws.
 */
import type { DeviceState, GuestMemory } from '../device.ts'
import type { StateReader } from '../state.ts'
import type { DescriptorChain, Segment } from './chain.ts'
import type { VirtioWarning } from './warning-codes.ts'

/**
 * Descriptors in one chain. Drivers make chains longer than the queue through indirect tables; none goes past this.
 */
export const CHAIN_DESCRIPTORS_MAX = 1024
/** Section 2.7.5: a chain describes at most 2^32 bytes. */
const CHAIN_BYTES_MAX = 2 ** 32

const DESCRIPTOR_BYTES = 16
const DESC_F_NEXT = 1
const DESC_F_WRITE = 2
const DESC_F_INDIRECT = 4
const AVAIL_F_NO_INTERRUPT = 1
const INDEX_MASK = 0xffff

const VERSION = 1

/** The three areas of a queue, each a 64-bit address in two halves as the registers take it. */
export type QueueArea = 'descriptors' | 'driver' | 'device'

/** The features that change how a queue works. */
export interface QueueFeatures {
  readonly indirect: boolean
  readonly eventIndex: boolean
}

export class Virtqueue {
  readonly index: number
  readonly sizeMax: number
  readonly #memory: GuestMemory
  readonly #fault: (code: VirtioWarning) => void
  #size: number
  #ready = false
  #broken = false
  #features: QueueFeatures = { indirect: false, eventIndex: false }
  readonly #areas: Record<QueueArea, number> = { descriptors: 0, driver: 0, device: 0 }
  #descriptors = 0
  #avail = 0
  #used = 0
  #nextAvail = 0
  #usedIndex = 0
  #signalledIndex = 0

  /** `sizeMax`: a power of two, at most 32768. `fault` is told the first thing wrong with the rings. */
  constructor(index: number, sizeMax: number, memory: GuestMemory, fault: (code: VirtioWarning) => void) {
    this.index = index
    this.sizeMax = sizeMax
    this.#size = sizeMax
    this.#memory = memory
    this.#fault = fault
  }

  get ready(): boolean {
    return this.#ready
  }

  get size(): number {
    return this.#size
  }

  /** Takes any value; it is checked when the queue becomes ready. */
  setSize(size: number): void {
    this.#size = size
  }

  setAreaHalf(area: QueueArea, high: boolean, half: number): void {
    const before = this.#areas[area]
    const highHalf = high ? half : Math.floor(before / 2 ** 32)
    const lowHalf = high ? before % 2 ** 32 : half
    // A high half past 2^21 loses low bits here, but no RAM lies that high: the queue will not become ready.
    this.#areas[area] = highHalf * 2 ** 32 + lowHalf
  }

  /** Makes the queue ready if size and areas are sound; says whether they are. */
  enable(features: QueueFeatures): boolean {
    if (!this.#isSound(this.#size)) return false
    this.#features = features
    this.#ready = true
    this.#broken = false
    this.#nextAvail = 0
    this.#usedIndex = 0
    this.#signalledIndex = 0
    this.#latchAreas()
    return true
  }

  disable(): void {
    this.#ready = false
  }

  reset(): void {
    this.#ready = false
    this.#broken = false
    this.#size = this.sizeMax
    this.#areas.descriptors = 0
    this.#areas.driver = 0
    this.#areas.device = 0
    this.#nextAvail = 0
    this.#usedIndex = 0
    this.#signalledIndex = 0
  }

  /** Chains the driver has made available and the device has not taken; 0 if the ring is broken. */
  get waiting(): number {
    if (!this.#ready || this.#broken) return 0
    const waiting = (this.#memory.u16(this.#avail + 2) - this.#nextAvail) & INDEX_MASK
    if (waiting <= this.#size) return waiting
    this.#break('avail-index-jump')
    return 0
  }

  /**
   * The next chain, or null when there is none or the ring is broken. When there is none, the driver is asked
   * to notify as soon as it adds one.
   */
  pop(): DescriptorChain | null {
    if (this.waiting === 0) {
      if (this.#ready && !this.#broken && this.#features.eventIndex) this.#writeAvailEvent()
      return null
    }
    const head = this.#memory.u16(this.#avail + 4 + 2 * (this.#nextAvail % this.#size))
    const chain = this.#walk(head)
    if (chain !== null) this.#nextAvail = (this.#nextAvail + 1) & INDEX_MASK
    return chain
  }

  /** Gives back the last `count` popped chains, none of them used yet. */
  unpop(count: number): void {
    this.#nextAvail = (this.#nextAvail - count) & INDEX_MASK
  }

  /** Hands a chain back to the driver. `length`: bytes written to its writable part. */
  pushUsed(head: number, length: number): void {
    if (!this.#ready || this.#broken) return
    const element = this.#used + 4 + 8 * (this.#usedIndex % this.#size)
    this.#memory.setU32(element, head)
    this.#memory.setU32(element + 4, length)
    this.#usedIndex = (this.#usedIndex + 1) & INDEX_MASK
    this.#memory.setU16(this.#used + 2, this.#usedIndex)
  }

  /** Whether the driver wants an interrupt for what was used since the last call (section 2.7.7). */
  takeSignal(): boolean {
    if (!this.#ready || this.#broken) return false
    const before = this.#signalledIndex
    const now = this.#usedIndex
    if (now === before) return false
    this.#signalledIndex = now
    if (!this.#features.eventIndex) return (this.#memory.u16(this.#avail) & AVAIL_F_NO_INTERRUPT) === 0
    const usedEvent = this.#memory.u16(this.#avail + 4 + 2 * this.#size)
    return ((now - usedEvent - 1) & INDEX_MASK) < ((now - before) & INDEX_MASK)
  }

  save(): DeviceState {
    return {
      version: VERSION,
      size: this.#size,
      ready: this.#ready,
      broken: this.#broken,
      indirect: this.#features.indirect,
      eventIndex: this.#features.eventIndex,
      descriptors: this.#areas.descriptors,
      driver: this.#areas.driver,
      device: this.#areas.device,
      nextAvail: this.#nextAvail,
      usedIndex: this.#usedIndex,
      signalledIndex: this.#signalledIndex,
    }
  }

  restore(reader: StateReader): void {
    const areaMax = 2 ** 64
    this.#size = reader.u32('size')
    this.#areas.descriptors = reader.integer('descriptors', 0, areaMax)
    this.#areas.driver = reader.integer('driver', 0, areaMax)
    this.#areas.device = reader.integer('device', 0, areaMax)
    this.#ready = reader.boolean('ready')
    this.#broken = reader.boolean('broken')
    this.#features = { indirect: reader.boolean('indirect'), eventIndex: reader.boolean('eventIndex') }
    this.#nextAvail = reader.u16('nextAvail')
    this.#usedIndex = reader.u16('usedIndex')
    this.#signalledIndex = reader.u16('signalledIndex')
    if (this.#ready && !this.#isSound(this.#size))
      reader.fail('the queue is ready but its areas are not sound')
    this.#latchAreas()
  }

  static readonly stateVersion = VERSION

  #break(code: VirtioWarning): null {
    this.#broken = true
    this.#fault(code)
    return null
  }

  #latchAreas(): void {
    this.#descriptors = this.#areas.descriptors
    this.#avail = this.#areas.driver
    this.#used = this.#areas.device
  }

  /** Section 2.7: the size is a power of two, the areas are aligned to 16, 2 and 4 and lie in RAM. */
  #isSound(size: number): boolean {
    if (size < 1 || size > this.sizeMax || (size & (size - 1)) !== 0) return false
    const { descriptors, driver, device } = this.#areas
    if (descriptors % 16 !== 0 || driver % 2 !== 0 || device % 4 !== 0) return false
    return (
      this.#memory.contains(descriptors, DESCRIPTOR_BYTES * size) &&
      this.#memory.contains(driver, 6 + 2 * size) &&
      this.#memory.contains(device, 6 + 8 * size)
    )
  }

  #writeAvailEvent(): void {
    const at = this.#used + 4 + 8 * this.#size
    if (this.#memory.u16(at) !== this.#nextAvail) this.#memory.setU16(at, this.#nextAvail)
  }

  #walk(head: number): DescriptorChain | null {
    const memory = this.#memory
    const readable: Segment[] = []
    const writable: Segment[] = []
    let readableBytes = 0
    let writableBytes = 0
    let table = this.#descriptors
    let tableSize = this.#size
    let inIndirect = false
    let index = head
    let steps = 0
    for (;;) {
      if (index >= tableSize) return this.#break('descriptor-index')
      // More steps than the table has descriptors means that one was met twice.
      if (++steps > tableSize) return this.#break('chain-too-long')
      const descriptor = table + DESCRIPTOR_BYTES * index
      const address = memory.u64(descriptor)
      const length = memory.u32(descriptor + 8)
      const flags = memory.u16(descriptor + 12)
      if ((flags & DESC_F_INDIRECT) !== 0) {
        if (!this.#features.indirect) return this.#break('indirect-not-negotiated')
        if (inIndirect) return this.#break('indirect-nested')
        if ((flags & DESC_F_NEXT) !== 0) return this.#break('indirect-with-next')
        if (length === 0 || length % DESCRIPTOR_BYTES !== 0) return this.#break('indirect-length')
        if (length > CHAIN_DESCRIPTORS_MAX * DESCRIPTOR_BYTES) return this.#break('chain-too-long')
        if (!memory.contains(address, length)) return this.#break('chain-outside-memory')
        table = address
        tableSize = length / DESCRIPTOR_BYTES
        inIndirect = true
        index = 0
        steps = 0
        continue
      }
      // An empty piece carries nothing, so where it lies does not matter.
      if (length > 0) {
        if (!memory.contains(address, length)) return this.#break('chain-outside-memory')
        if ((flags & DESC_F_WRITE) !== 0) {
          writable.push({ address, length })
          writableBytes += length
        } else {
          if (writable.length > 0) return this.#break('chain-order')
          readable.push({ address, length })
          readableBytes += length
        }
        if (readableBytes + writableBytes > CHAIN_BYTES_MAX) return this.#break('chain-too-large')
      }
      if ((flags & DESC_F_NEXT) === 0) return { head, readable, readableBytes, writable, writableBytes }
      index = memory.u16(descriptor + 14)
    }
  }
}
