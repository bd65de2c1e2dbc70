/**
 * Digests of the machine's state: quick 64-bit hashes that two machines compare to find out that they differ.
 * They guard against mistakes, not against an adversary.
 */
import { crc32 } from 'node:zlib'
import type { Core } from './cpu/core.ts'
import { PAGE_BYTES } from './cpu/layout.ts'
import type { DeviceState } from './devices/device.ts'
import type { MachineOutput } from './io.ts'

const MASK = 0xffffffffffffffffn
const MULTIPLIER = 0x9e3779b97f4a7c15n

function mix(a: bigint, b: bigint): bigint {
  const product = ((a ^ b) * MULTIPLIER) & MASK
  return product ^ (product >> 29n)
}

/** Runs over every output ever made, so that one digest a frame vouches for all of them. */
export class OutputDigest {
  #crc = 0
  #count = 0

  get value(): bigint {
    return (BigInt(this.#count) << 32n) | BigInt(this.#crc)
  }

  add(output: MachineOutput): void {
    this.#count = (this.#count + 1) >>> 0
    switch (output.kind) {
      case 'net-tx':
        this.#crc = crc32(output.frame, this.#crc)
        return
      case 'console-tx':
      case 'disk-write':
        this.#crc = crc32(output.data, this.#crc)
        return
      default:
        this.#crc = crc32(JSON.stringify(output), this.#crc)
    }
  }
}

/** Registers from one memory address to another, with the digest of the outputs. */
export function stateDigest(core: Core, from: number, to: number, outputs: bigint): bigint {
  return mix(BigInt.asUintN(64, core.exports.hash(from, to)), outputs)
}

/**
 * A digest of all of RAM as the sum of what each page contributes, so that only pages written since the last time
 * are hashed again. Pages never written contribute nothing.
 */
export class RamDigest {
  readonly #core: Core
  readonly #dirty: Uint8Array
  readonly #pages: BigUint64Array
  #sum = 0n

  constructor(core: Core) {
    this.#core = core
    this.#dirty = new Uint8Array(core.memory.buffer, core.layout.dirty, core.layout.pageCount)
    this.#pages = new BigUint64Array(core.layout.pageCount)
  }

  /** Folds in the register digest and the devices' saved states. */
  value(registers: bigint, devices: readonly DeviceState[]): bigint {
    const { exports, layout } = this.#core
    for (let page = this.#dirty.indexOf(1); page !== -1; page = this.#dirty.indexOf(1, page + 1)) {
      const at = layout.ram + page * PAGE_BYTES
      const hash = mix(BigInt.asUintN(64, exports.hash(at, at + PAGE_BYTES)), BigInt(page))
      this.#sum = (this.#sum + hash - this.#pages[page]) & MASK
      this.#pages[page] = hash
    }
    this.#dirty.fill(0)
    // From now on the first write to each page must be seen again.
    exports.flushFastWrites()
    return mix(mix(registers, this.#sum), BigInt(crc32(serialize(devices))))
  }
}

/** A canonical text of a device's state. */
function serialize(state: DeviceState): string {
  if (state instanceof Uint8Array)
    return `b${Buffer.from(state.buffer, state.byteOffset, state.byteLength).toString('hex')}`
  if (Array.isArray(state)) return `[${state.map(serialize).join()}]`
  if (typeof state === 'object' && state !== null) {
    return `{${Object.entries(state)
      .map(([name, value]) => `${name}:${serialize(value as DeviceState)}`)
      .join()}}`
  }
  return String(state)
}
