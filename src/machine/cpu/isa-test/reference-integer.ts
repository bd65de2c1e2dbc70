/**
 * What each integer instruction computes, on BigInts: slow, plain, and written apart from the CPU's semantics, from
 * the text of the manual. Values are unsigned 64-bit register contents.
 */
import type { Mnemonic } from './instructions.ts'

type Binary = (a: bigint, b: bigint) => bigint

const BITS = 64
const u64 = (value: bigint) => BigInt.asUintN(64, value)
const s64 = (value: bigint) => BigInt.asIntN(64, value)
const u32 = (value: bigint) => BigInt.asUintN(32, value)
const s32 = (value: bigint) => BigInt.asIntN(32, value)
const sign32 = (value: bigint) => u64(s32(value))
const flag = (truth: boolean) => (truth ? 1n : 0n)

const add: Binary = (a, b) => u64(a + b)
const and: Binary = (a, b) => a & b
const or: Binary = (a, b) => a | b
const xor: Binary = (a, b) => a ^ b
const slt: Binary = (a, b) => flag(s64(a) < s64(b))
const sltu: Binary = (a, b) => flag(a < b)
const sll: Binary = (a, b) => u64(a << (b & 63n))
const srl: Binary = (a, b) => a >> (b & 63n)
const sra: Binary = (a, b) => u64(s64(a) >> (b & 63n))
const addw: Binary = (a, b) => sign32(a + b)
const subw: Binary = (a, b) => sign32(a - b)
const sllw: Binary = (a, b) => sign32(a << (b & 31n))
const srlw: Binary = (a, b) => sign32(u32(a) >> (b & 31n))
const sraw: Binary = (a, b) => u64(s32(a) >> (b & 31n))
const not = (value: bigint) => u64(~value)

/** Division by zero gives all ones and the dividend; the one overflow gives the dividend and zero (M, "Division Operations"). */
function divide(a: bigint, b: bigint): bigint {
  return b === 0n ? -1n : a / b
}
function remainder(a: bigint, b: bigint): bigint {
  return b === 0n ? a : a % b
}

const rotateLeft = (value: bigint, by: bigint, bits: number) => {
  const shift = by % BigInt(bits)
  return BigInt.asUintN(bits, (value << shift) | (value >> (BigInt(bits) - shift)))
}
const rol: Binary = (a, b) => rotateLeft(a, b & 63n, 64)
const ror: Binary = (a, b) => rotateLeft(a, 64n - (b & 63n), 64)
const rolw: Binary = (a, b) => sign32(rotateLeft(u32(a), b & 31n, 32))
const rorw: Binary = (a, b) => sign32(rotateLeft(u32(a), 32n - (b & 31n), 32))

const bitsOf = (value: bigint, width: number) => value.toString(2).padStart(width, '0')
const leadingZeros = (value: bigint, width: number) => BigInt(`${bitsOf(value, width)}1`.indexOf('1'))
const trailingZeros = (value: bigint, width: number) => {
  const text = bitsOf(value, width)
  const last = text.lastIndexOf('1')
  return last < 0 ? BigInt(width) : BigInt(width - 1 - last)
}
const population = (value: bigint) => BigInt(bitsOf(value, 1).replaceAll('0', '').length)
const bytesOf = (value: bigint) =>
  Array.from({ length: BITS / 8 }, (_, n) => (value >> BigInt(8 * n)) & 0xffn)
const fromBytes = (bytes: readonly bigint[]) =>
  bytes.reduce((value, byte, n) => value | (byte << BigInt(8 * n)), 0n)

const bit = (b: bigint) => 1n << (b & 63n)
const bclr: Binary = (a, b) => a & not(bit(b))
const bext: Binary = (a, b) => flag((a & bit(b)) !== 0n)
const binv: Binary = (a, b) => a ^ bit(b)
const bset: Binary = (a, b) => a | bit(b)

