/**
 * The machine as its own firmware: the RISC-V Supervisor Binary Interface, version 2.0. A call is a pure function
 * of its arguments over what SbiMachine offers; whatever a guest passes, it gets an error code and nothing throws.
 *
 * Harts are numbered as in the machine's list; their SBI hart id is the same number.
 */

/** Chapter 3, standard errors. */
export const SBI_SUCCESS = 0n
export const SBI_ERR_FAILED = -1n
export const SBI_ERR_NOT_SUPPORTED = -2n
export const SBI_ERR_INVALID_PARAM = -3n
export const SBI_ERR_INVALID_ADDRESS = -5n
export const SBI_ERR_ALREADY_AVAILABLE = -6n

/** Chapter 9, as far as harts here can be seen in them: state changes take no time, so nothing is ever pending. */
export type HartState = 'started' | 'stopped' | 'suspended'

const HART_STATE_NUMBER: Record<HartState, bigint> = { started: 0n, stopped: 1n, suspended: 4n }

/** What a remote fence orders at the target harts, each before its next instruction. */
export type RemoteFence =
  | { readonly kind: 'fence.i' }
  /** `sizeBytes` null: the whole address space. `asid` null: all of them. */
  | {
      readonly kind: 'sfence.vma'
      readonly start: bigint
      readonly sizeBytes: bigint | null
      readonly asid: bigint | null
    }

/** What the machine does for its firmware. */
export interface SbiMachine {
  /** Harts are 0 to harts - 1. */
  readonly harts: number
  /** mvendorid, marchid, mimpid. */
  readonly identity: {
    readonly vendor: bigint
    readonly architecture: bigint
    readonly implementation: bigint
  }
  /** Arms the supervisor timer of the hart for a guest time, or disarms it; either clears STIP. */
  setTimer(hart: number, deadline: bigint | null): void
  /** Sets SSIP of the hart. */
  raiseSoftwareInterrupt(hart: number): void
  clearSoftwareInterrupt(hart: number): void
  remoteFence(hart: number, fence: RemoteFence): void
  hartState(hart: number): HartState
  /**
   * Starts a stopped hart in S-mode at `address` with translation off, interrupts off, a0 = its number, a1 =
   * `opaque`.
   */
  startHart(hart: number, address: bigint, opaque: bigint): void
  /** The calling hart stops; the call does not return. */
  stopHart(hart: number): void
  /** The calling hart waits for an interrupt, as in WFI, and the call returns then. */
  suspendRetentive(hart: number): void
  /** The calling hart waits for an interrupt, and starts then as `startHart` says. */
  suspendNonRetentive(hart: number, address: bigint, opaque: bigint): void
  systemReset(action: 'off' | 'reset', failed: boolean): void
  /** True if that many bytes at the physical address are RAM. */
  isMemory(address: bigint, lengthBytes: bigint): boolean
  readMemory(address: bigint, lengthBytes: number): Uint8Array
  writeMemory(address: bigint, data: Uint8Array): void
  consoleWrite(data: Uint8Array): void
  /** Up to that many bytes that were typed and not read. */
  consoleRead(lengthMax: number): Uint8Array
}

/** What goes back: a0 and a1; a legacy call (extensions 0 to 8) changes only a0. Null: the call does not return. */
export type SbiResult =
  | { readonly error: bigint; readonly value: bigint }
  | { readonly legacy: bigint }
  | null

/** a0 to a7 at the ECALL: a7 names the extension, a6 the function. Signed or unsigned, the low 64 bits count. */
export type SbiArguments = readonly [bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint]

/** Section 4.1: major in bits 30:24, minor below. */
export const SBI_SPECIFICATION_VERSION = 2n << 24n
/** None of the registered ones (section 4.9), which end far below. */
export const SBI_IMPLEMENTATION_ID = 0x5553n
export const SBI_IMPLEMENTATION_VERSION = 1n

/** One console call moves no more than this, as the specification allows: bounds the time it takes. */
export const CONSOLE_BYTES_MAX = 4096

const ALL_ONES = (1n << 64n) - 1n
const WORD = 0xffff_ffffn

const EXT_BASE = 0x10n
const EXT_TIME = 0x5449_4d45n
const EXT_IPI = 0x73_5049n
const EXT_RFENCE = 0x5246_4e43n
const EXT_HSM = 0x48_534dn
const EXT_SRST = 0x5352_5354n
const EXT_DBCN = 0x4442_434en

type Handler = (machine: SbiMachine, hart: number, fid: bigint, args: SbiArguments) => SbiResult

const EXTENSIONS: ReadonlyMap<bigint, Handler> = new Map<bigint, Handler>([
  [EXT_BASE, base],
  [EXT_TIME, time],
  [EXT_IPI, ipi],
  [EXT_RFENCE, rfence],
  [EXT_HSM, hsm],
  [EXT_SRST, srst],
  [EXT_DBCN, dbcn],
])

/** The last of the legacy extensions, chapter 5. */
const LEGACY_LAST = 8n

