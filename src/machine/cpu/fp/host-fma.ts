import { v128 } from '../../../wasm/expr.ts'
import { ModuleBuilder } from '../../../wasm/module.ts'

/** A product that needs 106 bits, and what is left when its rounded value is subtracted: zero unless fused. */
const CANCELLATIONS: readonly (readonly [a: number, b: number, fused: number])[] = [
  [1 + 2 ** -52, 1 + 2 ** -52, 2 ** -104],
  [1 + 2 ** -27, 1 - 2 ** -27, -(2 ** -54)],
  [1 + 2 ** -28, 1 + 2 ** -29, 2 ** -57],
  [2 ** 500 * (1 + 2 ** -52), 2 ** -500 * (1 + 2 ** -52), 2 ** -104],
  [-(1 + 2 ** -30), 1 + 2 ** -30, -(2 ** -60)],
]

/** Products just below 1 that round to 1, added to what 1 would make a tie. */
const TIES: readonly (readonly [a: number, b: number, c: number, fused: number])[] = [
  [1 + 2 ** -27, 1 - 2 ** -27, 2 ** 53 + 2, 2 ** 53 + 2],
  [1 + 2 ** -52, 1 - 2 ** -52, 2 ** 53 + 2, 2 ** 53 + 2],
]

type MultiplyAdd = (a: number, b: number, c: number) => number

/** Whether a multiply-add rounds once, judged by cases in which each way of rounding twice shows. */
export function roundsOnce(multiplyAdd: MultiplyAdd): boolean {
  return (
    CANCELLATIONS.every(([a, b, fused]) => multiplyAdd(a, b, -(a * b)) === fused) &&
    TIES.every(([a, b, c, fused]) => multiplyAdd(a, b, c) === fused)
  )
}

/**
 * Whether `f64x2.relaxed_madd` rounds once on this host. The instruction is allowed to round twice (Relaxed SIMD,
 * "Relaxed multiply-add"), and does so where the processor has no fused instruction. Ask once, at start-up.
 */
export function hostFmaIsFused(): boolean {
  const module = new ModuleBuilder()
  const { body } = module.function(['f64', 'f64', 'f64'], ['f64'], 'multiplyAdd')
  const [a, b, c] = body.paramLocals.map((p) => v128.splatF64(p.get))
  body.return(v128.lane0F64(v128.relaxedMaddF64(a, b, c)))
  const bytes = module.finish()
  if (!WebAssembly.validate(bytes)) return false
  const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes))
  return roundsOnce(instance.exports.multiplyAdd as MultiplyAdd)
}
