/**
 * The integer instructions: RV64I, M, Zicsr, Zifencei, Zicond, Zicbom, Zicboz, Zawrs and the privileged ones
 * (The RISC-V Instruction Set Manual, Volume I, chapters 2, 4, 6, 7, 11, 13, 16 and 19; Volume II, 3.3 and 11).
 * PAUSE of Zihintpause is a FENCE that orders nothing.
 */
import { type Expr, i32, i64, select } from '../../wasm/expr.ts'
import type {
  ImmediateFormat,
  Instruction,
  InstructionUse,
  LoadKind,
  Meaning,
  Operands,
  StoreWidth,
  SystemKind,
} from './semantics.ts'

const OP_MASK = 0x7f
const F3_MASK = 0x707f
const F7_MASK = 0xfe00707f | 0
const F6_MASK = 0xfc00707f | 0
/** Of a cache-block operation only rs1 is free. */
const BLOCK_MASK = 0xfff07fff | 0

function instruction(
  name: string,
  mask: number,
  match: number,
  immediate: ImmediateFormat,
  uses: readonly InstructionUse[],
  meaning: Meaning,
): Instruction {
  return { name, mask: mask | 0, match: match | 0, immediate, uses, meaning }
}

/** Register-register operations, opcode OP (0x33) or OP-32 (0x3b). */
export function registerOp(
  name: string,
  opcode: number,
  funct3: number,
  funct7: number,
  op: (a: Expr, b: Expr, s: Operands) => Expr,
): Instruction {
  return instruction(name, F7_MASK, opcode | (funct3 << 12) | (funct7 << 25), 'none', [], (s) =>
    s.setRd(op(s.rs1(), s.rs2(), s)),
  )
}

/** Register-immediate operations, opcode OP-IMM (0x13) or OP-IMM-32 (0x1b). */
function immediateOp(
  name: string,
  opcode: number,
  funct3: number,
  op: (a: Expr, b: Expr) => Expr,
): Instruction {
  return instruction(name, F3_MASK, opcode | (funct3 << 12), 'I', [], (s) => s.setRd(op(s.rs1(), s.imm())))
}

/** Shifts by an immediate: six bits of amount on 64-bit operands, five on 32-bit ones. */
export function shiftOp(
  name: string,
  opcode: number,
  funct3: number,
  high: number,
  op: (a: Expr, b: Expr) => Expr,
): Instruction {
  const wide = opcode === 0x13
  return instruction(
    name,
    wide ? F6_MASK : F7_MASK,
    opcode | (funct3 << 12) | (high << 25),
    wide ? 'shamt6' : 'shamt5',
    [],
    (s) => s.setRd(op(s.rs1(), s.imm())),
  )
}

/** An operation on the low 32 bits whose result is sign-extended. */
export function word(op: (a: Expr, b: Expr) => Expr): (a: Expr, b: Expr) => Expr {
  return (a, b) => i64.extendS(op(i32.wrap(a), i32.wrap(b)))
}

const bool = (op: (a: Expr, b: Expr) => Expr) => (a: Expr, b: Expr) => i64.extendU(op(a, b))

function loadOp(name: string, funct3: number, kind: LoadKind): Instruction {
  return instruction(name, F3_MASK, 0x03 | (funct3 << 12), 'I', ['memory'], (s) =>
    s.setRd(s.load(kind, i64.add(s.rs1(), s.imm()))),
  )
}

function storeOp(name: string, funct3: number, width: StoreWidth): Instruction {
  return instruction(name, F3_MASK, 0x23 | (funct3 << 12), 'S', ['memory'], (s) =>
    s.store(width, i64.add(s.rs1(), s.imm()), s.rs2()),
  )
}

function branchOp(name: string, funct3: number, condition: (a: Expr, b: Expr) => Expr): Instruction {
  return instruction(name, F3_MASK, 0x63 | (funct3 << 12), 'B', ['flow'], (s) =>
    s.branch(condition(s.rs1(), s.rs2())),
  )
}

function systemOp(name: SystemKind, mask: number, match: number, immediate: ImmediateFormat): Instruction {
  const uses: InstructionUse[] = name.startsWith('csr') ? ['system'] : ['system', 'flow']
  return instruction(name, mask, match, immediate, uses, (s) => s.system(name))
}