/** Serves one ECALL from S-mode of `hart`. */
export function sbiCall(machine: SbiMachine, hart: number, registers: SbiArguments): SbiResult {
  const args = registers.map((register) => BigInt.asUintN(64, register)) as unknown as SbiArguments
  // Extension and function ids are 32-bit signed integers, sign-extended (chapter 3).
  const extension = args[7] & WORD
  const handler = EXTENSIONS.get(extension)
  if (handler !== undefined) return handler(machine, hart, args[6] & WORD, args)
  if (extension <= LEGACY_LAST) return legacy(machine, hart, extension, args)
  return fail(SBI_ERR_NOT_SUPPORTED)
}

function ok(value = 0n): SbiResult {
  return { error: SBI_SUCCESS, value }
}

function fail(error: bigint): SbiResult {
  return { error, value: 0n }
}

/** Chapter 4. */
function base(machine: SbiMachine, _hart: number, fid: bigint, args: SbiArguments): SbiResult {
  switch (fid) {
    case 0n:
      return ok(SBI_SPECIFICATION_VERSION)
    case 1n:
      return ok(SBI_IMPLEMENTATION_ID)
    case 2n:
      return ok(SBI_IMPLEMENTATION_VERSION)
    case 3n: {
      const extension = args[0] & WORD
      return ok(EXTENSIONS.has(extension) || extension <= LEGACY_LAST ? 1n : 0n)
    }
    case 4n:
      return ok(machine.identity.vendor)
    case 5n:
      return ok(machine.identity.architecture)
    case 6n:
      return ok(machine.identity.implementation)
    default:
      return fail(SBI_ERR_NOT_SUPPORTED)
  }
}

/** Chapter 6. */
function time(machine: SbiMachine, hart: number, fid: bigint, args: SbiArguments): SbiResult {
  if (fid !== 0n) return fail(SBI_ERR_NOT_SUPPORTED)
  setTimer(machine, hart, args[0])
  return ok()
}

/** A deadline infinitely far away clears the timer. */
function setTimer(machine: SbiMachine, hart: number, deadline: bigint): void {
  machine.setTimer(hart, deadline === ALL_ONES ? null : deadline)
}

/**
 * Section 3.1: the harts that a mask and its base name, or null if one of them does not exist. A base of all ones
 * means every hart.
 */
function hartsOf(machine: SbiMachine, mask: bigint, maskBase: bigint): number[] | null {
  if (maskBase === ALL_ONES) return Array.from({ length: machine.harts }, (_, hart) => hart)
  const harts: number[] = []
  for (let bit = 0n; bit < 64n; bit++) {
    if (((mask >> bit) & 1n) === 0n) continue
    const hart = maskBase + bit
    if (hart >= BigInt(machine.harts)) return null
    harts.push(Number(hart))
  }
  return harts
}

/** Chapter 7. */
function ipi(machine: SbiMachine, _hart: number, fid: bigint, args: SbiArguments): SbiResult {
  if (fid !== 0n) return fail(SBI_ERR_NOT_SUPPORTED)
  const harts = hartsOf(machine, args[0], args[1])
  if (harts === null) return fail(SBI_ERR_INVALID_PARAM)
  for (const hart of harts) machine.raiseSoftwareInterrupt(hart)
  return ok()
}

/** Chapter 8. There is no hypervisor extension, so its fences (3 to 6) are not supported. */
function rfence(machine: SbiMachine, _hart: number, fid: bigint, args: SbiArguments): SbiResult {
  if (fid > 2n) return fail(SBI_ERR_NOT_SUPPORTED)
  const harts = hartsOf(machine, args[0], args[1])
  if (harts === null) return fail(SBI_ERR_INVALID_PARAM)
  const fence =
    fid === 0n ? ({ kind: 'fence.i' } as const) : virtualFence(args[2], args[3], fid === 2n ? args[4] : null)
  for (const hart of harts) machine.remoteFence(hart, fence)
  return ok()
}

/** Section 8: start and size both zero, or a size of all ones, mean everything. */
function virtualFence(start: bigint, size: bigint, asid: bigint | null): RemoteFence {
  const everything = size === ALL_ONES || (start === 0n && size === 0n)
  return { kind: 'sfence.vma', start, sizeBytes: everything ? null : size, asid }
}

/** Chapter 9. */
function hsm(machine: SbiMachine, hart: number, fid: bigint, args: SbiArguments): SbiResult {
  switch (fid) {
    case 0n: {
      const [target, address, opaque] = args
      if (target >= BigInt(machine.harts)) return fail(SBI_ERR_INVALID_PARAM)
      if (machine.hartState(Number(target)) !== 'stopped') return fail(SBI_ERR_ALREADY_AVAILABLE)
      if (!isCode(machine, address)) return fail(SBI_ERR_INVALID_ADDRESS)
      machine.startHart(Number(target), address, opaque)
      return ok()
    }
    case 1n:
      machine.stopHart(hart)
      return null
    case 2n:
      if (args[0] >= BigInt(machine.harts)) return fail(SBI_ERR_INVALID_PARAM)
      return ok(HART_STATE_NUMBER[machine.hartState(Number(args[0]))])
    case 3n:
      return suspend(machine, hart, args)
    default:
      return fail(SBI_ERR_NOT_SUPPORTED)
  }
}

