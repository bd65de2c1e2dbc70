import { type Expr, f32, f64, i32, i64, type ValueType } from '../../wasm/expr.ts'
import type { StoreKind } from '../../wasm/function.ts'
import type { LoadKind, StoreWidth } from './semantics.ts'

interface LoadForm {
  readonly bytes: number
  /** Type of what the guest's load gives. */
  readonly type: ValueType
  readonly load: (at: Expr, offset?: number) => Expr
  /** What the load gives, of the zero-extended bits. */
  readonly extend: (bits: Expr) => Expr
}

const same = (value: Expr): Expr => value

/** How each kind of guest load is done on plain memory. */
export const LOADS: Readonly<Record<LoadKind, LoadForm>> = {
  i8: { bytes: 1, type: 'i64', load: i64.load8S, extend: i64.extend8S },
  u8: { bytes: 1, type: 'i64', load: i64.load8U, extend: same },
  i16: { bytes: 2, type: 'i64', load: i64.load16S, extend: i64.extend16S },
  u16: { bytes: 2, type: 'i64', load: i64.load16U, extend: same },
  i32: { bytes: 4, type: 'i64', load: i64.load32S, extend: i64.extend32S },
  u32: { bytes: 4, type: 'i64', load: i64.load32U, extend: same },
  i64: { bytes: 8, type: 'i64', load: i64.load, extend: same },
  f32: { bytes: 4, type: 'f32', load: f32.load, extend: (bits) => f32.reinterpret(i32.wrap(bits)) },
  f64: { bytes: 8, type: 'f64', load: f64.load, extend: f64.reinterpret },
}

interface StoreForm {
  readonly bytes: number
  readonly kind: StoreKind
  /** The bits of the value to store, i64. */
  readonly toBits: (value: Expr) => Expr
}

export const STORES: Readonly<Record<StoreWidth, StoreForm>> = {
  8: { bytes: 1, kind: 'i64_8', toBits: same },
  16: { bytes: 2, kind: 'i64_16', toBits: same },
  32: { bytes: 4, kind: 'i64_32', toBits: same },
  64: { bytes: 8, kind: 'i64', toBits: same },
  f32: { bytes: 4, kind: 'f32', toBits: (value) => i64.extendU(i32.reinterpret(value)) },
  f64: { bytes: 8, kind: 'f64', toBits: i64.reinterpret },
}
