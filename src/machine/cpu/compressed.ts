/**
 * The C extension: every 16-bit instruction stands for one 32-bit instruction, so it is expanded and then treated
 * as that one (The RISC-V Instruction Set Manual, Volume I, chapter 27).
 */
const SP = 2
const RA = 1

const rType = (opcode: number, f3: number, f7: number, rd: number, rs1: number, rs2: number): number =>
  opcode | (rd << 7) | (f3 << 12) | (rs1 << 15) | (rs2 << 20) | (f7 << 25)
const iType = (opcode: number, f3: number, rd: number, rs1: number, imm: number): number =>
  opcode | (rd << 7) | (f3 << 12) | (rs1 << 15) | (imm << 20)
const sType = (opcode: number, f3: number, rs1: number, rs2: number, imm: number): number =>
  opcode | ((imm & 0x1f) << 7) | (f3 << 12) | (rs1 << 15) | (rs2 << 20) | ((imm >> 5) << 25)
const bType = (f3: number, rs1: number, rs2: number, imm: number): number =>
  0x63 |
  (((imm >> 11) & 1) << 7) |
  (((imm >> 1) & 0xf) << 8) |
  (f3 << 12) |
  (rs1 << 15) |
  (rs2 << 20) |
  (((imm >> 5) & 0x3f) << 25) |
  (((imm >> 12) & 1) << 31)
const jType = (rd: number, imm: number): number =>
  0x6f |
  (rd << 7) |
  (((imm >> 12) & 0xff) << 12) |
  (((imm >> 11) & 1) << 20) |
  (((imm >> 1) & 0x3ff) << 21) |
  (((imm >> 20) & 1) << 31)

const signed = (value: number, bits: number): number => (value << (32 - bits)) >> (32 - bits)

/** Names of the instructions that 16-bit ones of the integer core stand for. */
export const COMPRESSED_TARGETS: ReadonlySet<string> = new Set([
  ...[
    'addi',
    'addiw',
    'andi',
    'slli',
    'srli',
    'srai',
    'lui',
    'add',
    'sub',
    'xor',
    'or',
    'and',
    'addw',
    'subw',
  ],
  ...['lw', 'ld', 'sw', 'sd', 'beq', 'bne', 'jal', 'jalr'],
])

/** The 32-bit instruction that a 16-bit one stands for, as an unsigned number; 0 when it is illegal or reserved. */
export function expandCompressed(half: number): number {
  return expand(half & 0xffff) >>> 0
}

