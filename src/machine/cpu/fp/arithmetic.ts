/**
 * Addition, multiplication, division and square root, exactly rounded (IEEE 754-2019, 5.4.1).
 *
 * Each is defined once for both formats. Special values go first; what is left is finite and goes through
 * unpack, one exact or sticky integer operation, and round.
 */
import { type Expr, f64, i32, i64, select, truncSat } from '../../../wasm/expr.ts'
import type { FunctionBuilder, Local } from '../../../wasm/function.ts'
import type { ModuleBuilder } from '../../../wasm/module.ts'
import { returnExactProduct, returnExactSum } from './exact.ts'
import {
  box,
  boxedConstant,
  DZ,
  F64,
  type Format,
  isFiniteNumber,
  isInfinite,
  isNan,
  isZero,
  magnitude,
  negated,
  RDN,
  raise,
  returnInvalid,
  returnNan,
  signOf,
  unbox,
} from './format.ts'
import { returnRounded } from './round.ts'
import { multiplyWide, shiftRightSticky, sticky, unpack } from './unpack.ts'

/** Raw operands → plain encodings in locals. */
function plainOperands(f: FunctionBuilder, of: Format, ...raw: Local[]): Local[] {
  return raw.map((r) => f.keep(unbox(of, r.get)))
}

function signBitOf(of: Format, sign: Local) {
  return i64.shrU(sign.get, i64.const(63 - of.signBit))
}

/** (a, b: raw i64, rounding: i32) → raw. */
export function defineAdd(module: ModuleBuilder, of: Format, name: string, round: number): number {
  const { index, body: f } = module.function(['i64', 'i64', 'i32'], ['i64'], name)
  const rounding = f.paramLocals[2].get
  if (of === F64) returnExactSum(f, f.paramLocals[0].get, f.paramLocals[1].get)
  // `a` is the larger in magnitude, so it alone decides whether there is a special value.
  const [a, b] = plainOperands(f, of, f.paramLocals[0], f.paramLocals[1])
  f.if(i64.ltU(magnitude(of, a.get), magnitude(of, b.get)), () => {
    const swapped = f.keep(a.get)
    f.set(a, b.get)
    f.set(b, swapped.get)
  })
  f.if(i32.eqz(isFiniteNumber(of, a.get)), () => {
    f.if(isNan(of, a.get), () => returnNan(f, of, of, a.get, b.get))
    const oppositeSigns = i64.ne(signOf(of, a.get), signOf(of, b.get))
    f.if(i32.and(isInfinite(of, b.get), oppositeSigns), () => returnInvalid(f, of))
    f.return(box(of, a.get))
  })

  const x = unpack(f, of, a.get)
  const y = unpack(f, of, b.get)
  // One bit of room for the carry.
  const sum = f.keep(i64.shrU(x.significand.get, i64.const(1)))
  const addend = f.keep(i64.shrU(y.significand.get, i64.const(1)))
  const distance = f.keep(i64.sub(x.exponent.get, y.exponent.get))
  shiftRightSticky(f, addend, distance.get)
  f.if(
    i64.eq(x.sign.get, y.sign.get),
    () => f.set(sum, i64.add(sum.get, addend.get)),
    () => {
      f.set(sum, i64.sub(sum.get, addend.get))
      // An exact zero from opposite signs is positive, but negative when rounding down (IEEE 754-2019, 6.3).
      f.if(i64.eqz(sum.get), () => f.return(zeroOfRounding(of, rounding)))
    },
  )
  f.if(i64.eqz(sum.get), () => f.return(box(of, a.get)))
  const exponent = i64.add(x.exponent.get, i64.const(1))
  returnRounded(f, round, { sign: x.sign.get, exponent, significand: sum.get }, rounding)
  return index
}

/** The zero that an exact cancellation gives: raw. */
export function zeroOfRounding(of: Format, rounding: Expr): Expr {
  const negative = boxedConstant(of, 1n << BigInt(of.signBit))
  return select(i32.eq(rounding, i32.const(RDN)), negative, boxedConstant(of, 0n))
}

