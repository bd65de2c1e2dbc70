import type { MmioDevice } from './devices/device.ts'

/** Finds the device at a physical address. */
export class Bus {
  readonly #devices: readonly MmioDevice[]
  /** The device touched last: accesses come in runs. */
  #last: MmioDevice | null = null

  constructor(devices: readonly MmioDevice[]) {
    this.#devices = devices
  }

  /** 8-byte accesses are split, low half first. Null: no device is there. */
  read(address: number, bytes: number): bigint | null {
    const device = this.#find(address)
    if (device === null) return null
    const offset = address - device.base
    if (bytes !== 8) return BigInt(device.read(offset, bytes as 1 | 2 | 4) >>> 0)
    const low = BigInt(device.read(offset, 4) >>> 0)
    return low | (BigInt(device.read(offset + 4, 4) >>> 0) << 32n)
  }

  /** False: no device is there. */
  write(address: number, bytes: number, value: bigint): boolean {
    const device = this.#find(address)
    if (device === null) return false
    const offset = address - device.base
    const low = Number(value & 0xffffffffn)
    if (bytes !== 8) {
      device.write(offset, bytes as 1 | 2 | 4, bytes === 4 ? low : low & (bytes === 2 ? 0xffff : 0xff))
      return true
    }
    device.write(offset, 4, low)
    device.write(offset + 4, 4, Number((value >> 32n) & 0xffffffffn))
    return true
  }

  #find(address: number): MmioDevice | null {
    const last = this.#last
    if (last !== null && address >= last.base && address < last.base + last.size) return last
    const found = this.#devices.find((d) => address >= d.base && address < d.base + d.size) ?? null
    if (found !== null) this.#last = found
    return found
  }
}
