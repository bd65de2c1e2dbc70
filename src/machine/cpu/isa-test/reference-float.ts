/**
 * Floating point by exact arithmetic: every finite operand is an integer times a power of two, results are computed
 * exactly (or, for quotients and roots, to more bits than any format keeps, with a sticky bit) and rounded once.
 * IEEE 754-2019 with the choices of the RISC-V manual (chapters F and D): canonical NaNs, tininess detected after
 * rounding, minimumNumber and maximumNumber, saturating conversions.
 */

export interface Format {
  /** Bits of the significand, the hidden one included. */
  readonly precision: number
  readonly exponentBits: number
  readonly bits: 32 | 64
}

export const SINGLE: Format = { precision: 24, exponentBits: 8, bits: 32 }
export const DOUBLE: Format = { precision: 53, exponentBits: 11, bits: 64 }

/** Rounding modes as encoded in `rm` and `frm`. */
export const RNE = 0
export const RTZ = 1
export const RDN = 2
export const RUP = 3
export const RMM = 4

/** Accrued exception flags as they stand in fflags. */
export const NX = 1
export const UF = 2
export const OF = 4
export const DZ = 8
export const NV = 16

export interface Rounded {
  readonly bits: bigint
  readonly flags: number
}

type Unpacked =
  | { readonly kind: 'nan'; readonly signaling: boolean; readonly negative: boolean }
  | { readonly kind: 'infinite'; readonly negative: boolean }
  /** significand * 2^exponent; a zero has significand 0. */
  | {
      readonly kind: 'finite'
      readonly negative: boolean
      readonly significand: bigint
      readonly exponent: number
    }

const NAN_BOX = 0xffff_ffffn

const bias = (format: Format) => 2 ** (format.exponentBits - 1) - 1
const fractionBits = (format: Format) => format.precision - 1
/** The exponent of the least significant bit of subnormals. */
const leastExponent = (format: Format) => 1 - bias(format) - fractionBits(format)
const exponentMask = (format: Format) => (1n << BigInt(format.exponentBits)) - 1n
export const infinityBits = (format: Format) => exponentMask(format) << BigInt(fractionBits(format))
export const canonicalNaN = (format: Format) => infinityBits(format) | (1n << BigInt(format.precision - 2))
const signBit = (format: Format) => 1n << BigInt(format.bits - 1)

/** An f register as an operand of `format`: a single that is not boxed reads as the canonical NaN. */
export function operand(register: bigint, format: Format): bigint {
  if (format.bits === 64) return register
  return register >> 32n === NAN_BOX ? BigInt.asUintN(32, register) : canonicalNaN(format)
}

/** A result as an f register holds it. */
export function boxed(bits: bigint, format: Format): bigint {
  return format.bits === 64 ? bits : (NAN_BOX << 32n) | bits
}

function unpack(bits: bigint, format: Format): Unpacked {
  const negative = (bits & signBit(format)) !== 0n
  const field = (bits >> BigInt(fractionBits(format))) & exponentMask(format)
  const fraction = bits & ((1n << BigInt(fractionBits(format))) - 1n)
  if (field === exponentMask(format)) {
    if (fraction === 0n) return { kind: 'infinite', negative }
    return { kind: 'nan', negative, signaling: fraction >> BigInt(format.precision - 2) === 0n }
  }
  if (field === 0n)
    return { kind: 'finite', negative, significand: fraction, exponent: leastExponent(format) }
  const hidden = 1n << BigInt(fractionBits(format))
  return {
    kind: 'finite',
    negative,
    significand: fraction | hidden,
    exponent: leastExponent(format) + Number(field) - 1,
  }
}

const bitLength = (value: bigint) => (value === 0n ? 0 : value.toString(2).length)
const zero = (negative: boolean, format: Format): bigint => (negative ? signBit(format) : 0n)
const infinity = (negative: boolean, format: Format): bigint => zero(negative, format) | infinityBits(format)

