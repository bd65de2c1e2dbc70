import { type Expr, i32, i64, select } from '../../../wasm/expr.ts'
import type { FunctionBuilder } from '../../../wasm/function.ts'
import type { ModuleBuilder } from '../../../wasm/module.ts'
import { box, type Format, NX, OF, RNE, RUP, raise, UF } from './format.ts'
import { shiftRightSticky } from './unpack.ts'

/** What a rounding function is called with: see `unpack.ts`. */
export interface Unrounded {
  readonly sign: Expr
  readonly exponent: Expr
  /** Any value but zero, leading one anywhere; bit 0 also stands for all lower bits. */
  readonly significand: Expr
}

/**
 * What is added below the last place so that a carry into it rounds as the mode says: half a place to nearest,
 * all but one step away from zero, nothing towards it. Ties to even need a correction afterwards.
 */
export function roundingIncrement(rounding: Expr, sign: Expr, half: Expr, mask: Expr): Expr {
  // RNE is 0 and RMM 4; RDN is 2 and RUP 3, so RUP minus the sign is the mode that leads away from zero.
  const toNearest = i32.eqz(i32.and(rounding, i32.const(3)))
  const awayFromZero = i32.eq(rounding, i32.sub(i32.const(RUP), i32.wrap(i64.shrU(sign, i64.const(63)))))
  return select(toNearest, half, select(awayFromZero, mask, i64.const(0)))
}

/**
 * Defines the function that rounds to a format, raises overflow, underflow and inexact, and gives the raw register:
 * (sign, exponent, significand: i64, rounding: i32) → i64.
 *
 * Tininess is detected after rounding (Volume I, 20.4; IEEE 754-2019, 7.5): a result is tiny if, rounded as if
 * the exponent had no lower bound, it would lie below the least normal number.
 */
export function defineRound(module: ModuleBuilder, of: Format): number {
  const { index, body: f } = module.function(['i64', 'i64', 'i64', 'i32'], ['i64'])
  const [sign, exponent, significand, rounding] = f.paramLocals
  const dropped = 64 - of.precision
  const half = i64.const(1n << BigInt(dropped - 1))
  const mask = i64.const((1n << BigInt(dropped)) - 1n)
  const exponentLeast = 1 - of.bias

  const zeros = f.keep(i64.clz(significand.get))
  f.set(significand, i64.shl(significand.get, zeros.get))
  f.set(exponent, i64.sub(exponent.get, zeros.get))
  const increment = f.keep(roundingIncrement(rounding.get, sign.get, half, mask))

  const tiny = f.local('i64')
  f.if(
    i64.ltS(exponent.get, i64.const(exponentLeast)),
    () => {
      const belowByMore = i64.ltS(exponent.get, i64.const(exponentLeast - 1))
      const noCarry = i64.geU(i64.add(significand.get, increment.get), significand.get)
      f.set(tiny, i64.extendU(i32.or(belowByMore, noCarry)))
      shiftRightSticky(f, significand, i64.sub(i64.const(exponentLeast), exponent.get))
      f.set(exponent, i64.const(exponentLeast))
    },
    undefined,
    'unlikely',
  )

  const remainder = f.keep(i64.and(significand.get, mask))
  const places = i64.const(dropped)
  const rounded = f.keep(
    i64.add(i64.shrU(significand.get, places), i64.shrU(i64.add(remainder.get, increment.get), places)),
  )
  const tieToEven = i32.and(i32.eq(rounding.get, i32.const(RNE)), i64.eq(remainder.get, half))
  f.set(rounded, i64.and(rounded.get, i64.xor(i64.extendU(tieToEven), i64.const(-1))))

  // The hidden one, added to the field below it, makes the exponent field right; so does a carry out of rounding.
  const fieldBelow = i64.add(exponent.get, i64.const(of.bias - 1))
  const encoded = f.keep(i64.add(i64.shl(fieldBelow, i64.const(of.fractionBits)), rounded.get))
  f.if(
    i32.or(i64.gtS(exponent.get, i64.const(of.bias)), i64.geU(encoded.get, i64.const(of.infinity))),
    () => {
      raise(f, OF | NX)
      // A mode that rounds this sign away from zero or to nearest gives infinity, else the largest finite number.
      f.set(encoded, i64.sub(i64.const(of.infinity), i64.extendU(i64.eqz(increment.get))))
    },
    () => {
      f.if(i64.ne(remainder.get, i64.const(0)), () =>
        raise(f, i64.or(i64.const(NX), i64.mul(tiny.get, i64.const(UF)))),
      )
    },
    'unlikely',
  )
  f.return(box(of, i64.or(i64.shrU(sign.get, i64.const(63 - of.signBit)), encoded.get)))
  return index
}

/** Ends a function by rounding its result. */
export function returnRounded(f: FunctionBuilder, round: number, result: Unrounded, rounding: Expr): void {
  f.returnCall(round, result.sign, result.exponent, result.significand, rounding)
}