function expand(c: number): number {
  const funct3 = c >> 13
  const bits = (high: number, low: number): number => (c >> low) & ((1 << (high - low + 1)) - 1)
  const rd = bits(11, 7)
  const rs2 = bits(6, 2)
  const rdShort = 8 + bits(4, 2)
  const rs1Short = 8 + bits(9, 7)
  const imm6 = signed((bits(12, 12) << 5) | bits(6, 2), 6)
  const shamt = (bits(12, 12) << 5) | bits(6, 2)
  const wordOffset = (bits(5, 5) << 6) | (bits(12, 10) << 3) | (bits(6, 6) << 2)
  const doubleOffset = (bits(6, 5) << 6) | (bits(12, 10) << 3)
  const wordFromSp = (bits(3, 2) << 6) | (bits(12, 12) << 5) | (bits(6, 4) << 2)
  const doubleFromSp = (bits(4, 2) << 6) | (bits(12, 12) << 5) | (bits(6, 5) << 3)
  const wordToSp = (bits(8, 7) << 6) | (bits(12, 9) << 2)
  const doubleToSp = (bits(9, 7) << 6) | (bits(12, 10) << 3)

  switch (((c & 3) << 3) | funct3) {
    case 0o00: {
      const imm = (bits(10, 7) << 6) | (bits(12, 11) << 4) | (bits(5, 5) << 3) | (bits(6, 6) << 2)
      return imm === 0 ? 0 : iType(0x13, 0, rdShort, SP, imm)
    }
    case 0o01:
      return iType(0x07, 3, rdShort, rs1Short, doubleOffset)
    case 0o02:
      return iType(0x03, 2, rdShort, rs1Short, wordOffset)
    case 0o03:
      return iType(0x03, 3, rdShort, rs1Short, doubleOffset)
    case 0o05:
      return sType(0x27, 3, rs1Short, rdShort, doubleOffset)
    case 0o06:
      return sType(0x23, 2, rs1Short, rdShort, wordOffset)
    case 0o07:
      return sType(0x23, 3, rs1Short, rdShort, doubleOffset)

    case 0o10:
      return iType(0x13, 0, rd, rd, imm6)
    case 0o11:
      return rd === 0 ? 0 : iType(0x1b, 0, rd, rd, imm6)
    case 0o12:
      return iType(0x13, 0, rd, 0, imm6)
    case 0o13: {
      if (rd === SP) {
        const imm = signed(
          (bits(12, 12) << 9) | (bits(4, 3) << 7) | (bits(5, 5) << 6) | (bits(2, 2) << 5) | (bits(6, 6) << 4),
          10,
        )
        return imm === 0 ? 0 : iType(0x13, 0, SP, SP, imm)
      }
      return imm6 === 0 ? 0 : 0x37 | (rd << 7) | (imm6 << 12)
    }
    case 0o14:
      return arithmetic(c, bits(11, 10), rs1Short, rdShort, imm6, shamt)
    case 0o15:
      return jType(0, jumpOffset(c))
    case 0o16:
      return bType(0, rs1Short, 0, branchOffset(c))
    case 0o17:
      return bType(1, rs1Short, 0, branchOffset(c))

    case 0o20:
      return iType(0x13, 1, rd, rd, shamt)
    case 0o21:
      return iType(0x07, 3, rd, SP, doubleFromSp)
    case 0o22:
      return rd === 0 ? 0 : iType(0x03, 2, rd, SP, wordFromSp)
    case 0o23:
      return rd === 0 ? 0 : iType(0x03, 3, rd, SP, doubleFromSp)
    case 0o24:
      return jumpOrMove(bits(12, 12), rd, rs2)
    case 0o25:
      return sType(0x27, 3, SP, rs2, doubleToSp)
    case 0o26:
      return sType(0x23, 2, SP, rs2, wordToSp)
    case 0o27:
      return sType(0x23, 3, SP, rs2, doubleToSp)
    default:
      return 0
  }
}

/** C.SRLI, C.SRAI, C.ANDI and the register-register group of quadrant 1. */
function arithmetic(c: number, kind: number, rd: number, rs2: number, imm6: number, shamt: number): number {
  if (kind === 0) return iType(0x13, 5, rd, rd, shamt)
  if (kind === 1) return iType(0x13, 5, rd, rd, shamt | 0x400)
  if (kind === 2) return iType(0x13, 7, rd, rd, imm6)
  const operation = (c >> 5) & 3
  if (((c >> 12) & 1) === 0) {
    const [funct3, funct7] = [
      [0, 0x20],
      [4, 0],
      [6, 0],
      [7, 0],
    ][operation]
    return rType(0x33, funct3, funct7, rd, rd, rs2)
  }
  if (operation === 0) return rType(0x3b, 0, 0x20, rd, rd, rs2)
  if (operation === 1) return rType(0x3b, 0, 0, rd, rd, rs2)
  return 0
}

/** C.JR, C.MV, C.EBREAK, C.JALR, C.ADD. */
function jumpOrMove(high: number, rd: number, rs2: number): number {
  if (high === 0) {
    if (rs2 !== 0) return rType(0x33, 0, 0, rd, 0, rs2)
    return rd === 0 ? 0 : iType(0x67, 0, 0, rd, 0)
  }
  if (rs2 !== 0) return rType(0x33, 0, 0, rd, rd, rs2)
  return rd === 0 ? 0x00100073 : iType(0x67, 0, RA, rd, 0)
}

function jumpOffset(c: number): number {
  const bit = (from: number, to: number): number => ((c >> from) & 1) << to
  return signed(
    bit(12, 11) |
      bit(11, 4) |
      bit(10, 9) |
      bit(9, 8) |
      bit(8, 10) |
      bit(7, 6) |
      bit(6, 7) |
      (((c >> 3) & 7) << 1) |
      bit(2, 5),
    12,
  )
}

function branchOffset(c: number): number {
  const bit = (from: number, to: number): number => ((c >> from) & 1) << to
  return signed(
    bit(12, 8) | (((c >> 10) & 3) << 3) | (((c >> 5) & 3) << 6) | (((c >> 3) & 3) << 1) | bit(2, 5),
    9,
  )
}