/** significand * 2^exponent (and a bit more when `sticky`) in units of 2^unit, rounded. */
function toUnits(
  negative: boolean,
  significand: bigint,
  exponent: number,
  sticky: boolean,
  unit: number,
  mode: number,
) {
  if (unit <= exponent && !sticky) return { units: significand << BigInt(exponent - unit), inexact: false }
  // Two more bits make room for the half and for the sticky bit.
  const scaled =
    (exponent > unit - 2
      ? significand << BigInt(exponent - unit + 2)
      : significand >> BigInt(unit - 2 - exponent)) << 1n
  const lost = exponent < unit - 2 && (significand & ((1n << BigInt(unit - 2 - exponent)) - 1n)) !== 0n
  const withSticky = scaled | (sticky || lost ? 1n : 0n)
  const units = withSticky >> 3n
  const rest = withSticky & 7n
  const up =
    mode === RNE
      ? rest > 4n || (rest === 4n && (units & 1n) === 1n)
      : mode === RMM
        ? rest >= 4n
        : mode === RUP
          ? !negative && rest !== 0n
          : mode === RDN && negative && rest !== 0n
  return { units: up ? units + 1n : units, inexact: rest !== 0n }
}

function round(
  negative: boolean,
  significand: bigint,
  exponent: number,
  sticky: boolean,
  format: Format,
  mode: number,
): Rounded {
  if (significand === 0n && !sticky) return { bits: zero(negative, format), flags: 0 }
  const least = leastExponent(format)
  const unbounded = exponent + bitLength(significand) - format.precision
  const unit = Math.max(unbounded, least)
  const { units, inexact } = toUnits(negative, significand, exponent, sticky, unit, mode)
  // Tiny after rounding: smaller than the least normal even with an unbounded exponent.
  const asNormal = toUnits(negative, significand, exponent, sticky, unbounded, mode).units
  const tiny = bitLength(asNormal) + unbounded < format.precision + least
  let flags = inexact ? NX : 0
  if (inexact && tiny) flags |= UF
  const topExponent = unit + bitLength(units) - 1
  if (topExponent > bias(format)) {
    const toInfinity =
      mode === RNE || mode === RMM || (mode === RUP && !negative) || (mode === RDN && negative)
    const magnitude = toInfinity ? infinityBits(format) : infinityBits(format) - 1n
    return { bits: zero(negative, format) | magnitude, flags: OF | NX }
  }
  // The hidden bit carries into the exponent field, also out of the subnormals and into the next binade.
  const field = BigInt(unit - least)
  const magnitude = unit === least ? units : (field << BigInt(fractionBits(format))) + units
  return { bits: zero(negative, format) | magnitude, flags }
}

function nanResult(operands: readonly Unpacked[], format: Format): Rounded | null {
  if (!operands.some((value) => value.kind === 'nan')) return null
  const signaling = operands.some((value) => value.kind === 'nan' && value.signaling)
  return { bits: canonicalNaN(format), flags: signaling ? NV : 0 }
}

const invalid = (format: Format): Rounded => ({ bits: canonicalNaN(format), flags: NV })
const exact = (bits: bigint): Rounded => ({ bits, flags: 0 })
const flipped = (value: Unpacked): Unpacked => ({ ...value, negative: !value.negative })

export function add(a: bigint, b: bigint, format: Format, mode: number): Rounded {
  return sum(unpack(a, format), unpack(b, format), format, mode)
}

export function subtract(a: bigint, b: bigint, format: Format, mode: number): Rounded {
  return sum(unpack(a, format), flipped(unpack(b, format)), format, mode)
}

function sum(a: Unpacked, b: Unpacked, format: Format, mode: number): Rounded {
  const nan = nanResult([a, b], format)
  if (nan !== null) return nan
  if (a.kind === 'infinite' || b.kind === 'infinite') {
    if (a.kind === 'infinite' && b.kind === 'infinite' && a.negative !== b.negative) return invalid(format)
    return exact(infinity(a.kind === 'infinite' ? a.negative : b.negative, format))
  }
  if (a.kind !== 'finite' || b.kind !== 'finite') throw new RangeError('unreachable: NaNs are dealt with')
  const exponent = Math.min(a.exponent, b.exponent)
  const signed = (value: typeof a) =>
    (value.significand << BigInt(value.exponent - exponent)) * (value.negative ? -1n : 1n)
  const total = signed(a) + signed(b)
  if (total === 0n) {
    const bothNegative = a.negative && b.negative
    return exact(zero(a.negative === b.negative ? bothNegative : mode === RDN, format))
  }
  return round(total < 0n, total < 0n ? -total : total, exponent, false, format, mode)
}

