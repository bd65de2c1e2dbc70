import { UnderstudyError } from '../errors.ts'
import {
  CODE_LINE_BYTES,
  CODE_TABLE_BYTES,
  control,
  INVALIDATED_MAX,
  type Layout,
  MODE_COUNT,
  PAGE_BYTES,
  RAM_START,
} from './cpu/layout.ts'
import type { GuestMemory } from './devices/device.ts'

/** A device or loader went outside RAM. Guest-made addresses are checked before, so this is a mistake of ours. */
export class GuestAddressError extends UnderstudyError {
  constructor(address: number, length: number) {
    super(
      'MACHINE_GUEST_ADDRESS',
      `physical address 0x${address.toString(16)} + ${length} is outside guest RAM`,
      'report this as a bug: a device must check addresses that the guest gave it',
    )
  }
}

/** Guest RAM in the machine's Wasm memory, as devices and loaders see it. */
export class Ram implements GuestMemory {
  readonly #layout: Layout
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #control: Int32Array
  readonly #codeLines: BigUint64Array
  readonly #words: Int32Array

  readonly #captured: Uint8Array
  readonly #checksum: (address: number, length: number) => number
  readonly #keepPage: (page: number) => void

  /** `checksum` sums bytes at a memory address; `keepPage` is told of a captured page before it is written. */
  constructor(
    memory: WebAssembly.Memory,
    layout: Layout,
    checksum: (address: number, length: number) => number,
    keepPage: (page: number) => void,
  ) {
    this.#checksum = checksum
    this.#keepPage = keepPage
    this.#captured = new Uint8Array(memory.buffer, layout.captured, layout.pageCount)
    this.#layout = layout
    this.#bytes = new Uint8Array(memory.buffer)
    this.#view = new DataView(memory.buffer)
    this.#control = new Int32Array(memory.buffer)
    this.#words = this.#control
    this.#codeLines = new BigUint64Array(memory.buffer, layout.codeLines, layout.pageCount)
  }

  contains(address: number, length: number): boolean {
    return address >= RAM_START && length >= 0 && address + length <= RAM_START + this.#layout.memoryBytes
  }

  view(address: number, length: number): Uint8Array {
    const at = this.#at(address, length)
    return this.#bytes.subarray(at, at + length)
  }

  write(address: number, data: Uint8Array): void {
    const at = this.#toWrite(address, data.length)
    this.#bytes.set(data, at)
    this.#wrote(at, data.length)
  }

  checksum(address: number, length: number): number {
    return this.#checksum(this.#at(address, length), length)
  }

  u8(address: number): number {
    return this.#bytes[this.#at(address, 1)]
  }

  u16(address: number): number {
    return this.#view.getUint16(this.#at(address, 2), true)
  }

  u32(address: number): number {
    return this.#view.getUint32(this.#at(address, 4), true)
  }

  u64(address: number): number {
    const at = this.#at(address, 8)
    return this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * 2 ** 32
  }

  setU8(address: number, value: number): void {
    const at = this.#toWrite(address, 1)
    this.#bytes[at] = value
    this.#wrote(at, 1)
  }

  setU16(address: number, value: number): void {
    const at = this.#toWrite(address, 2)
    this.#view.setUint16(at, value, true)
    this.#wrote(at, 2)
  }

  setU32(address: number, value: number): void {
    const at = this.#toWrite(address, 4)
    this.#view.setUint32(at, value, true)
    this.#wrote(at, 4)
  }

  #at(address: number, length: number): number {
    if (!this.contains(address, length)) throw new GuestAddressError(address, length)
    return address - RAM_START + this.#layout.ram
  }

  /** The same as the core's `keepIfCaptured`, for any length. */
  #toWrite(address: number, length: number): number {
    const at = this.#at(address, length)
    const first = Math.floor((at - this.#layout.ram) / PAGE_BYTES)
    const last = Math.floor((at + length - 1 - this.#layout.ram) / PAGE_BYTES)
    for (let page = first; page <= last; page++) if (this.#captured[page] !== 0) this.#keepPage(page)
    return at
  }

  /** The same as the core's `wroteRam`, for any length: dirty pages, and translated code that was overwritten. */
  #wrote(at: number, length: number): void {
    if (length === 0) return
    const first = Math.floor((at - this.#layout.ram) / PAGE_BYTES)
    const last = Math.floor((at + length - 1 - this.#layout.ram) / PAGE_BYTES)
    for (let page = first; page <= last; page++) {
      this.#bytes[this.#layout.dirty + page] = 1
      const lines = this.#codeLines[page]
      if (lines === 0n) continue
      const pageStart = this.#layout.ram + page * PAGE_BYTES
      const from = Math.floor(Math.max(at - pageStart, 0) / CODE_LINE_BYTES)
      const to = Math.floor(Math.min(at + length - 1 - pageStart, PAGE_BYTES - 1) / CODE_LINE_BYTES)
      const touched = ((1n << BigInt(to - from + 1)) - 1n) << BigInt(from)
      if ((lines & touched) !== 0n) this.#invalidate(page)
    }
  }

  #invalidate(page: number): void {
    const { pageCode, pageCount, invalidated } = this.#layout
    this.#codeLines[page] = 0n
    for (let mode = 0; mode < MODE_COUNT; mode++) {
      const table = this.#words[(pageCode + (mode * pageCount + page) * 4) >>> 2]
      if (table !== 0) this.#bytes.fill(0, table, table + CODE_TABLE_BYTES)
    }
    const count = this.#control[control.invalidatedLength / 4]
    if (count >= INVALIDATED_MAX) {
      this.#control[control.codeDropped / 4] = 1
      return
    }
    this.#words[invalidated / 4 + count] = page
    this.#control[control.invalidatedLength / 4] = count + 1
  }
}
