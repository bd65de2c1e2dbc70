/**
 * Every instruction of RV64GC, Zba, Zbb, Zbs, Zicond, Zicbom, Zicboz, Zawrs, Zihintpause and the privileged ones, as
 * the tests' side knows them.
 *
 * This table is the oracle's: it shares nothing with the table the CPU is generated from, so that a wrong
 * encoding cannot be wrong in both. Sources: The RISC-V Instruction Set Manual, volume I (unprivileged) chapter
 * "RV32/64G Instruction Set Listings" and the chapters of C, Zba, Zbb and Zbs; volume II for the privileged ones.
 */
import { FIELDS, type FieldName } from './fields.ts'

export type Extension =
  | 'I'
  | 'M'
  | 'A'
  | 'F'
  | 'D'
  | 'C'
  | 'Zicsr'
  | 'Zifencei'
  | 'Zba'
  | 'Zbb'
  | 'Zbs'
  | 'Zicond'
  | 'Zicbom'
  | 'Zicboz'
  | 'Zawrs'
  | 'Zihintpause'
  | 'privileged'

export interface InstructionForm {
  readonly extension: Extension
  /** The bits that are fixed. */
  readonly match: number
  /** Operands in the order of assembly language, memory operands as register then offset. */
  readonly fields: readonly FieldName[]
  readonly bytes: 2 | 4
}

function form(extension: Extension, match: number, ...fields: FieldName[]): InstructionForm {
  return { extension, match: match >>> 0, fields, bytes: (match & 3) === 3 ? 4 : 2 }
}

const OP = 0x33
const OP_32 = 0x3b
const OP_IMM = 0x13
const OP_IMM_32 = 0x1b
const LOAD = 0x03
const STORE = 0x23
const BRANCH = 0x63
const SYSTEM = 0x73
const AMO = 0x2f
const OP_FP = 0x53
const SINGLE = 0
const DOUBLE = 1

type Register3 = [rd: 'rd', rs1: 'rs1', rs2: 'rs2']
const RRR: Register3 = ['rd', 'rs1', 'rs2']
const r = (extension: Extension, opcode: number, funct3: number, funct7: number) =>
  form(extension, opcode | (funct3 << 12) | (funct7 << 25), ...RRR)
const i = (extension: Extension, opcode: number, funct3: number) =>
  form(extension, opcode | (funct3 << 12), 'rd', 'rs1', 'imm12')
const shift6 = (extension: Extension, opcode: number, funct3: number, funct6: number) =>
  form(extension, opcode | (funct3 << 12) | (funct6 << 26), 'rd', 'rs1', 'shamt6')
const shift5 = (extension: Extension, opcode: number, funct3: number, funct7: number) =>
  form(extension, opcode | (funct3 << 12) | (funct7 << 25), 'rd', 'rs1', 'shamt5')
const unary = (extension: Extension, opcode: number, funct3: number, funct12: number) =>
  form(extension, opcode | (funct3 << 12) | (funct12 << 20), 'rd', 'rs1')
const load = (funct3: number) => form('I', LOAD | (funct3 << 12), 'rd', 'rs1', 'imm12')
const store = (funct3: number) => form('I', STORE | (funct3 << 12), 'rs2', 'rs1', 'store12')
const branch = (funct3: number) => form('I', BRANCH | (funct3 << 12), 'rs1', 'rs2', 'branch')
const csr = (funct3: number) =>
  form('Zicsr', SYSTEM | (funct3 << 12), 'rd', 'csr', funct3 > 4 ? 'zimm' : 'rs1')
const amo = (funct3: number, funct5: number) =>
  form('A', AMO | (funct3 << 12) | (funct5 << 27), 'rd', 'rs2', 'rs1', 'aqrl')
const loadReserved = (funct3: number) => form('A', AMO | (funct3 << 12) | (2 << 27), 'rd', 'rs1', 'aqrl')