export function multiply(a: bigint, b: bigint, format: Format, mode: number): Rounded {
  const x = unpack(a, format)
  const y = unpack(b, format)
  const nan = nanResult([x, y], format)
  if (nan !== null) return nan
  const product = multiplied(x, y)
  if (product === null) return invalid(format)
  if (product.kind === 'infinite') return exact(infinity(product.negative, format))
  if (product.kind === 'nan') throw new RangeError('unreachable: NaNs are dealt with')
  return round(product.negative, product.significand, product.exponent, false, format, mode)
}

/** The exact product of two operands that are no NaNs; null for infinity times zero. */
function multiplied(x: Unpacked, y: Unpacked): Unpacked | null {
  const negative = x.negative !== y.negative
  const isZero = (value: Unpacked) => value.kind === 'finite' && value.significand === 0n
  if (x.kind === 'infinite' || y.kind === 'infinite')
    return isZero(x) || isZero(y) ? null : { kind: 'infinite', negative }
  if (x.kind === 'nan' || y.kind === 'nan') return null
  return {
    kind: 'finite',
    negative,
    significand: x.significand * y.significand,
    exponent: x.exponent + y.exponent,
  }
}

/** (±(a * b)) ± c, rounded once. */
export function fused(
  a: bigint,
  b: bigint,
  c: bigint,
  sign: { readonly negateProduct: boolean; readonly negateAddend: boolean },
  format: Format,
  mode: number,
): Rounded {
  const x = unpack(a, format)
  const y = unpack(b, format)
  const z = unpack(c, format)
  const product = x.kind === 'nan' || y.kind === 'nan' ? null : multiplied(x, y)
  const nan = nanResult([x, y, z], format)
  // Infinity times zero is invalid even when the addend is a quiet NaN.
  if (nan !== null) return product === null && x.kind !== 'nan' && y.kind !== 'nan' ? invalid(format) : nan
  if (product === null) return invalid(format)
  return sum(
    sign.negateProduct ? flipped(product) : product,
    sign.negateAddend ? flipped(z) : z,
    format,
    mode,
  )
}

export function divide(a: bigint, b: bigint, format: Format, mode: number): Rounded {
  const x = unpack(a, format)
  const y = unpack(b, format)
  const nan = nanResult([x, y], format)
  if (nan !== null) return nan
  const negative = x.negative !== y.negative
  if (x.kind === 'infinite')
    return y.kind === 'infinite' ? invalid(format) : exact(infinity(negative, format))
  if (y.kind === 'infinite') return exact(zero(negative, format))
  if (x.kind !== 'finite' || y.kind !== 'finite') throw new RangeError('unreachable: NaNs are dealt with')
  if (y.significand === 0n) {
    return x.significand === 0n ? invalid(format) : { bits: infinity(negative, format), flags: DZ }
  }
  const extra = 2 * format.precision + 4
  const dividend = x.significand << BigInt(extra)
  const quotient = dividend / y.significand
  const sticky = dividend % y.significand !== 0n
  return round(negative, quotient, x.exponent - y.exponent - extra, sticky, format, mode)
}

export function squareRoot(a: bigint, format: Format, mode: number): Rounded {
  const x = unpack(a, format)
  const nan = nanResult([x], format)
  if (nan !== null) return nan
  if (x.kind === 'finite' && x.significand === 0n) return exact(a)
  if (x.negative) return invalid(format)
  if (x.kind !== 'finite') return exact(a)
  const odd = x.exponent & 1
  const extra = 2 * format.precision + 4
  const radicand = x.significand << BigInt(odd + 2 * extra)
  const root = integerSquareRoot(radicand)
  return round(false, root, (x.exponent - odd) / 2 - extra, root * root !== radicand, format, mode)
}

function integerSquareRoot(value: bigint): bigint {
  let root = 1n << BigInt((bitLength(value) + 1) >> 1)
  for (;;) {
    const next = (root + value / root) >> 1n
    if (next >= root) return root
    root = next
  }
}