/** The high 64 bits of an unsigned 64×64 product, by four 32×32 products. */
function mulhu(s: Operands, x: Expr, y: Expr): Expr {
  const f = s.f
  const low32 = i64.const(0xffffffff)
  const thirtyTwo = i64.const(32)
  const a = f.keep(x)
  const b = f.keep(y)
  const aLow = f.keep(i64.and(a.get, low32))
  const aHigh = f.keep(i64.shrU(a.get, thirtyTwo))
  const bLow = f.keep(i64.and(b.get, low32))
  const bHigh = f.keep(i64.shrU(b.get, thirtyTwo))
  const cross = f.keep(
    i64.add(i64.mul(aHigh.get, bLow.get), i64.shrU(i64.mul(aLow.get, bLow.get), thirtyTwo)),
  )
  const middle = f.keep(i64.add(i64.mul(aLow.get, bHigh.get), i64.and(cross.get, low32)))
  return i64.add(
    i64.add(i64.mul(aHigh.get, bHigh.get), i64.shrU(cross.get, thirtyTwo)),
    i64.shrU(middle.get, thirtyTwo),
  )
}

/** From the unsigned high product: subtract the other factor for each factor that is read as negative. */
function mulhSigned(s: Operands, x: Expr, y: Expr, bothSigned: boolean): Expr {
  const a = s.f.keep(x)
  const b = s.f.keep(y)
  const unsigned = mulhu(s, a.get, b.get)
  const lessB = i64.sub(unsigned, i64.and(i64.shrS(a.get, i64.const(63)), b.get))
  return bothSigned ? i64.sub(lessB, i64.and(i64.shrS(b.get, i64.const(63)), a.get)) : lessB
}

/** Division never traps: by zero gives all ones (remainder: the dividend), overflow gives the dividend (remainder: 0); chapter 13.2. */
function divide(
  wide: boolean,
  kind: 'div' | 'divu' | 'rem' | 'remu',
): (a: Expr, b: Expr, s: Operands) => Expr {
  const ops = wide ? i64 : i32
  const remainder = kind === 'rem' || kind === 'remu'
  return (x, y, s) => {
    const f = s.f
    const a = f.keep(wide ? x : i32.wrap(x))
    const b = f.keep(wide ? y : i32.wrap(y))
    const result = f.temp(ops === i64 ? 'i64' : 'i32')
    f.if(
      ops.eqz(b.get),
      () => f.set(result, remainder ? a.get : ops.const(-1)),
      () => {
        if (kind === 'divu') f.set(result, ops.divU(a.get, b.get))
        else if (kind === 'remu') f.set(result, ops.remU(a.get, b.get))
        // Wasm's rem_s defines the overflow case as 0; div_s traps, so a divisor of -1 is negation.
        else if (kind === 'rem') f.set(result, ops.remS(a.get, b.get))
        else
          f.if(
            ops.eq(b.get, ops.const(-1)),
            () => f.set(result, ops.sub(ops.const(0), a.get)),
            () => f.set(result, ops.divS(a.get, b.get)),
            'unlikely',
          )
      },
      'unlikely',
    )
    return wide ? result.get : i64.extendS(result.get)
  }
}

