import { i32, i64, select } from '../../../wasm/expr.ts'
import type { ModuleBuilder } from '../../../wasm/module.ts'
import { zeroOfRounding } from './arithmetic.ts'
import { returnExactFma } from './exact.ts'
import {
  box,
  F64,
  type Format,
  isFiniteNumber,
  isInfinite,
  isNan,
  isSignalingNan,
  isZero,
  NV,
  raise,
  returnInvalid,
  returnNan,
  signOf,
  unbox,
} from './format.ts'
import { returnRounded } from './round.ts'
import { multiplyWide, shiftRightSticky, sticky, unpack } from './unpack.ts'

/**
 * Defines a × b + c with one rounding (IEEE 754-2019, 5.4.1): (a, b, c: raw i64, rounding: i32) → raw.
 *
 * The sum is formed in 128 bits. The product of two significands is exact there; whichever of product and addend
 * is the smaller is shifted right with a sticky bit. That loses bits only when the two are so far apart that a
 * subtraction cancels one leading bit at most, so the sticky bit stays below the rounding bit.
 */
export function defineFma(module: ModuleBuilder, of: Format, name: string, round: number): number {
  const { index, body: f } = module.function(['i64', 'i64', 'i64', 'i32'], ['i64'], name)
  const rounding = f.paramLocals[3].get
  if (of === F64) returnExactFma(f, f.paramLocals[0].get, f.paramLocals[1].get, f.paramLocals[2].get)
  const a = f.keep(unbox(of, f.paramLocals[0].get))
  const b = f.keep(unbox(of, f.paramLocals[1].get))
  const c = f.keep(unbox(of, f.paramLocals[2].get))
  const sign = f.keep(signOf(of, i64.xor(a.get, b.get)))
  const signsDiffer = () => i64.ne(sign.get, signOf(of, c.get))
  const factorIs = (is: typeof isNan) => i32.or(is(of, a.get), is(of, b.get))

  const allFinite = i32.and(
    i32.and(isFiniteNumber(of, a.get), isFiniteNumber(of, b.get)),
    isFiniteNumber(of, c.get),
  )
  f.if(i32.eqz(allFinite), () => {
    // Infinity times zero is invalid even when the addend is a quiet NaN (Volume I, 20.6).
    f.if(i32.and(factorIs(isInfinite), factorIs(isZero)), () => returnInvalid(f, of))
    f.if(factorIs(isNan), () => {
      f.if(isSignalingNan(of, c.get), () => raise(f, NV))
      returnNan(f, of, of, a.get, b.get)
    })
    f.if(isNan(of, c.get), () => returnNan(f, of, of, c.get))
    f.if(factorIs(isInfinite), () => {
      f.if(i32.and(isInfinite(of, c.get), signsDiffer()), () => returnInvalid(f, of))
      const signBit = i64.shrU(sign.get, i64.const(63 - of.signBit))
      f.return(box(of, i64.or(signBit, i64.const(of.infinity))))
    })
    f.return(box(of, c.get))
  })
  f.if(factorIs(isZero), () => {
    f.if(i32.and(isZero(of, c.get), signsDiffer()), () => f.return(zeroOfRounding(of, rounding)))
    f.return(box(of, c.get))
  })

  const x = unpack(f, of, a.get)
  const y = unpack(f, of, b.get)
  const z = unpack(f, of, c.get)
  // The leading one of the product is bit 126 or 125, that of the addend 126: one bit of room for the carry.
  const { high, low } = multiplyWide(f, i64.shrU(x.significand.get, i64.const(1)), y.significand.get)
  const exponent = f.keep(i64.add(i64.add(x.exponent.get, y.exponent.get), i64.const(2)))
  const addHigh = f.keep(i64.shrU(z.significand.get, i64.const(1)))
  const addLow = f.keep(i64.const(0))
  // The exponents of bit 127. A zero addend has none; it is put where nothing is shifted.
  const addExponent = f.keep(
    select(i64.eqz(addHigh.get), exponent.get, i64.add(z.exponent.get, i64.const(1))),
  )

  const shift128 = (upper: typeof high, lower: typeof low, distance: ReturnType<typeof i64.const>) => {
    f.if(
      i64.gtU(distance, i64.const(63)),
      () => {
        // The lower half goes without a trace: the addend's is zero, and a product so far down is all below
        // the rounding bit, where its upper half alone makes the sticky bit.
        f.set(lower, upper.get)
        f.set(upper, i64.const(0))
        shiftRightSticky(f, lower, i64.sub(distance, i64.const(64)))
      },
      () => {
        const carried = f.keep(i64.shl(i64.shl(upper.get, i64.sub(i64.const(63), distance)), i64.const(1)))
        shiftRightSticky(f, lower, distance)
        f.set(lower, i64.or(lower.get, carried.get))
        f.set(upper, i64.shrU(upper.get, distance))
      },
    )
  }
  const distance = f.keep(i64.sub(exponent.get, addExponent.get))
  f.if(
    i64.gtS(distance.get, i64.const(0)),
    () => shift128(addHigh, addLow, distance.get),
    () => {
      f.if(i64.ltS(distance.get, i64.const(0)), () => {
        f.set(distance, i64.sub(i64.const(0), distance.get))
        shift128(high, low, distance.get)
        f.set(exponent, addExponent.get)
      })
    },
  )

  f.if(
    signsDiffer(),
    () => {
      const borrow = f.keep(i64.extendU(i64.ltU(low.get, addLow.get)))
      f.set(low, i64.sub(low.get, addLow.get))
      f.set(high, i64.sub(i64.sub(high.get, addHigh.get), borrow.get))
      f.if(i64.eqz(i64.or(high.get, low.get)), () => f.return(zeroOfRounding(of, rounding)))
      // Bit 127 was free on both sides, so it is set only if the addend was the larger.
      f.if(i64.ltS(high.get, i64.const(0)), () => {
        f.set(sign, i64.xor(sign.get, i64.const(1n << 63n)))
        f.set(high, i64.add(i64.xor(high.get, i64.const(-1)), i64.extendU(i64.eqz(low.get))))
        f.set(low, i64.sub(i64.const(0), low.get))
      })
    },
    () => {
      f.set(low, i64.add(low.get, addLow.get))
      const carry = i64.extendU(i64.ltU(low.get, addLow.get))
      f.set(high, i64.add(i64.add(high.get, addHigh.get), carry))
    },
  )

  // Back to 64 bits, leading one on top.
  f.if(i64.eqz(high.get), () => {
    f.set(high, low.get)
    f.set(low, i64.const(0))
    f.set(exponent, i64.sub(exponent.get, i64.const(64)))
  })
  const zeros = f.keep(i64.clz(high.get))
  const fromLow = i64.shrU(i64.shrU(low.get, i64.const(1)), i64.sub(i64.const(63), zeros.get))
  const significand = i64.or(
    i64.or(i64.shl(high.get, zeros.get), fromLow),
    sticky(i64.shl(low.get, zeros.get)),
  )
  const rounded = { sign: sign.get, exponent: i64.sub(exponent.get, zeros.get), significand }
  returnRounded(f, round, rounded, rounding)
  return index
}