/** (a, b: raw i64, rounding: i32) → raw. */
export function defineSubtract(module: ModuleBuilder, of: Format, name: string, add: number): number {
  const { index, body: f } = module.function(['i64', 'i64', 'i32'], ['i64'], name)
  const [a, b, rounding] = f.paramLocals
  f.returnCall(add, a.get, negated(of, b.get), rounding.get)
  return index
}

/** (a, b: raw i64, rounding: i32) → raw. */
export function defineMultiply(module: ModuleBuilder, of: Format, name: string, round: number): number {
  const { index, body: f } = module.function(['i64', 'i64', 'i32'], ['i64'], name)
  if (of === F64) returnExactProduct(f, f.paramLocals[0].get, f.paramLocals[1].get)
  const [a, b] = plainOperands(f, of, f.paramLocals[0], f.paramLocals[1])
  const sign = f.keep(signOf(of, i64.xor(a.get, b.get)))
  const anyZero = () => i32.or(isZero(of, a.get), isZero(of, b.get))
  f.if(i32.eqz(i32.and(isFiniteNumber(of, a.get), isFiniteNumber(of, b.get))), () => {
    f.if(i32.or(isNan(of, a.get), isNan(of, b.get)), () => returnNan(f, of, of, a.get, b.get))
    f.if(anyZero(), () => returnInvalid(f, of))
    f.return(box(of, i64.or(signBitOf(of, sign), i64.const(of.infinity))))
  })
  f.if(anyZero(), () => f.return(box(of, signBitOf(of, sign))))

  const x = unpack(f, of, a.get)
  const y = unpack(f, of, b.get)
  const product = multiplyWide(f, x.significand.get, y.significand.get)
  const significand = i64.or(product.high.get, sticky(product.low.get))
  const exponent = i64.add(i64.add(x.exponent.get, y.exponent.get), i64.const(1))
  returnRounded(f, round, { sign: sign.get, exponent, significand }, f.paramLocals[2].get)
  return index
}

/**
 * Division and square root take a significand as an integer of 53 bits, and the host's double-precision result as an
 * estimate. The remainder is computed in integers, modulo 2^64: it is small, so nothing of it is lost, and it shows
 * whether the estimate was one too large. So the floor is right whichever way the host rounds.
 */
const BELOW_INTEGER = i64.const(11)

/** A significand from the floor (53 bits), the digit below it, and the sticky bit. */
function fromEstimate(floor: Expr, digit: Expr, rest: Expr): Expr {
  return i64.or(i64.or(i64.shl(floor, BELOW_INTEGER), i64.shl(digit, i64.const(10))), rest)
}