const block = (extension: Extension, operation: number) =>
  form(extension, 0x0f | (2 << 12) | (operation << 20), 'rs1')

const floating = (format: number): Extension => (format === SINGLE ? 'F' : 'D')
const fpFunct7 = (format: number, funct5: number) => OP_FP | (((funct5 << 2) | format) << 25)
const fpArithmetic = (format: number, funct5: number) =>
  form(floating(format), fpFunct7(format, funct5), 'frd', 'frs1', 'frs2', 'rm')
const fpSelect = (format: number, funct5: number, funct3: number) =>
  form(floating(format), fpFunct7(format, funct5) | (funct3 << 12), 'frd', 'frs1', 'frs2')
const fpCompare = (format: number, funct3: number) =>
  form(floating(format), fpFunct7(format, 0x14) | (funct3 << 12), 'rd', 'frs1', 'frs2')
const fpFused = (opcode: number, format: number) =>
  form(floating(format), opcode | (format << 25), 'frd', 'frs1', 'frs2', 'frs3', 'rm')
const fpToInteger = (format: number, width: number) =>
  form(floating(format), fpFunct7(format, 0x18) | (width << 20), 'rd', 'frs1', 'rm')
const integerToFp = (format: number, width: number) =>
  form(floating(format), fpFunct7(format, 0x1a) | (width << 20), 'frd', 'rs1', 'rm')

