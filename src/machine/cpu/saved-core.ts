/**
 * The part of a machine's state that lies in the core's memory, as plain data: the registers of the hart by name, and
 * the architectural translation caches, whose stale entries a guest can observe. Fast TLBs, translated code and heat
 * are derived and not saved: a restored machine begins without them.
 */
import type { DeviceState } from '../devices/device.ts'
import { StateReader } from '../devices/state.ts'
import type { Core } from './core.ts'
import { control, MODE_COUNT, TLB_ALL_BYTES, TLB_BASE, TLB_ENTRIES, TLB_FILLS_MAX } from './layout.ts'
import { type FieldName, fAddress, field, xAddress } from './state.ts'

const VERSION = 1
const REGISTER_FILE_BYTES = 32 * 8

const fieldNames = Object.keys(field) as FieldName[]

/** Bytes that are the state's own, not the memory's. */
function bytesAt(core: Core, address: number, length: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new Uint8Array(core.memory.buffer, address, length))
}

export function saveCore(core: Core): DeviceState {
  const words = new BigUint64Array(core.memory.buffer)
  return {
    version: VERSION,
    x: bytesAt(core, xAddress(0), REGISTER_FILE_BYTES),
    f: bytesAt(core, fAddress(0), REGISTER_FILE_BYTES),
    registers: {
      version: VERSION,
      ...Object.fromEntries(fieldNames.map((name) => [name, words[field[name] / 8]])),
    },
    tlbModes: MODE_COUNT,
    tlbEntries: TLB_ENTRIES,
    tlbs: bytesAt(core, TLB_BASE, TLB_ALL_BYTES),
  }
}

/** Takes back what `saveCore` returned, into a core that has not run. Throws a DeviceStateError. */
export function restoreCore(core: Core, state: DeviceState): void {
  const reader = new StateReader('hart', state, VERSION)
  const registers = reader.nested('registers', VERSION)
  const x = reader.bytes('x', REGISTER_FILE_BYTES, REGISTER_FILE_BYTES)
  const f = reader.bytes('f', REGISTER_FILE_BYTES, REGISTER_FILE_BYTES)
  const values = fieldNames.map((name) => registers.u64(name))
  reader.integer('tlbModes', MODE_COUNT, MODE_COUNT)
  reader.integer('tlbEntries', TLB_ENTRIES, TLB_ENTRIES)
  const tlbs = reader.bytes('tlbs', TLB_ALL_BYTES, TLB_ALL_BYTES)
  if (x.subarray(0, 8).some((byte) => byte !== 0)) reader.fail('x0 is not zero')

  const memory = new Uint8Array(core.memory.buffer)
  const words = new BigUint64Array(core.memory.buffer)
  memory.set(x, xAddress(0))
  memory.set(f, fAddress(0))
  fieldNames.forEach((name, index) => {
    words[field[name] / 8] = values[index]
  })
  // Entering the translation mode may empty its caches, so these come afterwards.
  core.exports.setMode()
  memory.set(tlbs, TLB_BASE)
  new Int32Array(core.memory.buffer)[control.tlbFills / 4] = TLB_FILLS_MAX + 1
}
