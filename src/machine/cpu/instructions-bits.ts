/**
 * Bit manipulation: Zba, Zbb and Zbs (The RISC-V Instruction Set Manual, Volume I, chapter 28).
 */
import { type Expr, i32, i64, select } from '../../wasm/expr.ts'
import { registerOp, shiftOp, word } from './instructions-integer.ts'
import type { Instruction, Operands } from './semantics.ts'

const one = i64.const(1)
const not = (a: Expr): Expr => i64.xor(a, i64.const(-1))
const low32 = (a: Expr): Expr => i64.and(a, i64.const(0xffffffff))

/** One source, one result; all of funct7, rs2 and funct3 select it. */
function unaryOp(name: string, match: number, op: (a: Expr, s: Operands) => Expr): Instruction {
  return {
    name,
    mask: 0xfff0707f | 0,
    match,
    immediate: 'none',
    uses: [],
    meaning: (s) => s.setRd(op(s.rs1(), s)),
  }
}

/** Zbb's orc.b: each byte becomes 0xff unless it is zero. */
function orcB(a: Expr, s: Operands): Expr {
  const x = s.f.keep(a)
  const sevens = i64.const(0x7f7f7f7f7f7f7f7fn)
  // Bit 7 of each byte is set when the byte is not zero; then spread it over the byte.
  const high = s.f.keep(
    i64.and(i64.or(i64.add(i64.and(x.get, sevens), sevens), x.get), i64.const(0x8080808080808080n)),
  )
  return i64.or(i64.sub(i64.shl(high.get, one), i64.shrU(high.get, i64.const(7))), high.get)
}

/** Byte reversal by three exchanges. */
function rev8(a: Expr, s: Operands): Expr {
  const f = s.f
  const x = f.keep(a)
  const exchange = (mask: bigint, by: number): void =>
    f.set(
      x,
      i64.or(
        i64.shl(i64.and(x.get, i64.const(mask)), i64.const(by)),
        i64.and(i64.shrU(x.get, i64.const(by)), i64.const(mask)),
      ),
    )
  exchange(0x00ff00ff00ff00ffn, 8)
  exchange(0x0000ffff0000ffffn, 16)
  return i64.rotl(x.get, i64.const(32))
}

function pickOne(compare: (a: Expr, b: Expr) => Expr): (a: Expr, b: Expr) => Expr {
  return (a, b) => select(compare(a, b), a, b)
}

const bit = (b: Expr): Expr => i64.shl(one, b)

export const bitInstructions: readonly Instruction[] = [
  registerOp('sh1add', 0x33, 2, 0x10, (a, b) => i64.add(i64.shl(a, i64.const(1)), b)),
  registerOp('sh2add', 0x33, 4, 0x10, (a, b) => i64.add(i64.shl(a, i64.const(2)), b)),
  registerOp('sh3add', 0x33, 6, 0x10, (a, b) => i64.add(i64.shl(a, i64.const(3)), b)),
  registerOp('add.uw', 0x3b, 0, 0x04, (a, b) => i64.add(low32(a), b)),
  registerOp('sh1add.uw', 0x3b, 2, 0x10, (a, b) => i64.add(i64.shl(low32(a), i64.const(1)), b)),
  registerOp('sh2add.uw', 0x3b, 4, 0x10, (a, b) => i64.add(i64.shl(low32(a), i64.const(2)), b)),
  registerOp('sh3add.uw', 0x3b, 6, 0x10, (a, b) => i64.add(i64.shl(low32(a), i64.const(3)), b)),
  {
    name: 'slli.uw',
    mask: 0xfc00707f | 0,
    match: 0x0800101b,
    immediate: 'shamt6',
    uses: [],
    meaning: (s) => s.setRd(i64.shl(low32(s.rs1()), s.imm())),
  },

  registerOp('andn', 0x33, 7, 0x20, (a, b) => i64.and(a, not(b))),
  registerOp('orn', 0x33, 6, 0x20, (a, b) => i64.or(a, not(b))),
  registerOp('xnor', 0x33, 4, 0x20, (a, b) => not(i64.xor(a, b))),
  unaryOp('clz', 0x60001013, (a) => i64.clz(a)),
  unaryOp('ctz', 0x60101013, (a) => i64.ctz(a)),
  unaryOp('cpop', 0x60201013, (a) => i64.popcnt(a)),
  unaryOp('clzw', 0x6000101b, (a) => i64.extendU(i32.clz(i32.wrap(a)))),
  unaryOp('ctzw', 0x6010101b, (a) => i64.extendU(i32.ctz(i32.wrap(a)))),
  unaryOp('cpopw', 0x6020101b, (a) => i64.extendU(i32.popcnt(i32.wrap(a)))),
  registerOp('max', 0x33, 6, 0x05, pickOne(i64.gtS)),
  registerOp('maxu', 0x33, 7, 0x05, pickOne(i64.gtU)),
  registerOp('min', 0x33, 4, 0x05, pickOne(i64.ltS)),
  registerOp('minu', 0x33, 5, 0x05, pickOne(i64.ltU)),
  unaryOp('sext.b', 0x60401013, (a) => i64.extend8S(a)),
  unaryOp('sext.h', 0x60501013, (a) => i64.extend16S(a)),
  unaryOp('zext.h', 0x0800403b, (a) => i64.and(a, i64.const(0xffff))),
  registerOp('rol', 0x33, 1, 0x30, (a, b) => i64.rotl(a, b)),
  registerOp('ror', 0x33, 5, 0x30, (a, b) => i64.rotr(a, b)),
  registerOp('rolw', 0x3b, 1, 0x30, word(i32.rotl)),
  registerOp('rorw', 0x3b, 5, 0x30, word(i32.rotr)),
  shiftOp('rori', 0x13, 5, 0x30, i64.rotr),
  shiftOp('roriw', 0x1b, 5, 0x30, word(i32.rotr)),
  unaryOp('orc.b', 0x28705013, orcB),
  unaryOp('rev8', 0x6b805013, rev8),

  registerOp('bclr', 0x33, 1, 0x24, (a, b) => i64.and(a, not(bit(b)))),
  registerOp('bext', 0x33, 5, 0x24, (a, b) => i64.and(i64.shrU(a, b), one)),
  registerOp('binv', 0x33, 1, 0x34, (a, b) => i64.xor(a, bit(b))),
  registerOp('bset', 0x33, 1, 0x14, (a, b) => i64.or(a, bit(b))),
  shiftOp('bclri', 0x13, 1, 0x24, (a, b) => i64.and(a, not(bit(b)))),
  shiftOp('bexti', 0x13, 5, 0x24, (a, b) => i64.and(i64.shrU(a, b), one)),
  shiftOp('binvi', 0x13, 1, 0x34, (a, b) => i64.xor(a, bit(b))),
  shiftOp('bseti', 0x13, 1, 0x14, (a, b) => i64.or(a, bit(b))),
]