// Shifts need no masking: Wasm's 64-bit shifts use the low six bits of the amount, its 32-bit ones the low five, as RISC-V's do.
export const integerInstructions: readonly Instruction[] = [
  instruction('lui', OP_MASK, 0x37, 'U', [], (s) => s.setRd(s.imm())),
  instruction('auipc', OP_MASK, 0x17, 'U', [], (s) => s.setRd(i64.add(s.pc(), s.imm()))),
  instruction('jal', OP_MASK, 0x6f, 'J', ['flow'], (s) => {
    s.setRd(s.nextPc())
    s.jump(i64.add(s.pc(), s.imm()))
  }),
  instruction('jalr', F3_MASK, 0x67, 'I', ['flow'], (s) => {
    // rd may be rs1: the target is taken first.
    const target = s.f.keep(i64.and(i64.add(s.rs1(), s.imm()), i64.const(-2)))
    s.setRd(s.nextPc())
    s.jump(target.get)
  }),
  branchOp('beq', 0, i64.eq),
  branchOp('bne', 1, i64.ne),
  branchOp('blt', 4, i64.ltS),
  branchOp('bge', 5, i64.geS),
  branchOp('bltu', 6, i64.ltU),
  branchOp('bgeu', 7, i64.geU),
  loadOp('lb', 0, 'i8'),
  loadOp('lh', 1, 'i16'),
  loadOp('lw', 2, 'i32'),
  loadOp('ld', 3, 'i64'),
  loadOp('lbu', 4, 'u8'),
  loadOp('lhu', 5, 'u16'),
  loadOp('lwu', 6, 'u32'),
  storeOp('sb', 0, 8),
  storeOp('sh', 1, 16),
  storeOp('sw', 2, 32),
  storeOp('sd', 3, 64),
  immediateOp('addi', 0x13, 0, i64.add),
  immediateOp('slti', 0x13, 2, bool(i64.ltS)),
  immediateOp('sltiu', 0x13, 3, bool(i64.ltU)),
  immediateOp('xori', 0x13, 4, i64.xor),
  immediateOp('ori', 0x13, 6, i64.or),
  immediateOp('andi', 0x13, 7, i64.and),
  shiftOp('slli', 0x13, 1, 0x00, i64.shl),
  shiftOp('srli', 0x13, 5, 0x00, i64.shrU),
  shiftOp('srai', 0x13, 5, 0x20, i64.shrS),
  immediateOp('addiw', 0x1b, 0, word(i32.add)),
  shiftOp('slliw', 0x1b, 1, 0x00, word(i32.shl)),
  shiftOp('srliw', 0x1b, 5, 0x00, word(i32.shrU)),
  shiftOp('sraiw', 0x1b, 5, 0x20, word(i32.shrS)),
  registerOp('add', 0x33, 0, 0x00, i64.add),
  registerOp('sub', 0x33, 0, 0x20, i64.sub),
  registerOp('sll', 0x33, 1, 0x00, i64.shl),
  registerOp('slt', 0x33, 2, 0x00, bool(i64.ltS)),
  registerOp('sltu', 0x33, 3, 0x00, bool(i64.ltU)),
  registerOp('xor', 0x33, 4, 0x00, i64.xor),
  registerOp('srl', 0x33, 5, 0x00, i64.shrU),
  registerOp('sra', 0x33, 5, 0x20, i64.shrS),
  registerOp('or', 0x33, 6, 0x00, i64.or),
  registerOp('and', 0x33, 7, 0x00, i64.and),
  registerOp('addw', 0x3b, 0, 0x00, word(i32.add)),
  registerOp('subw', 0x3b, 0, 0x20, word(i32.sub)),
  registerOp('sllw', 0x3b, 1, 0x00, word(i32.shl)),
  registerOp('srlw', 0x3b, 5, 0x00, word(i32.shrU)),
  registerOp('sraw', 0x3b, 5, 0x20, word(i32.shrS)),

  registerOp('mul', 0x33, 0, 0x01, i64.mul),
  registerOp('mulh', 0x33, 1, 0x01, (a, b, s) => mulhSigned(s, a, b, true)),
  registerOp('mulhsu', 0x33, 2, 0x01, (a, b, s) => mulhSigned(s, a, b, false)),
  registerOp('mulhu', 0x33, 3, 0x01, (a, b, s) => mulhu(s, a, b)),
  registerOp('div', 0x33, 4, 0x01, divide(true, 'div')),
  registerOp('divu', 0x33, 5, 0x01, divide(true, 'divu')),
  registerOp('rem', 0x33, 6, 0x01, divide(true, 'rem')),
  registerOp('remu', 0x33, 7, 0x01, divide(true, 'remu')),
  registerOp('mulw', 0x3b, 0, 0x01, word(i32.mul)),
  registerOp('divw', 0x3b, 4, 0x01, divide(false, 'div')),
  registerOp('divuw', 0x3b, 5, 0x01, divide(false, 'divu')),
  registerOp('remw', 0x3b, 6, 0x01, divide(false, 'rem')),
  registerOp('remuw', 0x3b, 7, 0x01, divide(false, 'remu')),

  registerOp('czero.eqz', 0x33, 5, 0x07, (a, b) => select(i64.eqz(b), i64.const(0), a)),
  registerOp('czero.nez', 0x33, 7, 0x07, (a, b) => select(i64.eqz(b), a, i64.const(0))),

  // One hart at a time touches memory, in program order, and fetches see every store: both fences have nothing to do.
  instruction('fence', F3_MASK, 0x0f, 'none', [], () => undefined),
  instruction('fence.i', F3_MASK, 0x100f, 'none', [], () => undefined),
  // Zawrs: whoever waits for a store may go on at any time, and nobody else stores while this hart runs.
  instruction('wrs.nto', -1, 0x00d00073, 'none', [], () => undefined),
  instruction('wrs.sto', -1, 0x01d00073, 'none', [], () => undefined),

  // Zicboz and Zicbom.
  instruction('cbo.zero', BLOCK_MASK, 0x0040200f, 'none', ['memory'], (s) => s.zeroBlock(s.rs1())),
  systemOp('cbo.inval', BLOCK_MASK, 0x0000200f, 'none'),
  systemOp('cbo.clean', BLOCK_MASK, 0x0010200f, 'none'),
  systemOp('cbo.flush', BLOCK_MASK, 0x0020200f, 'none'),

  systemOp('ecall', -1, 0x00000073, 'none'),
  systemOp('ebreak', -1, 0x00100073, 'none'),
  systemOp('sret', -1, 0x10200073, 'none'),
  systemOp('mret', -1, 0x30200073, 'none'),
  systemOp('wfi', -1, 0x10500073, 'none'),
  systemOp('sfence.vma', 0xfe007fff, 0x12000073, 'none'),
  systemOp('csrrw', F3_MASK, 0x1073, 'none'),
  systemOp('csrrs', F3_MASK, 0x2073, 'none'),
  systemOp('csrrc', F3_MASK, 0x3073, 'none'),
  systemOp('csrrwi', F3_MASK, 0x5073, 'zimm'),
  systemOp('csrrsi', F3_MASK, 0x6073, 'zimm'),
  systemOp('csrrci', F3_MASK, 0x7073, 'zimm'),
]

