/**
 * The form in which the library computes: sign, exponent, and a 64-bit significand whose leading one is bit 63.
 * The value is significand × 2^(exponent − 63). A zero has a significand of 0, and an exponent that means nothing.
 *
 * 64 bits leave 11 below a double's last place and 40 below a single's: room for the rounding bit and for the
 * sticky bit, which stands for everything lower. So both formats, and all operations, share one rounding step.
 */
import { type Expr, i64 } from '../../../wasm/expr.ts'
import type { FunctionBuilder, Local } from '../../../wasm/function.ts'
import { type Format, signOf } from './format.ts'

export interface Unpacked {
  /** Bit 63 is the sign; the rest is zero. */
  readonly sign: Local
  readonly exponent: Local
  readonly significand: Local
}

export const LEADING_ONE = i64.const(1n << 63n)

/** Unpacks a finite value from its plain encoding. `bits` is evaluated several times. */
export function unpack(f: FunctionBuilder, of: Format, bits: Expr): Unpacked {
  const sign = f.keep(signOf(of, bits))
  const exponent = f.keep(i64.and(i64.shrU(bits, i64.const(of.fractionBits)), i64.const(of.exponentOnes)))
  const significand = f.keep(i64.shl(bits, i64.const(63 - of.fractionBits)))
  f.if(
    i64.eqz(exponent.get),
    () => {
      // The lowest exponent bit lands on bit 63, and is zero here: what is left is the fraction.
      const zeros = f.keep(i64.clz(significand.get))
      f.set(significand, i64.shl(significand.get, zeros.get))
      f.set(exponent, i64.sub(i64.const(1 - of.bias), zeros.get))
    },
    () => {
      f.set(significand, i64.or(significand.get, LEADING_ONE))
      f.set(exponent, i64.sub(exponent.get, i64.const(of.bias)))
    },
  )
  return { sign, exponent, significand }
}

/** 1 in bit 0 if any bit of `e` is set. */
export function sticky(e: Expr): Expr {
  return i64.extendU(i64.ne(e, i64.const(0)))
}

/** Shifts right by `distance` (unsigned, any size); bits lost leave a one in bit 0. */
export function shiftRightSticky(f: FunctionBuilder, value: Local, distance: Expr): void {
  f.if(
    i64.gtU(distance, i64.const(63)),
    () => f.set(value, sticky(value.get)),
    () => {
      const lost = i64.and(value.get, i64.sub(i64.shl(i64.const(1), distance), i64.const(1)))
      f.set(value, i64.or(i64.shrU(value.get, distance), sticky(lost)))
    },
  )
}

/** The 128-bit product of two unsigned 64-bit values, by halves. */
export function multiplyWide(f: FunctionBuilder, a: Expr, b: Expr): { high: Local; low: Local } {
  const bits32 = i64.const(32)
  const lowHalf = (e: Expr) => i64.and(e, i64.const(0xffff_ffff))
  const highHalf = (e: Expr) => i64.shrU(e, bits32)
  const a0 = f.keep(lowHalf(a))
  const a1 = f.keep(highHalf(a))
  const b0 = f.keep(lowHalf(b))
  const b1 = f.keep(highHalf(b))
  const lowest = f.keep(i64.mul(a0.get, b0.get))
  // Neither sum overflows: (2^32 − 1)^2 + 2 (2^32 − 1) = 2^64 − 1.
  const middle = f.keep(i64.add(i64.mul(a1.get, b0.get), highHalf(lowest.get)))
  const middle2 = f.keep(i64.add(i64.mul(a0.get, b1.get), lowHalf(middle.get)))
  const high = f.keep(i64.add(i64.add(i64.mul(a1.get, b1.get), highHalf(middle.get)), highHalf(middle2.get)))
  const low = f.keep(i64.or(i64.shl(middle2.get, bits32), lowHalf(lowest.get)))
  return { high, low }
}
