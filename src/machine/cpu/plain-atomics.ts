/** Atomic instructions on RAM whose memory address is known (The RISC-V Instruction Set Manual, Volume I, "A"): one hart, so plain accesses are atomic. */
import { type Expr, i64 } from '../../wasm/expr.ts'
import type { FunctionBuilder, Local } from '../../wasm/function.ts'
import { readField, writeField } from './access.ts'

type Width = 32 | 64

function loaded(f: FunctionBuilder, width: Width, at: Local): Expr {
  return f.keep(width === 32 ? i64.load32S(at.get) : i64.load(at.get)).get
}

/** AMO: stores what `change` makes of the old value, and gives that, sign-extended. */
export function modify(f: FunctionBuilder, width: Width, at: Local, change: (old: Expr) => Expr): Expr {
  const old = loaded(f, width, at)
  f.store(width === 32 ? 'i64_32' : 'i64', at.get, change(old))
  return old
}

/** LR: `physical` is what is reserved. */
export function loadAndReserve(f: FunctionBuilder, width: Width, at: Local, physical: Expr): Expr {
  writeField(f, 'reservation', physical)
  return loaded(f, width, at)
}

/** SC: stores only where `physical` is reserved, ends the reservation, and gives 0 when it stored, else 1. */
export function storeIfReserved(
  f: FunctionBuilder,
  width: Width,
  at: Local,
  physical: Expr,
  stored: Expr,
): Expr {
  const failed = f.keep(i64.extendU(i64.ne(readField('reservation'), physical)))
  f.if(i64.eqz(failed.get), () => f.store(width === 32 ? 'i64_32' : 'i64', at.get, stored))
  writeField(f, 'reservation', i64.const(-1))
  return failed.get
}
