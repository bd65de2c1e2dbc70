/**
 * The two binary formats and how their values lie in a 64-bit register (The RISC-V Instruction Set Manual, Volume I,
 * 20 "F" and 21 "D"; IEEE 754-2019, 3.4).
 *
 * Library functions take and give raw registers. A single is NaN-boxed: its upper 32 bits are ones, and any
 * other register read as a single is the canonical NaN. Inside a function a value is its plain encoding, zero
 * extended; `unbox` and `box` are the two crossings.
 */
import { type Expr, f32, f64, i32, i64, select } from '../../../wasm/expr.ts'
import type { FunctionBuilder } from '../../../wasm/function.ts'
import { field } from '../state.ts'

export interface Format {
  readonly name: 'f32' | 'f64'
  /** Bits of the significand, the hidden one included. */
  readonly precision: number
  readonly fractionBits: number
  readonly bias: number
  /** The exponent field of infinities and NaNs. */
  readonly exponentOnes: number
  readonly signBit: number
  readonly infinity: bigint
  readonly canonicalNaN: bigint
}

function format(name: 'f32' | 'f64', fractionBits: number, exponentBits: number): Format {
  const exponentOnes = 2 ** exponentBits - 1
  const infinity = BigInt(exponentOnes) << BigInt(fractionBits)
  return {
    name,
    precision: fractionBits + 1,
    fractionBits,
    bias: 2 ** (exponentBits - 1) - 1,
    exponentOnes,
    signBit: fractionBits + exponentBits,
    infinity,
    canonicalNaN: infinity | (1n << BigInt(fractionBits - 1)),
  }
}

export const F32 = format('f32', 23, 8)
export const F64 = format('f64', 52, 11)

/** Values of the rounding-mode fields rm and frm. */
export const RNE = 0
export const RTZ = 1
export const RDN = 2
export const RUP = 3
export const RMM = 4

/** Bits of fflags. */
export const NX = 1
export const UF = 2
export const OF = 4
export const DZ = 8
export const NV = 16

const BOX = 0xffff_ffff_0000_0000n

/** The plain encoding in a raw register. `raw` is evaluated twice. */
export function unbox(of: Format, raw: Expr): Expr {
  if (of === F64) return raw
  return select(isBoxed(raw), i64.extendU(i32.wrap(raw)), i64.const(of.canonicalNaN))
}

/** The raw register for a plain encoding. */
export function box(of: Format, bits: Expr): Expr {
  return of === F64 ? bits : i64.or(bits, i64.const(BOX))
}

/** Whether a raw register holds a single: its upper half is all ones. */
export function isBoxed(raw: Expr): Expr {
  return i64.geU(raw, i64.const(BOX))
}

export function boxedConstant(of: Format, bits: bigint): Expr {
  return i64.const(of === F64 ? bits : bits | BOX)
}

/** Flips the sign of a raw register; leaves an ill-boxed single ill-boxed. */
export function negated(of: Format, raw: Expr): Expr {
  return i64.xor(raw, i64.const(1n << BigInt(of.signBit)))
}

export function magnitude(of: Format, bits: Expr): Expr {
  return i64.and(bits, i64.const((1n << BigInt(of.signBit)) - 1n))
}

/** The sign of a plain encoding, moved to bit 63: the form in which the library carries signs. */
export function signOf(of: Format, bits: Expr): Expr {
  return i64.and(of === F64 ? bits : i64.shl(bits, i64.const(32)), i64.const(1n << 63n))
}

export function isNan(of: Format, bits: Expr): Expr {
  return i64.gtU(magnitude(of, bits), i64.const(of.infinity))
}

/** Signaling NaNs are the encodings strictly between infinity and the first one with the quiet bit. */
export function isSignalingNan(of: Format, bits: Expr): Expr {
  const least = of.infinity + 1n
  return i64.ltU(i64.sub(magnitude(of, bits), i64.const(least)), i64.const(of.canonicalNaN - least))
}

export function isInfinite(of: Format, bits: Expr): Expr {
  return i64.eq(magnitude(of, bits), i64.const(of.infinity))
}

export function isZero(of: Format, bits: Expr): Expr {
  return i64.eqz(magnitude(of, bits))
}

/** Not an infinity, not a NaN. */
export function isFiniteNumber(of: Format, bits: Expr): Expr {
  return i64.ltU(magnitude(of, bits), i64.const(of.infinity))
}

/**
 * Whether the exponent field is neither 0 nor 1 nor all ones. 1 is left out because the least normal number may have been
 * rounded up to from a tiny one, which raises underflow.
 */
export function isSafelyNormal(of: Format, raw: Expr): Expr {
  const exponentAt = BigInt(of.fractionBits + 64 - of.signBit)
  const exponentOnTop = i64.shl(raw, i64.const(64 - of.signBit))
  const count = BigInt(of.exponentOnes - 2)
  return i64.ltU(i64.sub(exponentOnTop, i64.const(2n << exponentAt)), i64.const(count << exponentAt))
}

/** Exponents of results that need no second look: `isTrusted`. */
export function trustedExponentCount(of: Format): number {
  return of.exponentOnes - 2
}

/**
 * Whether the exponent field of a number of the host, less two, is below `exponents`, i32. With `trustedExponentCount` that says what
 * `isSafelyNormal` says of bits; with 0 it is never so.
 */
export function isTrusted(of: Format, value: Expr, exponents: Expr): Expr {
  const upper =
    of === F64
      ? i32.wrap(i64.shrU(i64.reinterpret(value), i64.const(of.fractionBits)))
      : i32.shrU(i32.reinterpret(value), i32.const(of.fractionBits))
  return i32.ltU(i32.and(i32.sub(upper, i32.const(2)), i32.const(of.exponentOnes)), exponents)
}

/** The number of the host that a raw register holds if it holds one of this format; the bits are kept. */
export function numberOf(of: Format, raw: Expr): Expr {
  return of === F64 ? f64.reinterpret(raw) : f32.reinterpret(i32.wrap(raw))
}

/** The raw register for a number of the host. */
export function rawOf(of: Format, value: Expr): Expr {
  return of === F64 ? i64.reinterpret(value) : box(F32, i64.extendU(i32.reinterpret(value)))
}

/** Raises exception flags: an i64 of fflags bits, or a constant. */
export function raise(f: FunctionBuilder, flags: Expr | number): void {
  const address = i32.const(field.fcsr)
  const raised = typeof flags === 'number' ? i64.const(flags) : flags
  f.store('i64', address, i64.or(i64.load(address), raised))
}

/** Ends the function with the canonical NaN, invalid being raised if an operand (plain) is signaling. */
export function returnNan(f: FunctionBuilder, of: Format, result: Format, ...operands: Expr[]): void {
  const signaling = operands.map((bits) => isSignalingNan(of, bits)).reduce((a, b) => i32.or(a, b))
  f.if(signaling, () => raise(f, NV))
  f.return(boxedConstant(result, result.canonicalNaN))
}

/** Ends the function with the canonical NaN of an invalid operation. */
export function returnInvalid(f: FunctionBuilder, result: Format): void {
  raise(f, NV)
  f.return(boxedConstant(result, result.canonicalNaN))
}
