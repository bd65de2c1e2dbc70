/**
 * Short ways through the library for doubles whose result is exact: the same bits in every rounding mode, and no flag.
 *
 * Programs that compute with whole numbers in doubles may never raise inexact, and then compiled code never trusts
 * the host (it would have to know whether the operation was exact). Here it is found out with a few host operations.
 * Results near or outside the ends of the normal range, zeros among them, take the long way.
 */
import { type Expr, f64, i32, i64 } from '../../../wasm/expr.ts'
import type { FunctionBuilder } from '../../../wasm/function.ts'
import { F64, isSafelyNormal } from './format.ts'

/** Ends the function with a + b (raw) if that is exact. Knuth's two-sum: the rounding error is itself a double. */
export function returnExactSum(f: FunctionBuilder, a: Expr, b: Expr): void {
  const x = f.keep(f64.reinterpret(a))
  const y = f.keep(f64.reinterpret(b))
  const sum = f.keep(f64.add(x.get, y.get))
  const fromY = f.keep(f64.sub(sum.get, x.get))
  const fromX = f64.sub(sum.get, fromY.get)
  const error = f64.add(f64.sub(x.get, fromX), f64.sub(y.get, fromY.get))
  const bits = f.keep(i64.reinterpret(sum.get))
  f.if(i32.and(isSafelyNormal(F64, bits.get), f64.eq(error, f64.const(0))), () => f.return(bits.get))
}

/** Whether the significands are so short that their product fits one, i32. */
function productFits(a: Expr, b: Expr): Expr {
  const hiddenOne = i64.const(1n << BigInt(F64.fractionBits))
  const zeros = i64.add(i64.ctz(i64.or(a, hiddenOne)), i64.ctz(i64.or(b, hiddenOne)))
  return i64.geU(zeros, i64.const(F64.precision))
}

/** Ends the function with a × b (raw) if that is known to be exact. */
export function returnExactProduct(f: FunctionBuilder, a: Expr, b: Expr): void {
  f.if(productFits(a, b), () => {
    const bits = f.keep(i64.reinterpret(f64.mul(f64.reinterpret(a), f64.reinterpret(b))))
    f.if(isSafelyNormal(F64, bits.get), () => f.return(bits.get))
  })
}

/** Ends the function with a × b + c (raw) if product and sum are known to be exact. */
export function returnExactFma(f: FunctionBuilder, a: Expr, b: Expr, c: Expr): void {
  f.if(productFits(a, b), () => {
    const product = f.keep(i64.reinterpret(f64.mul(f64.reinterpret(a), f64.reinterpret(b))))
    f.if(isSafelyNormal(F64, product.get), () => returnExactSum(f, product.get, c))
  })
}
