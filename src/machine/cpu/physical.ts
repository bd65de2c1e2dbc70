/** Physical addresses, and where RAM lies in the machine's memory. */
import { type Expr, i32, i64 } from '../../wasm/expr.ts'
import type { CoreFunctions } from './core-functions.ts'
import { RAM_START } from './layout.ts'

/** i32: whether a physical address lies in RAM. */
export function inRam(core: CoreFunctions, physical: Expr): Expr {
  return i64.ltU(i64.sub(physical, i64.const(RAM_START)), i64.const(core.layout.memoryBytes))
}

/** The memory address of a physical address in RAM. */
export function ramAddress(core: CoreFunctions, physical: Expr): Expr {
  return i32.add(i32.wrap(physical), i32.const((core.layout.ram - RAM_START) | 0))
}

/** Index of the RAM page at a memory address. */
export function pageIndex(core: CoreFunctions, address: Expr): Expr {
  return i32.shrU(i32.sub(address, i32.const(core.layout.ram)), i32.const(12))
}