export const INSTRUCTIONS = {
  lui: form('I', 0x37, 'rd', 'upper20'),
  auipc: form('I', 0x17, 'rd', 'upper20'),
  jal: form('I', 0x6f, 'rd', 'jump'),
  jalr: form('I', 0x67, 'rd', 'rs1', 'imm12'),
  beq: branch(0),
  bne: branch(1),
  blt: branch(4),
  bge: branch(5),
  bltu: branch(6),
  bgeu: branch(7),
  lb: load(0),
  lh: load(1),
  lw: load(2),
  ld: load(3),
  lbu: load(4),
  lhu: load(5),
  lwu: load(6),
  sb: store(0),
  sh: store(1),
  sw: store(2),
  sd: store(3),
  addi: i('I', OP_IMM, 0),
  slti: i('I', OP_IMM, 2),
  sltiu: i('I', OP_IMM, 3),
  xori: i('I', OP_IMM, 4),
  ori: i('I', OP_IMM, 6),
  andi: i('I', OP_IMM, 7),
  slli: shift6('I', OP_IMM, 1, 0),
  srli: shift6('I', OP_IMM, 5, 0),
  srai: shift6('I', OP_IMM, 5, 0x10),
  add: r('I', OP, 0, 0),
  sub: r('I', OP, 0, 0x20),
  sll: r('I', OP, 1, 0),
  slt: r('I', OP, 2, 0),
  sltu: r('I', OP, 3, 0),
  xor: r('I', OP, 4, 0),
  srl: r('I', OP, 5, 0),
  sra: r('I', OP, 5, 0x20),
  or: r('I', OP, 6, 0),
  and: r('I', OP, 7, 0),
  addiw: i('I', OP_IMM_32, 0),
  slliw: shift5('I', OP_IMM_32, 1, 0),
  srliw: shift5('I', OP_IMM_32, 5, 0),
  sraiw: shift5('I', OP_IMM_32, 5, 0x20),
  addw: r('I', OP_32, 0, 0),
  subw: r('I', OP_32, 0, 0x20),
  sllw: r('I', OP_32, 1, 0),
  srlw: r('I', OP_32, 5, 0),
  sraw: r('I', OP_32, 5, 0x20),
  fence: form('I', 0x0f, 'fenceSets'),
  ecall: form('I', SYSTEM),
  ebreak: form('I', SYSTEM | (1 << 20)),

  'fence.i': form('Zifencei', 0x0f | (1 << 12)),

  csrrw: csr(1),
  csrrs: csr(2),
  csrrc: csr(3),
  csrrwi: csr(5),
  csrrsi: csr(6),
  csrrci: csr(7),

  mret: form('privileged', SYSTEM | (0x302 << 20)),
  sret: form('privileged', SYSTEM | (0x102 << 20)),
  wfi: form('privileged', SYSTEM | (0x105 << 20)),
  'sfence.vma': form('privileged', SYSTEM | (0x09 << 25), 'rs1', 'rs2'),

  mul: r('M', OP, 0, 1),
  mulh: r('M', OP, 1, 1),
  mulhsu: r('M', OP, 2, 1),
  mulhu: r('M', OP, 3, 1),
  div: r('M', OP, 4, 1),
  divu: r('M', OP, 5, 1),
  rem: r('M', OP, 6, 1),
  remu: r('M', OP, 7, 1),
  mulw: r('M', OP_32, 0, 1),
  divw: r('M', OP_32, 4, 1),
  divuw: r('M', OP_32, 5, 1),
  remw: r('M', OP_32, 6, 1),
  remuw: r('M', OP_32, 7, 1),

  'lr.w': loadReserved(2),
  'sc.w': amo(2, 0x03),
  'amoswap.w': amo(2, 0x01),
  'amoadd.w': amo(2, 0x00),
  'amoxor.w': amo(2, 0x04),
  'amoand.w': amo(2, 0x0c),
  'amoor.w': amo(2, 0x08),
  'amomin.w': amo(2, 0x10),
  'amomax.w': amo(2, 0x14),
  'amominu.w': amo(2, 0x18),
  'amomaxu.w': amo(2, 0x1c),
  'lr.d': loadReserved(3),
  'sc.d': amo(3, 0x03),
  'amoswap.d': amo(3, 0x01),
  'amoadd.d': amo(3, 0x00),
  'amoxor.d': amo(3, 0x04),
  'amoand.d': amo(3, 0x0c),
  'amoor.d': amo(3, 0x08),
  'amomin.d': amo(3, 0x10),
  'amomax.d': amo(3, 0x14),
  'amominu.d': amo(3, 0x18),
  'amomaxu.d': amo(3, 0x1c),

  flw: form('F', 0x07 | (2 << 12), 'frd', 'rs1', 'imm12'),
  fsw: form('F', 0x27 | (2 << 12), 'frs2', 'rs1', 'store12'),
  'fmadd.s': fpFused(0x43, SINGLE),
  'fmsub.s': fpFused(0x47, SINGLE),
  'fnmsub.s': fpFused(0x4b, SINGLE),
  'fnmadd.s': fpFused(0x4f, SINGLE),
  'fadd.s': fpArithmetic(SINGLE, 0x00),
  'fsub.s': fpArithmetic(SINGLE, 0x01),
  'fmul.s': fpArithmetic(SINGLE, 0x02),
  'fdiv.s': fpArithmetic(SINGLE, 0x03),
  'fsqrt.s': form('F', fpFunct7(SINGLE, 0x0b), 'frd', 'frs1', 'rm'),
  'fsgnj.s': fpSelect(SINGLE, 0x04, 0),
  'fsgnjn.s': fpSelect(SINGLE, 0x04, 1),
  'fsgnjx.s': fpSelect(SINGLE, 0x04, 2),
  'fmin.s': fpSelect(SINGLE, 0x05, 0),
  'fmax.s': fpSelect(SINGLE, 0x05, 1),
  'fcvt.w.s': fpToInteger(SINGLE, 0),
  'fcvt.wu.s': fpToInteger(SINGLE, 1),
  'fcvt.l.s': fpToInteger(SINGLE, 2),
  'fcvt.lu.s': fpToInteger(SINGLE, 3),
  'fmv.x.w': form('F', fpFunct7(SINGLE, 0x1c), 'rd', 'frs1'),
  'feq.s': fpCompare(SINGLE, 2),
  'flt.s': fpCompare(SINGLE, 1),
  'fle.s': fpCompare(SINGLE, 0),
  'fclass.s': form('F', fpFunct7(SINGLE, 0x1c) | (1 << 12), 'rd', 'frs1'),
  'fcvt.s.w': integerToFp(SINGLE, 0),
  'fcvt.s.wu': integerToFp(SINGLE, 1),
  'fcvt.s.l': integerToFp(SINGLE, 2),
  'fcvt.s.lu': integerToFp(SINGLE, 3),
  'fmv.w.x': form('F', fpFunct7(SINGLE, 0x1e), 'frd', 'rs1'),

  fld: form('D', 0x07 | (3 << 12), 'frd', 'rs1', 'imm12'),
  fsd: form('D', 0x27 | (3 << 12), 'frs2', 'rs1', 'store12'),
  'fmadd.d': fpFused(0x43, DOUBLE),
  'fmsub.d': fpFused(0x47, DOUBLE),
  'fnmsub.d': fpFused(0x4b, DOUBLE),
  'fnmadd.d': fpFused(0x4f, DOUBLE),
  'fadd.d': fpArithmetic(DOUBLE, 0x00),
  'fsub.d': fpArithmetic(DOUBLE, 0x01),
  'fmul.d': fpArithmetic(DOUBLE, 0x02),
  'fdiv.d': fpArithmetic(DOUBLE, 0x03),
  'fsqrt.d': form('D', fpFunct7(DOUBLE, 0x0b), 'frd', 'frs1', 'rm'),
  'fsgnj.d': fpSelect(DOUBLE, 0x04, 0),
  'fsgnjn.d': fpSelect(DOUBLE, 0x04, 1),
  'fsgnjx.d': fpSelect(DOUBLE, 0x04, 2),
  'fmin.d': fpSelect(DOUBLE, 0x05, 0),
  'fmax.d': fpSelect(DOUBLE, 0x05, 1),
  'fcvt.s.d': form('D', fpFunct7(SINGLE, 0x08) | (1 << 20), 'frd', 'frs1', 'rm'),
  'fcvt.d.s': form('D', fpFunct7(DOUBLE, 0x08), 'frd', 'frs1', 'rm'),
  'feq.d': fpCompare(DOUBLE, 2),
  'flt.d': fpCompare(DOUBLE, 1),
  'fle.d': fpCompare(DOUBLE, 0),
  'fclass.d': form('D', fpFunct7(DOUBLE, 0x1c) | (1 << 12), 'rd', 'frs1'),
  'fcvt.w.d': fpToInteger(DOUBLE, 0),
  'fcvt.wu.d': fpToInteger(DOUBLE, 1),
  'fcvt.l.d': fpToInteger(DOUBLE, 2),
  'fcvt.lu.d': fpToInteger(DOUBLE, 3),
  'fmv.x.d': form('D', fpFunct7(DOUBLE, 0x1c), 'rd', 'frs1'),
  'fcvt.d.w': integerToFp(DOUBLE, 0),
  'fcvt.d.wu': integerToFp(DOUBLE, 1),
  'fcvt.d.l': integerToFp(DOUBLE, 2),
  'fcvt.d.lu': integerToFp(DOUBLE, 3),
  'fmv.d.x': form('D', fpFunct7(DOUBLE, 0x1e), 'frd', 'rs1'),

  'add.uw': r('Zba', OP_32, 0, 0x04),
  sh1add: r('Zba', OP, 2, 0x10),
  sh2add: r('Zba', OP, 4, 0x10),
  sh3add: r('Zba', OP, 6, 0x10),
  'sh1add.uw': r('Zba', OP_32, 2, 0x10),
  'sh2add.uw': r('Zba', OP_32, 4, 0x10),
  'sh3add.uw': r('Zba', OP_32, 6, 0x10),
  'slli.uw': shift6('Zba', OP_IMM_32, 1, 0x02),

  andn: r('Zbb', OP, 7, 0x20),
  orn: r('Zbb', OP, 6, 0x20),
  xnor: r('Zbb', OP, 4, 0x20),
  clz: unary('Zbb', OP_IMM, 1, 0x600),
  ctz: unary('Zbb', OP_IMM, 1, 0x601),
  cpop: unary('Zbb', OP_IMM, 1, 0x602),
  'sext.b': unary('Zbb', OP_IMM, 1, 0x604),
  'sext.h': unary('Zbb', OP_IMM, 1, 0x605),
  clzw: unary('Zbb', OP_IMM_32, 1, 0x600),
  ctzw: unary('Zbb', OP_IMM_32, 1, 0x601),
  cpopw: unary('Zbb', OP_IMM_32, 1, 0x602),
  'zext.h': unary('Zbb', OP_32, 4, 0x080),
  min: r('Zbb', OP, 4, 0x05),
  minu: r('Zbb', OP, 5, 0x05),
  max: r('Zbb', OP, 6, 0x05),
  maxu: r('Zbb', OP, 7, 0x05),
  rol: r('Zbb', OP, 1, 0x30),
  ror: r('Zbb', OP, 5, 0x30),
  rori: shift6('Zbb', OP_IMM, 5, 0x18),
  rolw: r('Zbb', OP_32, 1, 0x30),
  rorw: r('Zbb', OP_32, 5, 0x30),
  roriw: shift5('Zbb', OP_IMM_32, 5, 0x30),
  'orc.b': unary('Zbb', OP_IMM, 5, 0x287),
  rev8: unary('Zbb', OP_IMM, 5, 0x6b8),

  bclr: r('Zbs', OP, 1, 0x24),
  bclri: shift6('Zbs', OP_IMM, 1, 0x12),
  bext: r('Zbs', OP, 5, 0x24),
  bexti: shift6('Zbs', OP_IMM, 5, 0x12),
  binv: r('Zbs', OP, 1, 0x34),
  binvi: shift6('Zbs', OP_IMM, 1, 0x1a),
  bset: r('Zbs', OP, 1, 0x14),
  bseti: shift6('Zbs', OP_IMM, 1, 0x0a),

  'czero.eqz': r('Zicond', OP, 5, 0x07),
  'czero.nez': r('Zicond', OP, 7, 0x07),

  'cbo.inval': block('Zicbom', 0),
  'cbo.clean': block('Zicbom', 1),
  'cbo.flush': block('Zicbom', 2),
  'cbo.zero': block('Zicboz', 4),

  'wrs.nto': form('Zawrs', SYSTEM | (0x00d << 20)),
  'wrs.sto': form('Zawrs', SYSTEM | (0x01d << 20)),
  pause: form('Zihintpause', 0x0f | (0x010 << 20)),

  'c.addi4spn': form('C', 0x0000, 'crdLow', 'caddi4spn'),
  'c.fld': form('C', 0x2000, 'cfrdLow', 'crdHigh', 'cdouble'),
  'c.lw': form('C', 0x4000, 'crdLow', 'crdHigh', 'cword'),
  'c.ld': form('C', 0x6000, 'crdLow', 'crdHigh', 'cdouble'),
  'c.fsd': form('C', 0xa000, 'cfrdLow', 'crdHigh', 'cdouble'),
  'c.sw': form('C', 0xc000, 'crdLow', 'crdHigh', 'cword'),
  'c.sd': form('C', 0xe000, 'crdLow', 'crdHigh', 'cdouble'),
  'c.nop': form('C', 0x0001),
  'c.addi': form('C', 0x0001, 'crdNotZero', 'cimm6NotZero'),
  'c.addiw': form('C', 0x2001, 'crdNotZero', 'cimm6'),
  'c.li': form('C', 0x4001, 'crdNotZero', 'cimm6'),
  'c.addi16sp': form('C', 0x6101, 'caddi16sp'),
  'c.lui': form('C', 0x6001, 'crdNotZeroNorSp', 'clui'),
  'c.srli': form('C', 0x8001, 'crdHigh', 'cshamt'),
  'c.srai': form('C', 0x8401, 'crdHigh', 'cshamt'),
  'c.andi': form('C', 0x8801, 'crdHigh', 'cimm6'),
  'c.sub': form('C', 0x8c01, 'crdHigh', 'crdLow'),
  'c.xor': form('C', 0x8c21, 'crdHigh', 'crdLow'),
  'c.or': form('C', 0x8c41, 'crdHigh', 'crdLow'),
  'c.and': form('C', 0x8c61, 'crdHigh', 'crdLow'),
  'c.subw': form('C', 0x9c01, 'crdHigh', 'crdLow'),
  'c.addw': form('C', 0x9c21, 'crdHigh', 'crdLow'),
  'c.j': form('C', 0xa001, 'cjump'),
  'c.beqz': form('C', 0xc001, 'crdHigh', 'cbranch'),
  'c.bnez': form('C', 0xe001, 'crdHigh', 'cbranch'),
  'c.slli': form('C', 0x0002, 'crdNotZero', 'cshamt'),
  'c.fldsp': form('C', 0x2002, 'cfrd', 'cldsp'),
  'c.lwsp': form('C', 0x4002, 'crdNotZero', 'clwsp'),
  'c.ldsp': form('C', 0x6002, 'crdNotZero', 'cldsp'),
  'c.jr': form('C', 0x8002, 'crdNotZero'),
  'c.mv': form('C', 0x8002, 'crdNotZero', 'crs2NotZero'),
  'c.ebreak': form('C', 0x9002),
  'c.jalr': form('C', 0x9002, 'crdNotZero'),
  'c.add': form('C', 0x9002, 'crdNotZero', 'crs2NotZero'),
  'c.fsdsp': form('C', 0xa002, 'cfrs2', 'csdsp'),
  'c.swsp': form('C', 0xc002, 'crs2', 'cswsp'),
  'c.sdsp': form('C', 0xe002, 'crs2', 'csdsp'),
} as const satisfies Record<string, InstructionForm>