/** Instructions of one or two register or immediate sources; immediates come sign-extended to 64 bits. */
export const INTEGER_REFERENCE: { readonly [mnemonic in Mnemonic]?: Binary } = {
  addi: add,
  slti: slt,
  sltiu: sltu,
  xori: xor,
  ori: or,
  andi: and,
  slli: sll,
  srli: srl,
  srai: sra,
  add,
  sub: (a, b) => u64(a - b),
  sll,
  slt,
  sltu,
  xor,
  srl,
  sra,
  or,
  and,
  addiw: addw,
  slliw: sllw,
  srliw: srlw,
  sraiw: sraw,
  addw,
  subw,
  sllw,
  srlw,
  sraw,

  mul: (a, b) => u64(a * b),
  mulh: (a, b) => u64((s64(a) * s64(b)) >> 64n),
  mulhsu: (a, b) => u64((s64(a) * b) >> 64n),
  mulhu: (a, b) => u64((a * b) >> 64n),
  div: (a, b) => u64(divide(s64(a), s64(b))),
  divu: (a, b) => u64(divide(a, b)),
  rem: (a, b) => u64(remainder(s64(a), s64(b))),
  remu: (a, b) => u64(remainder(a, b)),
  mulw: (a, b) => sign32(a * b),
  divw: (a, b) => sign32(divide(s32(a), s32(b))),
  divuw: (a, b) => sign32(divide(u32(a), u32(b))),
  remw: (a, b) => sign32(remainder(s32(a), s32(b))),
  remuw: (a, b) => sign32(remainder(u32(a), u32(b))),

  'add.uw': (a, b) => u64(u32(a) + b),
  sh1add: (a, b) => u64((a << 1n) + b),
  sh2add: (a, b) => u64((a << 2n) + b),
  sh3add: (a, b) => u64((a << 3n) + b),
  'sh1add.uw': (a, b) => u64((u32(a) << 1n) + b),
  'sh2add.uw': (a, b) => u64((u32(a) << 2n) + b),
  'sh3add.uw': (a, b) => u64((u32(a) << 3n) + b),
  'slli.uw': (a, b) => u64(u32(a) << b),

  andn: (a, b) => a & not(b),
  orn: (a, b) => a | not(b),
  xnor: (a, b) => not(a ^ b),
  clz: (a) => leadingZeros(a, 64),
  ctz: (a) => trailingZeros(a, 64),
  cpop: (a) => population(a),
  clzw: (a) => leadingZeros(u32(a), 32),
  ctzw: (a) => trailingZeros(u32(a), 32),
  cpopw: (a) => population(u32(a)),
  'sext.b': (a) => u64(BigInt.asIntN(8, a)),
  'sext.h': (a) => u64(BigInt.asIntN(16, a)),
  'zext.h': (a) => BigInt.asUintN(16, a),
  min: (a, b) => (s64(a) < s64(b) ? a : b),
  max: (a, b) => (s64(a) > s64(b) ? a : b),
  minu: (a, b) => (sltu(a, b) === 1n ? a : b),
  maxu: (a, b) => (sltu(a, b) === 1n ? b : a),
  rol,
  ror,
  rori: ror,
  rolw,
  rorw,
  roriw: rorw,
  'orc.b': (a) => fromBytes(bytesOf(a).map((byte) => (byte === 0n ? 0n : 0xffn))),
  rev8: (a) => fromBytes(bytesOf(a).reverse()),

  'czero.eqz': (a, b) => (b === 0n ? 0n : a),
  'czero.nez': (a, b) => (b !== 0n ? 0n : a),

  bclr,
  bclri: bclr,
  bext,
  bexti: bext,
  binv,
  binvi: binv,
  bset,
  bseti: bset,
}

/** Compressed instructions whose destination is also their first source: the full-size instruction each one stands for. */
export const COMPRESSED_EXPANSION: { readonly [mnemonic in Mnemonic]?: Mnemonic } = {
  'c.addi': 'addi',
  'c.addiw': 'addiw',
  'c.srli': 'srli',
  'c.srai': 'srai',
  'c.slli': 'slli',
  'c.andi': 'andi',
  'c.sub': 'sub',
  'c.xor': 'xor',
  'c.or': 'or',
  'c.and': 'and',
  'c.subw': 'subw',
  'c.addw': 'addw',
  'c.add': 'add',
}

/** What an AMO leaves in memory, from the memory's and the register's value, both as wide as the access. */
export function atomicReference(operation: string, memory: bigint, register: bigint, bits: 32 | 64): bigint {
  const signed = (value: bigint) => BigInt.asIntN(bits, value)
  switch (operation) {
    case 'amoswap':
      return register
    case 'amoadd':
      return BigInt.asUintN(bits, memory + register)
    case 'amoxor':
      return memory ^ register
    case 'amoand':
      return memory & register
    case 'amoor':
      return memory | register
    case 'amomin':
      return signed(memory) < signed(register) ? memory : register
    case 'amomax':
      return signed(memory) > signed(register) ? memory : register
    case 'amominu':
      return memory < register ? memory : register
    case 'amomaxu':
      return memory > register ? memory : register
    default:
      throw new RangeError(operation)
  }
}

export const BRANCH_REFERENCE: { readonly [mnemonic in Mnemonic]?: (a: bigint, b: bigint) => boolean } = {
  beq: (a, b) => a === b,
  bne: (a, b) => a !== b,
  blt: (a, b) => s64(a) < s64(b),
  bge: (a, b) => s64(a) >= s64(b),
  bltu: (a, b) => a < b,
  bgeu: (a, b) => a >= b,
}
