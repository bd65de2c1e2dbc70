/**
 * Reading saved state back. A snapshot comes from a file or from another host, so nothing in it is believed:
 * each field is fetched with the range it must lie in, and the first that does not fit ends the restore with
 * an error that names it.
 */
import { UnderstudyError } from '../../errors.ts'
import type { DeviceState } from './device.ts'

export class DeviceStateError extends UnderstudyError {
  constructor(device: string, problem: string) {
    super(
      'DEVICE_STATE_INVALID',
      `The saved state does not fit device ${device}: ${problem}.`,
      'Restore a state saved by the same version of this program from a machine with the same configuration.',
    )
  }
}

type Fields = { readonly [name: string]: DeviceState }

export class StateReader {
  readonly device: string
  readonly #fields: Fields

  /** Throws DeviceStateError unless `state` is a record whose `version` is the given one. */
  constructor(device: string, state: DeviceState, version: number) {
    this.device = device
    if (typeof state !== 'object' || state === null || Array.isArray(state) || state instanceof Uint8Array)
      throw new DeviceStateError(device, 'it is not a record')
    this.#fields = state as Fields
    if (this.#fields.version !== version)
      throw new DeviceStateError(device, `version ${String(this.#fields.version)} instead of ${version}`)
  }

  fail(problem: string): never {
    throw new DeviceStateError(this.device, problem)
  }

  /** The field as it is; it must exist. */
  value(name: string): DeviceState {
    const value = Object.hasOwn(this.#fields, name) ? this.#fields[name] : undefined
    if (value === undefined) this.fail(`${name} is missing`)
    return value
  }

  integer(name: string, min: number, max: number): number {
    const value = this.value(name)
    if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max)
      this.fail(`${name} is no integer from ${min} to ${max}`)
    return value
  }

  u8(name: string): number {
    return this.integer(name, 0, 0xff)
  }

  u16(name: string): number {
    return this.integer(name, 0, 0xffff)
  }

  u32(name: string): number {
    return this.integer(name, 0, 0xffff_ffff)
  }

  boolean(name: string): boolean {
    const value = this.value(name)
    if (typeof value !== 'boolean') this.fail(`${name} is no boolean`)
    return value
  }

  /** An unsigned integer of at most 64 bits. */
  u64(name: string): bigint {
    const value = this.value(name)
    if (typeof value !== 'bigint' || value < 0n || value >= 1n << 64n)
      this.fail(`${name} is no unsigned 64-bit integer`)
    return value
  }

  /** A signed 64-bit integer. */
  i64(name: string): bigint {
    const value = this.value(name)
    if (typeof value !== 'bigint' || BigInt.asIntN(64, value) !== value)
      this.fail(`${name} is no signed 64-bit integer`)
    return value
  }

  /** A copy, so that the snapshot and the device never share bytes. */
  bytes(name: string, lengthMin: number, lengthMax: number): Uint8Array<ArrayBuffer> {
    const value = this.value(name)
    if (!(value instanceof Uint8Array) || value.length < lengthMin || value.length > lengthMax)
      this.fail(`${name} is not ${lengthMin} to ${lengthMax} bytes`)
    return new Uint8Array(value)
  }

  list(name: string, lengthMin: number, lengthMax: number): readonly DeviceState[] {
    const value = this.value(name)
    if (!Array.isArray(value) || value.length < lengthMin || value.length > lengthMax)
      this.fail(`${name} is no list of ${lengthMin} to ${lengthMax} elements`)
    return value as readonly DeviceState[]
  }

  /** A list of exactly `length` unsigned 32-bit integers. */
  words(name: string, length: number): Uint32Array<ArrayBuffer> {
    const words = new Uint32Array(length)
    for (const [index, word] of this.list(name, length, length).entries()) {
      if (typeof word !== 'number' || !Number.isInteger(word) || word < 0 || word > 0xffff_ffff)
        this.fail(`${name}[${index}] is no unsigned 32-bit integer`)
      words[index] = word
    }
    return words
  }

  /** A record within this one, with a version of its own. */
  nested(name: string, version: number): StateReader {
    return new StateReader(`${this.device}.${name}`, this.value(name), version)
  }
}
