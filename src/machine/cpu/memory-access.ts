import { type Expr, i64 } from '../../wasm/expr.ts'
import type { StoreKind } from '../../wasm/function.ts'
import type { LoadKind, StoreWidth } from './semantics.ts'

/** How each kind of guest load is done on plain memory, and how a zero-extended value becomes what it returns. */
export const LOADS: Readonly<
  Record<
    LoadKind,
    { bytes: number; load: (at: Expr, offset?: number) => Expr; extend: (value: Expr) => Expr }
  >
> = {
  i8: { bytes: 1, load: i64.load8S, extend: i64.extend8S },
  u8: { bytes: 1, load: i64.load8U, extend: (v) => v },
  i16: { bytes: 2, load: i64.load16S, extend: i64.extend16S },
  u16: { bytes: 2, load: i64.load16U, extend: (v) => v },
  i32: { bytes: 4, load: i64.load32S, extend: i64.extend32S },
  u32: { bytes: 4, load: i64.load32U, extend: (v) => v },
  i64: { bytes: 8, load: i64.load, extend: (v) => v },
}

export const STORES: Readonly<Record<StoreWidth, { bytes: number; kind: StoreKind }>> = {
  8: { bytes: 1, kind: 'i64_8' },
  16: { bytes: 2, kind: 'i64_16' },
  32: { bytes: 4, kind: 'i64_32' },
  64: { bytes: 8, kind: 'i64' },
}
