/** The flags of comparisons, minimum and maximum, classification (The RISC-V Instruction Set Manual, Volume I, 20.6, 20.8, 20.9). */
import { type Expr, i32, i64, select } from '../../../wasm/expr.ts'
import type { ModuleBuilder } from '../../../wasm/module.ts'
import {
  box,
  boxedConstant,
  type Format,
  isInfinite,
  isNan,
  isSignalingNan,
  isZero,
  magnitude,
  NV,
  raise,
  signOf,
  unbox,
} from './format.ts'

/** What FEQ raises: invalid, if an operand is signaling. (a, b: raw i64) → nothing. */
export function defineRaiseIfSignaling(module: ModuleBuilder, of: Format, name: string): number {
  const { index, body: f } = module.function(['i64', 'i64'], [], name)
  const a = f.keep(unbox(of, f.paramLocals[0].get))
  const b = f.keep(unbox(of, f.paramLocals[1].get))
  f.if(i32.or(isSignalingNan(of, a.get), isSignalingNan(of, b.get)), () => raise(f, NV))
  return index
}

/**
 * IEEE 754-2019's minimumNumber or maximumNumber (9.6): a number wins over a NaN, −0 is less than +0.
 * (a, b: raw i64) → raw.
 */
export function defineExtremum(
  module: ModuleBuilder,
  of: Format,
  which: 'min' | 'max',
  name: string,
): number {
  const { index, body: f } = module.function(['i64', 'i64'], ['i64'], name)
  const a = f.keep(unbox(of, f.paramLocals[0].get))
  const b = f.keep(unbox(of, f.paramLocals[1].get))
  f.if(i32.or(isNan(of, a.get), isNan(of, b.get)), () => {
    f.if(i32.or(isSignalingNan(of, a.get), isSignalingNan(of, b.get)), () => raise(f, NV))
    f.if(i32.eqz(isNan(of, a.get)), () => f.return(box(of, a.get)))
    f.if(i32.eqz(isNan(of, b.get)), () => f.return(box(of, b.get)))
    f.return(boxedConstant(of, of.canonicalNaN))
  })
  // Ordered as integers: the encoding itself for positive values, its complement below the sign for negative ones.
  const ordered = (bits: Expr) => {
    const wide = of.signBit === 63 ? bits : i64.shl(bits, i64.const(63 - of.signBit))
    const magnitudeIfNegative = i64.shrU(i64.shrS(wide, i64.const(63)), i64.const(1))
    return i64.xor(wide, magnitudeIfNegative)
  }
  const aIsLess = i64.ltS(ordered(a.get), ordered(b.get))
  const [ifLess, otherwise] = which === 'min' ? [a, b] : [b, a]
  f.return(box(of, select(aIsLess, ifLess.get, otherwise.get)))
  return index
}

/** The bits of FCLASS's result, by the order of the values they stand for. */
const CLASS = {
  negativeInfinity: 0,
  negativeNormal: 1,
  negativeSubnormal: 2,
  negativeZero: 3,
  positiveZero: 4,
  positiveSubnormal: 5,
  positiveNormal: 6,
  positiveInfinity: 7,
  signalingNaN: 8,
  quietNaN: 9,
} as const

/** (a: raw i64) → the ten-bit mask, i64. */
export function defineClassify(module: ModuleBuilder, of: Format, name: string): number {
  const { index, body: f } = module.function(['i64'], ['i64'], name)
  const a = f.keep(unbox(of, f.paramLocals[0].get))
  const isNegative = i64.ne(signOf(of, a.get), i64.const(0))
  const one = (which: number) => i64.const(1 << which)
  const bySign = (negative: number, positive: number) => select(isNegative, one(negative), one(positive))
  f.if(isNan(of, a.get), () =>
    f.return(select(isSignalingNan(of, a.get), one(CLASS.signalingNaN), one(CLASS.quietNaN))),
  )
  f.if(isInfinite(of, a.get), () => f.return(bySign(CLASS.negativeInfinity, CLASS.positiveInfinity)))
  f.if(isZero(of, a.get), () => f.return(bySign(CLASS.negativeZero, CLASS.positiveZero)))
  const leastNormal = i64.const(1n << BigInt(of.fractionBits))
  f.if(i64.ltU(magnitude(of, a.get), leastNormal), () =>
    f.return(bySign(CLASS.negativeSubnormal, CLASS.positiveSubnormal)),
  )
  f.return(bySign(CLASS.negativeNormal, CLASS.positiveNormal))
  return index
}