export function convertFormat(a: bigint, from: Format, to: Format, mode: number): Rounded {
  const x = unpack(a, from)
  const nan = nanResult([x], to)
  if (nan !== null) return nan
  if (x.kind !== 'finite') return exact(infinity(x.negative, to))
  return round(x.negative, x.significand, x.exponent, false, to, mode)
}

/** The integer register after FCVT: sign-extended from 32 bits also when unsigned. Out of range and NaN saturate. */
export function toInteger(a: bigint, format: Format, bits: 32 | 64, signed: boolean, mode: number): Rounded {
  const x = unpack(a, format)
  const low = signed ? -(1n << BigInt(bits - 1)) : 0n
  const high = signed ? (1n << BigInt(bits - 1)) - 1n : (1n << BigInt(bits)) - 1n
  const register = (value: bigint) => BigInt.asUintN(64, BigInt.asIntN(bits, value))
  if (x.kind === 'nan') return { bits: register(high), flags: NV }
  if (x.kind === 'infinite') return { bits: register(x.negative ? low : high), flags: NV }
  const { units, inexact } = toUnits(x.negative, x.significand, x.exponent, false, 0, mode)
  const value = x.negative ? -units : units
  if (value < low || value > high) return { bits: register(value < low ? low : high), flags: NV }
  return { bits: register(value), flags: inexact ? NX : 0 }
}

export function fromInteger(
  register: bigint,
  bits: 32 | 64,
  signed: boolean,
  format: Format,
  mode: number,
): Rounded {
  const value = signed ? BigInt.asIntN(bits, register) : BigInt.asUintN(bits, register)
  return round(value < 0n, value < 0n ? -value : value, 0, false, format, mode)
}

/** Orders two operands that are no NaNs: negative when a < b. Zeros are equal. */
function order(a: bigint, b: bigint, format: Format): number {
  const key = (bits: bigint) => ((bits & signBit(format)) === 0n ? bits : -(bits ^ signBit(format)))
  const [x, y] = [key(a), key(b)]
  return x < y ? -1 : x > y ? 1 : 0
}

export function compare(relation: 'eq' | 'lt' | 'le', a: bigint, b: bigint, format: Format): Rounded {
  const nan = nanResult([unpack(a, format), unpack(b, format)], format)
  if (nan !== null) return { bits: 0n, flags: relation === 'eq' ? nan.flags : NV }
  const ordered = order(a, b, format)
  const truth = relation === 'eq' ? ordered === 0 : relation === 'lt' ? ordered < 0 : ordered <= 0
  return exact(truth ? 1n : 0n)
}

export function minimumMaximum(which: 'min' | 'max', a: bigint, b: bigint, format: Format): Rounded {
  const x = unpack(a, format)
  const y = unpack(b, format)
  const flags = nanResult([x, y], format)?.flags ?? 0
  if (x.kind === 'nan') return { bits: y.kind === 'nan' ? canonicalNaN(format) : b, flags }
  if (y.kind === 'nan') return { bits: a, flags }
  const ordered = order(a, b, format) || Number(y.negative) - Number(x.negative)
  return { bits: ordered < 0 === (which === 'min') ? a : b, flags }
}

/** The ten bits of FCLASS, from negative infinity to quiet NaN. */
export function classify(a: bigint, format: Format): bigint {
  const x = unpack(a, format)
  if (x.kind === 'nan') return x.signaling ? 0x100n : 0x200n
  if (x.kind === 'infinite') return x.negative ? 0x001n : 0x080n
  if (x.significand === 0n) return x.negative ? 0x008n : 0x010n
  const normal = bitLength(x.significand) === format.precision
  if (x.negative) return normal ? 0x002n : 0x004n
  return normal ? 0x040n : 0x020n
}

export function injectSign(
  which: 'fsgnj' | 'fsgnjn' | 'fsgnjx',
  a: bigint,
  b: bigint,
  format: Format,
): bigint {
  const sign = signBit(format)
  const from = which === 'fsgnj' ? b : which === 'fsgnjn' ? b ^ sign : a ^ b
  return (a & ~sign) | (from & sign)
}
