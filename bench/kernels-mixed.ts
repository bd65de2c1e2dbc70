/** A byte-code interpreter, whose every step is an indirect jump, and a matrix product in double precision. */
import type { Assembler } from '../src/machine/cpu/isa-test/assembler.ts'
import { type Kernel, reg, ret, room } from './bare-program.ts'

const { a0, a1, a2, a3, a4, a5, a6, a7, t0, t1, t2, t3, t4, t5, t6 } = reg

/** The interpreted machine: sixteen 64-bit registers, four bytes an instruction: operation, target, two operands. */
const OPERATIONS = ['halt', 'load', 'add', 'sub', 'mul', 'xor', 'shift', 'jump-if'] as const
type Operation = (typeof OPERATIONS)[number]
type Step = readonly [operation: Operation, target: number, left: number, right: number]

const TURNS = 250
/** Two nested loops over some arithmetic. `jump-if r, back`: so many steps back unless the register is zero. */
const PROGRAM: readonly Step[] = [
  ['load', 1, TURNS, 0],
  ['load', 2, 1, 0],
  ['load', 3, 0, 0],
  ['load', 4, 7, 0],
  ['load', 5, TURNS, 0],
  ['add', 3, 3, 5],
  ['mul', 3, 3, 4],
  ['xor', 3, 3, 1],
  ['shift', 6, 3, 9],
  ['add', 3, 3, 6],
  ['sub', 5, 5, 2],
  ['jump-if', 5, 6, 0],
  ['sub', 1, 1, 2],
  ['jump-if', 1, 9, 0],
  ['halt', 3, 0, 0],
]

/** What the program computes, told in TypeScript. */
function interpret(): bigint {
  const r = new BigUint64Array(16)
  for (let pc = 0; ; pc++) {
    const [operation, target, left, right] = PROGRAM[pc]
    if (operation === 'halt') return BigInt.asIntN(64, r[target])
    if (operation === 'load') r[target] = BigInt(left)
    if (operation === 'add') r[target] = r[left] + r[right]
    if (operation === 'sub') r[target] = r[left] - r[right]
    if (operation === 'mul') r[target] = r[left] * r[right]
    if (operation === 'xor') r[target] = r[left] ^ r[right]
    if (operation === 'shift') r[target] = r[left] >> BigInt(right)
    if (operation === 'jump-if' && r[target] !== 0n) pc -= left + 1
  }
}

const bytecode: Kernel = {
  name: 'bytecode',
  isInteger: true,
  work: 'interprets a small program through a jump table: an indirect jump a step',
  expected: interpret(),
  emit(asm) {
    const [program, table, registers] = [asm.label('program'), asm.label('table'), asm.label('registers')]
    const dispatch = asm.label('dispatch')
    asm.loadAddress(a1, program)
    asm.loadAddress(a2, table)
    asm.loadAddress(a3, registers)
    asm.bind(dispatch)
    asm.emit('lbu', t0, a1, 0)
    asm.emit('lbu', a4, a1, 1)
    asm.emit('lbu', a5, a1, 2)
    asm.emit('lbu', a6, a1, 3)
    asm.emit('addi', a1, a1, 4)
    asm.emit('sh3add', t0, t0, a2)
    asm.emit('ld', t0, t0, 0)
    asm.emit('sh3add', a4, a4, a3)
    asm.emit('jalr', 0, t0, 0)
    const handlers = OPERATIONS.map((operation) => {
      const handler = asm.here(operation)
      emitOperation(asm, operation)
      if (operation !== 'halt') asm.emitTo(dispatch, 'jal', 0)
      return handler
    })
    asm.align(64)
    asm.bind(table)
    for (const handler of handlers) asm.double(BigInt(asm.addressOf(handler)))
    asm.bind(program)
    for (const [operation, ...operands] of PROGRAM) {
      asm.bytes(Uint8Array.of(OPERATIONS.indexOf(operation), ...operands))
    }
    room(asm, registers, 16 * 8)
  },
}

/** a4 is the address of the target register, a5 and a6 are the operands' numbers. */
function emitOperation(asm: Assembler, operation: Operation): void {
  const loadOperand = (rd: number, number: number) => {
    asm.emit('sh3add', rd, number, a3)
    asm.emit('ld', rd, rd, 0)
  }
  const arithmetic = (mnemonic: 'add' | 'sub' | 'mul' | 'xor') => {
    loadOperand(t1, a5)
    loadOperand(t2, a6)
    asm.emit(mnemonic, t1, t1, t2)
    asm.emit('sd', t1, a4, 0)
  }
  switch (operation) {
    case 'halt':
      asm.emit('ld', a0, a4, 0)
      ret(asm)
      return
    case 'load':
      asm.emit('sd', a5, a4, 0)
      return
    case 'shift':
      loadOperand(t1, a5)
      asm.emit('srl', t1, t1, a6)
      asm.emit('sd', t1, a4, 0)
      return
    case 'jump-if': {
      const zero = asm.label()
      asm.emit('ld', t1, a4, 0)
      asm.emitTo(zero, 'beq', t1, 0)
      asm.emit('slli', a5, a5, 2)
      asm.emit('sub', a1, a1, a5)
      // The program counter stands at the next step already.
      asm.emit('addi', a1, a1, -4)
      asm.bind(zero)
      return
    }
    default:
      arithmetic(operation)
  }
}

