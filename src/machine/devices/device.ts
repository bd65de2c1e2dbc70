/**
 * What a device may see of the machine, and what the machine asks of a device.
 *
 * A device is a pure state machine: it is called when the guest touches its registers or when an input is
 * applied, and it may touch guest memory, its interrupt line, and the list of outputs. It knows no clock but
 * the guest's and no I/O.
 */
import type { FdtNode } from '../boot/fdt.ts'
import type { MachineOutput } from '../io.ts'

/**
 * Guest RAM by physical address. Addresses and lengths are plain numbers (below 2^53). Every write goes through
 * here so that dirty pages and translated code are tracked. Reading or writing outside RAM throws a
 * `GuestAddressError`; a device that follows guest-made pointers asks `contains` first.
 */
export interface GuestMemory {
  contains(address: number, length: number): boolean
  /** A view of RAM, valid until the call that received it returns. Read only. */
  view(address: number, length: number): Uint8Array
  write(address: number, data: Uint8Array): void
  /** The sum of an internet checksum (RFC 1071) over bytes of RAM, as a 16-bit little-endian number, not complemented. */
  checksum(address: number, length: number): number
  u8(address: number): number
  u16(address: number): number
  u32(address: number): number
  /** 64-bit little-endian value as a number; values over 2^53 lose precision (guest pointers that large are outside RAM anyway). */
  u64(address: number): number
  setU8(address: number, value: number): void
  setU16(address: number, value: number): void
  setU32(address: number, value: number): void
}

/** A level-triggered wire to the interrupt controller. */
export interface InterruptLine {
  set(asserted: boolean): void
}

/** What the machine hands a device when it is plugged in. */
export interface DeviceContext {
  readonly memory: GuestMemory
  readonly interrupt: InterruptLine
  /** Guest time in ticks of the time base (10 MHz): exact, a function of the log. */
  guestClock(): bigint
  /** Queues an output of the running slice. */
  output(output: MachineOutput): void
  /** Ends the running slice after the current instruction, so that outputs queued so far leave soon. */
  endSlice(): void
}

/** Plain, versioned data: numbers, strings, booleans, bigints, byte arrays, and arrays and records of them. */
export type DeviceState =
  | number
  | bigint
  | string
  | boolean
  | null
  | Uint8Array
  | readonly DeviceState[]
  | { readonly [name: string]: DeviceState }

/**
 * A device with memory-mapped registers. Offsets are relative to `base`. Accesses are 1, 2 or 4 bytes wide and
 * naturally aligned; the bus splits 8-byte accesses (low half first). Unknown registers read 0 and ignore
 * writes; a device never throws at what a guest does.
 */
export interface MmioDevice {
  readonly name: string
  readonly base: number
  readonly size: number
  read(offset: number, width: 1 | 2 | 4): number
  write(offset: number, width: 1 | 2 | 4, value: number): void
  /** The device's node in the device tree. */
  fdtNode(): FdtNode
  save(): DeviceState
  /**
   * Takes back what `save` returned. Throws a DeviceStateError if the state does not fit this device. It leaves the
   * interrupt line alone: the level of every line is the interrupt controller's state.
   */
  restore(state: DeviceState): void
}
