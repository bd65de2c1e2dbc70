import { v128 } from '../../../wasm/expr.ts'
import { ModuleBuilder } from '../../../wasm/module.ts'

type MultiplyAdd = (a: number, b: number, c: number) => number

interface FusedCases {
  /** A product too long for the format, and what is left when its rounded value is subtracted: zero unless fused. */
  readonly cancellations: readonly (readonly [a: number, b: number, fused: number])[]
  /** Products that round up to what makes the sum a tie: with a longer product in between, too. */
  readonly ties: readonly (readonly [a: number, b: number, c: number, fused: number])[]
  readonly round: (exact: number) => number
}

const CASES: Readonly<Record<'f32' | 'f64', FusedCases>> = {
  f64: {
    cancellations: [
      [1 + 2 ** -52, 1 + 2 ** -52, 2 ** -104],
      [1 + 2 ** -27, 1 - 2 ** -27, -(2 ** -54)],
      [1 + 2 ** -28, 1 + 2 ** -29, 2 ** -57],
      [2 ** 500 * (1 + 2 ** -52), 2 ** -500 * (1 + 2 ** -52), 2 ** -104],
      [-(1 + 2 ** -30), 1 + 2 ** -30, -(2 ** -60)],
    ],
    ties: [
      [1 + 2 ** -27, 1 - 2 ** -27, 2 ** 53 + 2, 2 ** 53 + 2],
      [1 + 2 ** -52, 1 - 2 ** -52, 2 ** 53 + 2, 2 ** 53 + 2],
    ],
    round: (exact) => exact,
  },
  f32: {
    cancellations: [
      [1 + 2 ** -23, 1 + 2 ** -23, 2 ** -46],
      [1 + 2 ** -13, 1 - 2 ** -13, -(2 ** -26)],
      [1 + 2 ** -12, 1 + 2 ** -13, 2 ** -25],
      [2 ** 60 * (1 + 2 ** -23), 2 ** -60 * (1 + 2 ** -23), 2 ** -46],
      [-(1 + 2 ** -13), 1 + 2 ** -13, -(2 ** -26)],
    ],
    ties: [
      [1 + 2 ** -13, 1 - 2 ** -13, 2 ** 24 + 2, 2 ** 24 + 2],
      // The sum as a double is a tie, and was none before.
      [2 ** -12 * (1 + 2 ** -20), 2 ** -12 * (1 - 2 ** -20), 1 + 2 ** -23, 1 + 2 ** -23],
    ],
    round: Math.fround,
  },
}

/** Whether a multiply-add of a format rounds once, judged by cases in which each way of rounding twice shows. */
export function roundsOnce(multiplyAdd: MultiplyAdd, format: 'f32' | 'f64'): boolean {
  const { cancellations, ties, round } = CASES[format]
  return (
    cancellations.every(([a, b, fused]) => multiplyAdd(a, b, -round(a * b)) === fused) &&
    ties.every(([a, b, c, fused]) => multiplyAdd(a, b, c) === fused)
  )
}

/**
 * Whether `relaxed_madd` rounds once on this host, for both formats. The instructions are allowed to round twice (Relaxed
 * SIMD, "Relaxed multiply-add"), and do so where the processor has no fused instruction. Ask once, at start-up.
 */
export function hostFmaIsFused(): boolean {
  const module = new ModuleBuilder()
  const single = module.function(['f32', 'f32', 'f32'], ['f32'], 'f32').body
  const [a, b, c] = single.paramLocals.map((p) => v128.splatF32(p.get))
  single.return(v128.lane0F32(v128.relaxedMaddF32(a, b, c)))
  const double = module.function(['f64', 'f64', 'f64'], ['f64'], 'f64').body
  const [x, y, z] = double.paramLocals.map((p) => v128.splatF64(p.get))
  double.return(v128.lane0F64(v128.relaxedMaddF64(x, y, z)))
  const bytes = module.finish()
  if (!WebAssembly.validate(bytes)) return false
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes))
  return (['f32', 'f64'] as const).every((format) => roundsOnce(exports[format] as MultiplyAdd, format))
}
