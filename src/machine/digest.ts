/**
 * Digests of the machine's state: quick 64-bit hashes that two machines compare to find out that they differ.
 * They guard against mistakes, not against an adversary.
 */
import { crc32 } from 'node:zlib'
import type { Core } from './cpu/core.ts'
import { PAGE_BYTES, TLB_ALL_BYTES, TLB_BASE } from './cpu/layout.ts'
import type { DeviceState } from './devices/device.ts'
import { StateReader } from './devices/state.ts'
import type { DirtyFollower, DirtyPages } from './dirty-pages.ts'
import type { MachineOutput } from './io.ts'

const MASK = 0xffffffffffffffffn
const MULTIPLIER = 0x9e3779b97f4a7c15n

function mix(a: bigint, b: bigint): bigint {
  const product = ((a ^ b) * MULTIPLIER) & MASK
  return product ^ (product >> 29n)
}

const OUTPUTS_VERSION = 1

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

  save(): DeviceState {
    return { version: OUTPUTS_VERSION, count: this.#count, crc: this.#crc }
  }

  restore(state: DeviceState): void {
    const reader = new StateReader('outputs', state, OUTPUTS_VERSION)
    this.#count = reader.u32('count')
    this.#crc = reader.u32('crc')
  }
}

/** Registers from one memory address to another, with the digest of the outputs. */
export function stateDigest(core: Core, from: number, to: number, outputs: bigint): bigint {
  return mix(BigInt.asUintN(64, core.exports.hash(from, to)), outputs)
}

/** What a page contributes to the digest of RAM: 0 for a page of zeros. */
export function pageDigest({ exports, layout, memory }: Core, page: number): bigint {
  const at = layout.ram + page * PAGE_BYTES
  const words = new Int32Array(memory.buffer, at, PAGE_BYTES / 4)
  let word = 0
  while (word < words.length && words[word] === 0) word++
  return word === words.length ? 0n : mix(BigInt.asUintN(64, exports.hash(at, at + PAGE_BYTES)), BigInt(page))
}

/** The sum of pages' contributions with another. */
export function addPageDigest(sum: bigint, page: bigint): bigint {
  return (sum + page) & MASK
}

/** What the digest of a whole machine says of everything but RAM, as of now; `sum` is that of the pages. */
export function digestAround(
  core: Core,
  registers: bigint,
  devices: readonly DeviceState[],
): (sum: bigint) => bigint {
  const tlbs = BigInt.asUintN(64, core.exports.hash(TLB_BASE, TLB_BASE + TLB_ALL_BYTES))
  const saved = BigInt(crc32(serialize(devices)))
  return (sum) => mix(mix(mix(registers, sum), tlbs), saved)
}

/**
 * A digest of all of RAM as the sum of what each page contributes, so that only pages written since the last time
 * are hashed again. Pages of zeros contribute nothing, whether they were ever written or not: a snapshot leaves
 * them out, and the machine restored from it has the same digest.
 */
export class RamDigest {
  readonly #core: Core
  readonly #dirty: DirtyFollower
  /** What each page contributes: 0 for pages of zeros. */
  readonly #pages: BigUint64Array
  #sum = 0n

  constructor(core: Core, dirty: DirtyPages) {
    this.#core = core
    this.#dirty = dirty.follow()
    this.#pages = new BigUint64Array(core.layout.pageCount)
  }

  /** Folds in the register digest, the translation caches and the devices' saved states. */
  value(registers: bigint, devices: readonly DeviceState[]): bigint {
    this.#update()
    return digestAround(this.#core, registers, devices)(this.#sum)
  }

  /** The pages that are not all zeros, ascending. Costs nothing for pages that were never written. */
  nonZeroPages(): Uint32Array<ArrayBuffer> {
    this.#update()
    const found = new Uint32Array(this.#pages.length)
    let count = 0
    for (let page = 0; page < this.#pages.length; page++) if (this.#pages[page] !== 0n) found[count++] = page
    return found.slice(0, count)
  }

  #update(): void {
    for (const page of this.#dirty.take()) {
      const hash = pageDigest(this.#core, page)
      this.#sum = (this.#sum + hash - this.#pages[page]) & MASK
      this.#pages[page] = hash
    }
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
