/** Conversions between the two formats and to and from integers (The RISC-V Instruction Set Manual, Volume I, 20.7 and 21.5). */
import { i32, i64, select } from '../../../wasm/expr.ts'
import type { ModuleBuilder } from '../../../wasm/module.ts'
import {
  box,
  boxedConstant,
  type Format,
  isFiniteNumber,
  isInfinite,
  isNan,
  isZero,
  NV,
  NX,
  RNE,
  raise,
  returnNan,
  signOf,
  unbox,
} from './format.ts'
import { returnRounded, roundingIncrement } from './round.ts'
import { unpack } from './unpack.ts'

/** Between the formats: (a: raw i64, rounding: i32) → raw. `round` is the target's. */
export function defineConvert(
  module: ModuleBuilder,
  from: Format,
  to: Format,
  name: string,
  round: number,
): number {
  const { index, body: f } = module.function(['i64', 'i32'], ['i64'], name)
  const a = f.keep(unbox(from, f.paramLocals[0].get))
  const signBit = () => i64.shrU(signOf(from, a.get), i64.const(63 - to.signBit))
  f.if(i32.eqz(isFiniteNumber(from, a.get)), () => {
    f.if(isNan(from, a.get), () => returnNan(f, from, to, a.get))
    f.return(box(to, i64.or(signBit(), i64.const(to.infinity))))
  })
  f.if(isZero(from, a.get), () => f.return(box(to, signBit())))
  const x = unpack(f, from, a.get)
  const unrounded = { sign: x.sign.get, exponent: x.exponent.get, significand: x.significand.get }
  returnRounded(f, round, unrounded, f.paramLocals[1].get)
  return index
}

/** From a 64-bit integer: (value: i64, rounding: i32) → raw. Narrower integers are extended by the caller. */
export function defineFromInteger(
  module: ModuleBuilder,
  to: Format,
  signed: boolean,
  name: string,
  round: number,
): number {
  const { index, body: f } = module.function(['i64', 'i32'], ['i64'], name)
  const [value, rounding] = f.paramLocals
  f.if(i64.eqz(value.get), () => f.return(boxedConstant(to, 0n)))
  const sign = signed ? i64.and(value.get, i64.const(1n << 63n)) : i64.const(0)
  const isNegative = i64.ltS(value.get, i64.const(0))
  const size = signed ? select(isNegative, i64.sub(i64.const(0), value.get), value.get) : value.get
  returnRounded(f, round, { sign, exponent: i64.const(63), significand: size }, rounding.get)
  return index
}

/**
 * To an integer: (a: raw i64, rounding: i32, greatest: i64, least: i64) → i64. The range of the target is
 * 0 − `least` … `greatest`, both given as unsigned 64-bit values. NaN counts as positive and out of range; a
 * value out of range gives the nearer bound and raises invalid, and nothing else (Volume I, 20.7).
 */
export function defineToInteger(module: ModuleBuilder, from: Format, name: string): number {
  const { index, body: f } = module.function(['i64', 'i32', 'i64', 'i64'], ['i64'], name)
  const [raw, rounding, greatest, least] = f.paramLocals
  const a = f.keep(unbox(from, raw.get))
  f.if(isZero(from, a.get), () => f.return(i64.const(0)))
  f.if(isNan(from, a.get), () => {
    raise(f, NV)
    f.return(greatest.get)
  })
  const sign = f.keep(signOf(from, a.get))
  const isNegative = i64.ltS(sign.get, i64.const(0))
  const bound = f.keep(select(isNegative, least.get, greatest.get))
  const negate = (e: typeof isNegative) => select(isNegative, i64.sub(i64.const(0), e), e)

  const whole = f.keep(i64.const(0))
  /** What is below the units, its first bit on bit 63; bit 0 also stands for all lower bits. */
  const fraction = f.keep(i64.const(0))
  const outOfRange = f.keep(isInfinite(from, a.get))
  f.if(i32.eqz(outOfRange.get), () => {
    const x = unpack(f, from, a.get)
    f.if(
      i64.ltS(x.exponent.get, i64.const(0)),
      () => {
        const isHalfOrMore = i64.eq(x.exponent.get, i64.const(-1))
        f.set(fraction, select(isHalfOrMore, x.significand.get, i64.const(1)))
      },
      () => {
        f.set(outOfRange, i64.gtU(x.exponent.get, i64.const(63)))
        f.set(whole, i64.shrU(x.significand.get, i64.sub(i64.const(63), x.exponent.get)))
        f.set(fraction, i64.shl(i64.shl(x.significand.get, x.exponent.get), i64.const(1)))
      },
    )
  })
  const half = i64.const(1n << 63n)
  const increment = roundingIncrement(rounding.get, sign.get, half, i64.const(-1))
  // A carry out of fraction + increment. With bits below the units, `whole` is far from its own overflow.
  const carry = i64.ltU(i64.add(fraction.get, increment), fraction.get)
  f.set(whole, i64.add(whole.get, i64.extendU(carry)))
  const tieToEven = i32.and(i32.eq(rounding.get, i32.const(RNE)), i64.eq(fraction.get, half))
  f.set(whole, i64.and(whole.get, i64.xor(i64.extendU(tieToEven), i64.const(-1))))

  f.if(i32.or(outOfRange.get, i64.gtU(whole.get, bound.get)), () => {
    raise(f, NV)
    f.return(negate(bound.get))
  })
  f.if(i64.ne(fraction.get, i64.const(0)), () => raise(f, NX))
  f.return(negate(whole.get))
  return index
}
