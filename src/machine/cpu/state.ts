/**
 * Where the state of a hart lies in the machine's Wasm memory: plain, named data, so that save, restore and
 * digest are one walk over this table. All of it is architectural (a guest can observe it) unless said otherwise.
 *
 * The running hart always lies at the same place, so that compiled code addresses registers by constants.
 */

/** Below this nothing lies, so that a null address is never a valid one. */
export const STATE_BASE = 0x1000
/** Bytes from STATE_BASE that belong to a hart's architectural state, a multiple of 8; see `hartFields`. */
export const STATE_BYTES = 0x400

const fieldNames = [
  'pc',
  'mstatus',
  'misa',
  'mie',
  /** Software-writable and device-driven pending bits together. */
  'mip',
  /** SEIP as M-mode software set it; the interrupt controller's line is in mip. */
  'softwareSeip',
  'mtvec',
  'mepc',
  'mcause',
  'mtval',
  'mscratch',
  'medeleg',
  'mideleg',
  'mcounteren',
  'mcountinhibit',
  'menvcfg',
  'stvec',
  'sepc',
  'scause',
  'stval',
  'sscratch',
  'satp',
  'scounteren',
  'senvcfg',
  'stimecmp',
  'mtimecmp',
  /** frm in bits 7:5, fflags in bits 4:0. */
  'fcsr',
  /** Privilege mode: 0 U, 1 S, 3 M. */
  'privilege',
  /** Physical address of the LR reservation, or all ones. */
  'reservation',
  /** 1 while the hart waits in WFI. */
  'waiting',
  /** 1 when a user address was translated through a superpage since the last full flush: fences by address must flush all then. */
  'userSuperpages',
  /** What must be added to the retired count to read minstret and mcycle. */
  'minstretOffset',
  'mcycleOffset',
  /** Retired instructions when the current chunk's budget is used up. */
  'retiredLimit',
  /** Guest clock at the start of the slice, the retired count there, and the rate (ticks per instruction, 0.32 fixed point). */
  'sliceClock',
  'sliceRetired',
  'sliceRate',
] as const

export type FieldName = (typeof fieldNames)[number]

const X_BASE = STATE_BASE
const F_BASE = STATE_BASE + 32 * 8
const FIELD_BASE = F_BASE + 32 * 8

/** Byte address of integer register `index` (64 bits each; x0 holds zero). */
export function xAddress(index: number): number {
  return X_BASE + index * 8
}

/** Byte address of floating-point register `index` (64 bits; singles are NaN-boxed). */
export function fAddress(index: number): number {
  return F_BASE + index * 8
}

/** Byte address of each 64-bit field. */
export const field: Readonly<Record<FieldName, number>> = Object.fromEntries(
  fieldNames.map((name, i) => [name, FIELD_BASE + i * 8]),
) as Record<FieldName, number>