function amoOp(name: string, funct5: number, change: (old: Expr, operand: Expr) => Expr): Instruction[] {
  const of = (width: 32 | 64): Instruction =>
    instruction(
      `${name}.${width === 32 ? 'w' : 'd'}`,
      0xf800707f,
      0x2f | ((width === 32 ? 2 : 3) << 12) | (funct5 << 27),
      'none',
      ['memory'],
      (s) => {
        const operand = s.f.keep(width === 32 ? i64.extend32S(s.rs2()) : s.rs2())
        s.setRd(s.atomic(width, s.rs1(), (old) => change(old, operand.get)))
      },
    )
  return [of(32), of(64)]
}

function pick(compare: (a: Expr, b: Expr) => Expr): (old: Expr, operand: Expr) => Expr {
  return (old, operand) => select(compare(old, operand), old, operand)
}

/** The A extension. Acquire and release bits have no effect: memory is sequentially consistent. */
export const atomicInstructions: readonly Instruction[] = [
  ...([32, 64] as const).flatMap((width) => {
    const suffix = width === 32 ? 'w' : 'd'
    const funct3 = (width === 32 ? 2 : 3) << 12
    return [
      instruction(`lr.${suffix}`, 0xf9f0707f, 0x2f | funct3 | (0x02 << 27), 'none', ['memory'], (s) =>
        s.setRd(s.loadReserved(width, s.rs1())),
      ),
      instruction(`sc.${suffix}`, 0xf800707f, 0x2f | funct3 | (0x03 << 27), 'none', ['memory'], (s) =>
        s.setRd(s.storeConditional(width, s.rs1(), s.rs2())),
      ),
    ]
  }),
  ...amoOp('amoswap', 0x01, (_old, operand) => operand),
  ...amoOp('amoadd', 0x00, i64.add),
  ...amoOp('amoxor', 0x04, i64.xor),
  ...amoOp('amoand', 0x0c, i64.and),
  ...amoOp('amoor', 0x08, i64.or),
  // Word operands are sign-extended on both sides, which keeps the order of unsigned words too.
  ...amoOp('amomin', 0x10, pick(i64.ltS)),
  ...amoOp('amomax', 0x14, pick(i64.gtS)),
  ...amoOp('amominu', 0x18, pick(i64.ltU)),
  ...amoOp('amomaxu', 0x1c, pick(i64.gtU)),
]
