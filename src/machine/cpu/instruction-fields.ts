/** Fields of an instruction word that is known only at run time (The RISC-V Instruction Set Manual, Volume I, 2.2 and 2.3). */
import { type Expr, i32 } from '../../wasm/expr.ts'
import { ZERO } from './access.ts'
import { PAGE_BYTES } from './layout.ts'
import type { ImmediateFormat } from './semantics.ts'

/** Places of the register numbers, less the three bits that make a number a byte offset. */
const REGISTER_SHIFTS = { rd: 4, rs1: 12, rs2: 17, rs3: 24 } as const

/** i32: byte offset of the register that a field names, from the first register of its kind. */
export function registerField(word: Expr, name: keyof typeof REGISTER_SHIFTS): Expr {
  return i32.and(i32.shrU(word, i32.const(REGISTER_SHIFTS[name])), i32.const(0xf8))
}

/** i32: the sign-extended immediate; 0 for a format that has none. */
export function immediateField(word: Expr, format: ImmediateFormat): Expr {
  const part = (shift: number, mask: number): Expr =>
    i32.and(i32.shrU(word, i32.const(shift)), i32.const(mask))
  switch (format) {
    case 'none':
      return ZERO
    case 'I':
      return i32.shrS(word, i32.const(20))
    case 'S':
      return i32.or(i32.shl(i32.shrS(word, i32.const(25)), i32.const(5)), part(7, 31))
    case 'B':
      return i32.or(
        i32.or(
          i32.shl(i32.shrS(word, i32.const(31)), i32.const(12)),
          i32.and(i32.shl(word, i32.const(4)), i32.const(0x800)),
        ),
        i32.or(part(20, 0x7e0), part(7, 0x1e)),
      )
    case 'U':
      return i32.and(word, i32.const(-PAGE_BYTES))
    case 'J':
      return i32.or(
        i32.or(i32.shl(i32.shrS(word, i32.const(31)), i32.const(20)), i32.and(word, i32.const(0xff000))),
        i32.or(part(9, 0x800), part(20, 0x7fe)),
      )
    case 'shamt6':
      return part(20, 63)
    case 'shamt5':
      return part(20, 31)
    case 'zimm':
      return part(15, 31)
  }
}