const MATRIX_ROWS = 48
const ROW_BYTES = MATRIX_ROWS * 8
/** Multiples of 1/16 that are small: products and sums are exact, so the order of additions makes no difference. */
const left = matrix((row, column) => (((row * 7 + column * 13) % 31) - 15) / 16)
const right = matrix((row, column) => (((row * 11 + column * 5) % 29) - 14) / 16)

function matrix(at: (row: number, column: number) => number): Float64Array {
  return Float64Array.from({ length: MATRIX_ROWS ** 2 }, (_, i) =>
    at(Math.floor(i / MATRIX_ROWS), i % MATRIX_ROWS),
  )
}

/** The sum of the product's entries, each weighted with its row and column, in units of 1/256. */
function weightedSum(): bigint {
  let sum = 0
  for (let row = 0; row < MATRIX_ROWS; row++) {
    for (let column = 0; column < MATRIX_ROWS; column++) {
      let entry = 0
      for (let k = 0; k < MATRIX_ROWS; k++)
        entry += left[row * MATRIX_ROWS + k] * right[k * MATRIX_ROWS + column]
      sum += entry * 256 * (row * MATRIX_ROWS + column + 1)
    }
  }
  return BigInt(sum)
}

const DYNAMIC = 7
const TOWARDS_ZERO = 1
const [f0, f1, f2, f3] = [0, 1, 2, 3]

const matmul: Kernel = {
  name: 'matmul',
  isInteger: false,
  work: `product of two ${MATRIX_ROWS}x${MATRIX_ROWS} matrices of doubles, fused multiply-add`,
  expected: weightedSum(),
  emit(asm) {
    const [a, b] = [asm.label('a'), asm.label('b')]
    // 1/3 raises the inexact flag, as every real program has done long before it multiplies matrices.
    asm.li(t0, 3)
    asm.emit('fcvt.d.l', f0, t0, DYNAMIC)
    asm.li(t0, 1)
    asm.emit('fcvt.d.l', f1, t0, DYNAMIC)
    asm.emit('fdiv.d', f0, f1, f0, DYNAMIC)
    asm.li(a0, 0)
    asm.li(a7, 0)
    asm.loadAddress(a1, a)
    asm.li(t5, MATRIX_ROWS)
    const row = asm.here('row')
    asm.loadAddress(a2, b)
    asm.li(t6, MATRIX_ROWS)
    const column = asm.here('column')
    asm.emit('addi', a3, a1, 0)
    asm.emit('addi', a4, a2, 0)
    asm.emit('addi', t4, a1, ROW_BYTES)
    asm.emit('fmv.d.x', f3, 0)
    const next = asm.here('next')
    asm.emit('fld', f1, a3, 0)
    asm.emit('fld', f2, a4, 0)
    asm.emit('addi', a3, a3, 8)
    asm.emit('fmadd.d', f3, f1, f2, f3, DYNAMIC)
    asm.emit('addi', a4, a4, ROW_BYTES)
    asm.emitTo(next, 'bne', a3, t4)
    asm.li(t3, 256)
    asm.emit('fcvt.d.l', f1, t3, DYNAMIC)
    asm.emit('fmul.d', f3, f3, f1, DYNAMIC)
    asm.emit('fcvt.l.d', t3, f3, TOWARDS_ZERO)
    asm.emit('addi', a7, a7, 1)
    asm.emit('mul', t3, t3, a7)
    asm.emit('add', a0, a0, t3)
    asm.emit('addi', a2, a2, 8)
    asm.emit('addi', t6, t6, -1)
    asm.emitTo(column, 'bne', t6, 0)
    asm.emit('addi', a1, a1, ROW_BYTES)
    asm.emit('addi', t5, t5, -1)
    asm.emitTo(row, 'bne', t5, 0)
    ret(asm)
    asm.align(64)
    asm.bind(a)
    asm.bytes(new Uint8Array(left.buffer))
    asm.bind(b)
    asm.bytes(new Uint8Array(right.buffer))
  },
}

export const MIXED_KERNELS: readonly Kernel[] = [bytecode, matmul]
