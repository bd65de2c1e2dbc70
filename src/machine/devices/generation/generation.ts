/**
 * The virtual machine generation identifier (Microsoft, "Virtual Machine Generation ID"; device-tree binding
 * `microsoft,vmgenid`): 16 bytes that change, with an interrupt, when a machine goes on from a saved state that others
 * may have gone on from too. The guest's kernel then reseeds its random numbers from them, so that no two of those
 * machines draw the same.
 *
 * The bytes must be unique and should be unpredictable; they come as an input, so they are in the log.
 */
import type { FdtNode } from '../../boot/fdt.ts'
import type { DeviceContext, DeviceState, MmioDevice } from '../device.ts'
import { GENERATION_BASE, GENERATION_INTERRUPT, PLIC_PHANDLE } from '../memory-map.ts'
import { StateReader } from '../state.ts'

export const GENERATION_ID_BYTES = 16

const VERSION = 1

export class Generation implements MmioDevice {
  readonly name = 'generation'
  readonly base = GENERATION_BASE
  readonly size = 0x1000
  readonly #context: Pick<DeviceContext, 'interrupt'>
  /** All zeros until the first change. */
  #id = new Uint8Array(GENERATION_ID_BYTES)
  /** The guest has not read the identifier since it changed. */
  #unread = false

  constructor(context: Pick<DeviceContext, 'interrupt'>) {
    this.#context = context
  }

  /** Input: from now on this is another machine. */
  change(id: Uint8Array): void {
    if (id.length !== GENERATION_ID_BYTES)
      throw new RangeError(`a generation identifier has ${GENERATION_ID_BYTES} bytes, not ${id.length}`)
    this.#id = new Uint8Array(id)
    this.#unread = true
    this.#context.interrupt.set(true)
  }

  /** The binding has no register to acknowledge the interrupt by: reading the identifier does. */
  read(offset: number, width: 1 | 2 | 4): number {
    let value = 0
    for (let byte = width - 1; byte >= 0; byte--) value = value * 256 + (this.#id[offset + byte] ?? 0)
    if (this.#unread) {
      this.#unread = false
      this.#context.interrupt.set(false)
    }
    return value
  }

  write(): void {}

  fdtNode(): FdtNode {
    return {
      name: `vmgenid@${GENERATION_BASE.toString(16)}`,
      properties: {
        compatible: 'microsoft,vmgenid',
        reg: [BigInt(GENERATION_BASE), BigInt(this.size)],
        interrupts: GENERATION_INTERRUPT,
        'interrupt-parent': PLIC_PHANDLE,
      },
    }
  }

  save(): DeviceState {
    return { version: VERSION, id: this.#id.slice(), unread: this.#unread }
  }

  restore(state: DeviceState): void {
    const reader = new StateReader(this.name, state, VERSION)
    const id = reader.bytes('id', GENERATION_ID_BYTES, GENERATION_ID_BYTES)
    this.#unread = reader.boolean('unread')
    this.#id = id
  }
}