export type Mnemonic = keyof typeof INSTRUCTIONS
export const MNEMONICS = Object.keys(INSTRUCTIONS) as Mnemonic[]

export function formOf(mnemonic: Mnemonic): InstructionForm {
  return INSTRUCTIONS[mnemonic]
}

/** The instruction's bits: 16 significant ones for compressed forms, 32 otherwise. Throws a RangeError for an operand that does not fit. */
export function encode(mnemonic: Mnemonic, ...operands: readonly number[]): number {
  const { fields, match } = formOf(mnemonic)
  if (operands.length !== fields.length) {
    throw new RangeError(`${mnemonic} takes ${fields.length} operands, not ${operands.length}`)
  }
  let bits = match
  fields.forEach((name, n) => {
    try {
      bits |= FIELDS[name].encode(operands[n]!)
    } catch (cause) {
      throw new RangeError(`${mnemonic} ${operands.join(', ')}: ${name}`, { cause })
    }
  })
  return bits >>> 0
}

const PREFIX: { readonly [kind: string]: string } = { x: 'x', f: 'f', target: '.+' }

/** One line for people: mnemonic and operands; targets relative to the instruction. */
export function listing(mnemonic: Mnemonic, operands: readonly number[]): string {
  const shown = formOf(mnemonic).fields.map((name, n) => {
    const { kind } = FIELDS[name]
    const value = operands[n]!
    if (kind === 'csr') return `0x${value.toString(16)}`
    if (kind === 'rounding') return ['rne', 'rtz', 'rdn', 'rup', 'rmm', '5', '6', 'dyn'][value]!
    if (kind === 'ordering') return ['relaxed', 'rl', 'aq', 'aqrl'][value]!
    if (kind === 'target' && value < 0) return `.${value}`
    return `${PREFIX[kind] ?? ''}${value}`
  })
  return `${mnemonic} ${shown.join(', ')}`.trimEnd()
}