const SUSPEND_RETENTIVE = 0n
const SUSPEND_NON_RETENTIVE = 0x8000_0000n

/** Section 9.4: besides the two default types all others are reserved or of a platform. */
function suspend(machine: SbiMachine, hart: number, args: SbiArguments): SbiResult {
  const [type, address, opaque] = args
  switch (type & WORD) {
    case SUSPEND_RETENTIVE:
      machine.suspendRetentive(hart)
      return ok()
    case SUSPEND_NON_RETENTIVE:
      if (!isCode(machine, address)) return fail(SBI_ERR_INVALID_ADDRESS)
      machine.suspendNonRetentive(hart, address, opaque)
      return null
    default:
      return fail(isPlatformSuspendType(type & WORD) ? SBI_ERR_NOT_SUPPORTED : SBI_ERR_INVALID_PARAM)
  }
}

function isPlatformSuspendType(type: bigint): boolean {
  const low = type & 0x7fff_ffffn
  return low >= 0x1000_0000n
}

function isCode(machine: SbiMachine, address: bigint): boolean {
  return (address & 1n) === 0n && machine.isMemory(address, 2n)
}

/** Chapter 10. */
function srst(machine: SbiMachine, _hart: number, fid: bigint, args: SbiArguments): SbiResult {
  if (fid !== 0n) return fail(SBI_ERR_NOT_SUPPORTED)
  const type = args[0] & WORD
  const reason = args[1] & WORD
  const isVendor = (number: bigint): boolean => number >= 0xf000_0000n
  // Platform-specific reasons start at 0xe0000000; they say nothing to this platform, but they are legal.
  if (reason > 1n && reason < 0xe000_0000n) return fail(SBI_ERR_INVALID_PARAM)
  if (type > 2n) return fail(isVendor(type) ? SBI_ERR_NOT_SUPPORTED : SBI_ERR_INVALID_PARAM)
  machine.systemReset(type === 0n ? 'off' : 'reset', reason !== 0n)
  return null
}

/** Chapter 12. */
function dbcn(machine: SbiMachine, _hart: number, fid: bigint, args: SbiArguments): SbiResult {
  const [lengthBytes, low, high] = args
  switch (fid) {
    case 0n: {
      if (!isBuffer(machine, lengthBytes, low, high)) return fail(SBI_ERR_INVALID_PARAM)
      const piece = boundedLength(lengthBytes)
      if (piece > 0) machine.consoleWrite(machine.readMemory(low, piece))
      return ok(BigInt(piece))
    }
    case 1n: {
      if (!isBuffer(machine, lengthBytes, low, high)) return fail(SBI_ERR_INVALID_PARAM)
      const data = machine.consoleRead(boundedLength(lengthBytes))
      if (data.length > 0) machine.writeMemory(low, data)
      return ok(BigInt(data.length))
    }
    case 2n:
      machine.consoleWrite(Uint8Array.of(Number(args[0] & 0xffn)))
      return ok()
    default:
      return fail(SBI_ERR_NOT_SUPPORTED)
  }
}

function isBuffer(machine: SbiMachine, lengthBytes: bigint, low: bigint, high: bigint): boolean {
  return (
    lengthBytes === 0n ||
    (high === 0n && low + lengthBytes <= 1n << 64n && machine.isMemory(low, lengthBytes))
  )
}

function boundedLength(lengthBytes: bigint): number {
  return lengthBytes > BigInt(CONSOLE_BYTES_MAX) ? CONSOLE_BYTES_MAX : Number(lengthBytes)
}

/**
 * Chapter 5. Masks of the legacy calls are virtual addresses of the caller, which firmware without its page tables
 * cannot follow; they act on every hart instead, which is always allowed: a fence too many, or an interrupt that
 * finds nothing to do.
 */
function legacy(machine: SbiMachine, hart: number, extension: bigint, args: SbiArguments): SbiResult {
  const everyHart = Array.from({ length: machine.harts }, (_, index) => index)
  switch (extension) {
    case 0n:
      setTimer(machine, hart, args[0])
      break
    case 1n:
      machine.consoleWrite(Uint8Array.of(Number(args[0] & 0xffn)))
      break
    case 2n: {
      const data = machine.consoleRead(1)
      return { legacy: data.length === 0 ? -1n : BigInt(data[0]) }
    }
    case 3n:
      machine.clearSoftwareInterrupt(hart)
      break
    case 4n:
      for (const target of everyHart) machine.raiseSoftwareInterrupt(target)
      break
    case 5n:
      for (const target of everyHart) machine.remoteFence(target, { kind: 'fence.i' })
      break
    case 6n:
    case 7n:
      for (const target of everyHart) machine.remoteFence(target, virtualFence(0n, 0n, null))
      break
    default:
      machine.systemReset('off', false)
      return null
  }
  return { legacy: 0n }
}
