/**
 * RAM for tests of devices. An access outside of it throws, so a test in which nothing throws has also shown that the
 * device never follows a guest's pointer out of RAM.
 */
import type { GuestMemory } from '../device.ts'
import { RAM_BASE } from '../memory-map.ts'

export class TestRam implements GuestMemory {
  readonly bytes: Uint8Array
  readonly #view: DataView

  constructor(sizeBytes: number) {
    this.bytes = new Uint8Array(sizeBytes)
    this.#view = new DataView(this.bytes.buffer)
  }

  contains(address: number, length: number): boolean {
    return address >= RAM_BASE && length >= 0 && address + length <= RAM_BASE + this.bytes.length
  }

  view(address: number, length: number): Uint8Array {
    const at = this.#at(address, length)
    return this.bytes.subarray(at, at + length)
  }

  write(address: number, data: Uint8Array): void {
    this.bytes.set(data, this.#at(address, data.length))
  }

  checksum(address: number, length: number): number {
    const bytes = this.view(address, length)
    let sum = 0
    for (let at = 0; at < length; at += 2) sum += bytes[at] + 256 * (bytes[at + 1] ?? 0)
    while (sum > 0xffff) sum = (sum % 0x10000) + Math.floor(sum / 0x10000)
    return sum
  }

  u8(address: number): number {
    return this.#view.getUint8(this.#at(address, 1))
  }

  u16(address: number): number {
    return this.#view.getUint16(this.#at(address, 2), true)
  }

  u32(address: number): number {
    return this.#view.getUint32(this.#at(address, 4), true)
  }

  u64(address: number): number {
    return Number(this.#view.getBigUint64(this.#at(address, 8), true))
  }

  setU8(address: number, value: number): void {
    this.#view.setUint8(this.#at(address, 1), value)
  }

  setU16(address: number, value: number): void {
    this.#view.setUint16(this.#at(address, 2), value, true)
  }

  setU32(address: number, value: number): void {
    this.#view.setUint32(this.#at(address, 4), value, true)
  }

  setU64(address: number, value: bigint): void {
    this.#view.setBigUint64(this.#at(address, 8), value, true)
  }

  #at(address: number, length: number): number {
    if (!this.contains(address, length))
      throw new RangeError(`access to ${length} bytes at ${address}, outside RAM`)
    return address - RAM_BASE
  }
}
