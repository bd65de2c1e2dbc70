/**
 * A reset as the guest asks for it (SBI SRST, the power switch): hart, devices and RAM go back to power-on, and the
 * same life goes on. Guest time, the count of retired instructions and the digest of outputs are the log's and run on.
 *
 * Everything that compiled code and fast translation caches derived from the old contents is dropped with them.
 */
import type { Core } from './cpu/core.ts'
import { FAST_TLB_BASE, TLB_ALL_BYTES } from './cpu/layout.ts'
import { restoreCore, saveCore } from './cpu/saved-core.ts'
import type { FieldName } from './cpu/state.ts'
import type { DeviceState, MmioDevice } from './devices/device.ts'
import { Generation } from './devices/generation/generation.ts'
import { RAM_BASE } from './devices/memory-map.ts'
import { REGISTER } from './devices/virtio/protocol.ts'
import { VirtioMmio } from './devices/virtio/transport.ts'
import type { GuestPages } from './guest-pages.ts'
import type { HartState } from './hart-state.ts'
import type { Ram } from './memory.ts'

export interface ResetParts {
  readonly core: Core
  readonly hart: HartState
  readonly ram: Ram
  readonly pages: GuestPages
  readonly devices: readonly MmioDevice[]
}

/** Registers that describe the life of the machine and not of its guest. */
const KEPT: readonly FieldName[] = ['retiredLimit', 'sliceClock', 'sliceRetired', 'sliceRate']
const EMPTY = 0xff

/** What hart and devices hold at power-on; taken once, before the machine runs. */
export class PowerOnState {
  readonly #parts: ResetParts
  readonly #hart: DeviceState
  readonly #devices: readonly DeviceState[]

  constructor(parts: ResetParts) {
    this.#parts = parts
    this.#hart = saveCore(parts.core)
    this.#devices = parts.devices.map((device) => device.save())
  }

  /** Leaves RAM empty. */
  restore(): void {
    const { core, hart, devices } = this.#parts
    this.#clearRam()
    devices.forEach((device, index) => {
      // Requests to a disk may still be answered, and must not be taken for answers to later ones: the driver's reset
      // knows. What names this life of the machine is no part of the guest's.
      if (device instanceof VirtioMmio) device.write(REGISTER.status, 4, 0)
      else if (!(device instanceof Generation)) device.restore(this.#devices[index])
    })
    const kept = KEPT.map((name) => [name, hart.get(name)] as const)
    restoreCore(core, this.#hart)
    for (const [name, value] of kept) hart.set(name, value)
    new Uint8Array(core.memory.buffer, FAST_TLB_BASE, TLB_ALL_BYTES).fill(EMPTY)
    core.exports.dropCode()
  }

  /** Only what was written: pages that the guest never touched stay untouched. */
  #clearRam(): void {
    const { ram, pages } = this.#parts
    const zeros = new Uint8Array(pages.pageBytes)
    for (const page of pages.nonZero()) ram.write(RAM_BASE + page * pages.pageBytes, zeros)
  }
}

/** A seed for the next boot: never the same twice, and as secret as the first. */
export function nextSeed(seed: Uint8Array, retired: bigint): Uint8Array {
  const next = seed.slice()
  const view = new DataView(next.buffer)
  view.setBigUint64(0, view.getBigUint64(0, true) ^ retired, true)
  return next
}