/** (a, b: raw i64, rounding: i32) → raw. */
export function defineDivide(module: ModuleBuilder, of: Format, name: string, round: number): number {
  const { index, body: f } = module.function(['i64', 'i64', 'i32'], ['i64'], name)
  const [a, b] = plainOperands(f, of, f.paramLocals[0], f.paramLocals[1])
  const sign = f.keep(signOf(of, i64.xor(a.get, b.get)))
  const infinity = () => box(of, i64.or(signBitOf(of, sign), i64.const(of.infinity)))
  f.if(i32.eqz(i32.and(isFiniteNumber(of, a.get), isFiniteNumber(of, b.get))), () => {
    f.if(i32.or(isNan(of, a.get), isNan(of, b.get)), () => returnNan(f, of, of, a.get, b.get))
    f.if(i32.and(isInfinite(of, a.get), isInfinite(of, b.get)), () => returnInvalid(f, of))
    f.if(isInfinite(of, a.get), () => f.return(infinity()))
    f.return(box(of, signBitOf(of, sign)))
  })
  f.if(isZero(of, b.get), () => {
    f.if(isZero(of, a.get), () => returnInvalid(f, of))
    raise(f, DZ)
    f.return(infinity())
  })
  f.if(isZero(of, a.get), () => f.return(box(of, signBitOf(of, sign))))

  const x = unpack(f, of, a.get)
  const y = unpack(f, of, b.get)
  const dividend = f.keep(i64.shrU(x.significand.get, BELOW_INTEGER))
  const divisor = f.keep(i64.shrU(y.significand.get, BELOW_INTEGER))
  const exponent = f.keep(i64.sub(x.exponent.get, y.exponent.get))
  f.if(i64.ltU(dividend.get, divisor.get), () => {
    f.set(dividend, i64.shl(dividend.get, i64.const(1)))
    f.set(exponent, i64.sub(exponent.get, i64.const(1)))
  })
  // The quotient is now in [1, 2). Its floor in units of 2^-52, and the remainder that puts the estimate right.
  const estimate = f64.div(f64.convertI64S(dividend.get), f64.convertI64S(divisor.get))
  const quotient = f.keep(truncSat.i64FromF64S(f64.mul(estimate, f64.const(2 ** 52))))
  const remainder = f.keep(i64.sub(i64.shl(dividend.get, i64.const(52)), i64.mul(quotient.get, divisor.get)))
  f.if(i64.ltS(remainder.get, i64.const(0)), () => {
    f.set(quotient, i64.sub(quotient.get, i64.const(1)))
    f.set(remainder, i64.add(remainder.get, divisor.get))
  })
  // One more digit, and whether anything is left.
  f.set(remainder, i64.shl(remainder.get, i64.const(1)))
  const digit = f.keep(i64.extendU(i64.geU(remainder.get, divisor.get)))
  f.set(remainder, i64.sub(remainder.get, i64.mul(digit.get, divisor.get)))
  const significand = fromEstimate(quotient.get, digit.get, sticky(remainder.get))
  const rounded = { sign: sign.get, exponent: exponent.get, significand }
  returnRounded(f, round, rounded, f.paramLocals[2].get)
  return index
}

/** (a: raw i64, rounding: i32) → raw. */
export function defineSquareRoot(module: ModuleBuilder, of: Format, name: string, round: number): number {
  const { index, body: f } = module.function(['i64', 'i32'], ['i64'], name)
  const [a] = plainOperands(f, of, f.paramLocals[0])
  f.if(isNan(of, a.get), () => returnNan(f, of, of, a.get))
  f.if(isZero(of, a.get), () => f.return(box(of, a.get)))
  f.if(i64.ne(signOf(of, a.get), i64.const(0)), () => returnInvalid(f, of))
  f.if(isInfinite(of, a.get), () => f.return(box(of, a.get)))

  const x = unpack(f, of, a.get)
  // With an even exponent the radicand is in [1, 4) and its root in [1, 2).
  const isOdd = i64.and(x.exponent.get, i64.const(1))
  const radicand = f.keep(i64.shl(i64.shrU(x.significand.get, BELOW_INTEGER), isOdd))
  // The floor of the root in units of 2^-52, and the remainder that puts the estimate right.
  const estimate = f64.sqrt(f64.convertI64S(radicand.get))
  const root = f.keep(truncSat.i64FromF64S(f64.mul(estimate, f64.const(2 ** 26))))
  const remainder = f.keep(i64.sub(i64.shl(radicand.get, i64.const(52)), i64.mul(root.get, root.get)))
  f.if(i64.ltS(remainder.get, i64.const(0)), () => {
    f.set(root, i64.sub(root.get, i64.const(1)))
    f.set(remainder, i64.add(remainder.get, i64.add(i64.shl(root.get, i64.const(1)), i64.const(1))))
  })
  // (root + 1/2)^2 is root^2 + root + 1/4, which no remainder meets exactly.
  const digit = i64.extendU(i64.gtS(remainder.get, root.get))
  const significand = fromEstimate(root.get, digit, sticky(remainder.get))
  const exponent = i64.shrS(x.exponent.get, i64.const(1))
  returnRounded(f, round, { sign: x.sign.get, exponent, significand }, f.paramLocals[1].get)
  return index
}
