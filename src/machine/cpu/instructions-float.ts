/** The instructions of RV64F and RV64D (The RISC-V Instruction Set Manual, Volume I, 20 and 21, and the RV32/64G listings for the encodings). */
import { F32, F64, type Format } from './fp/format.ts'
import {
  arithmetic,
  classify,
  compare,
  doubleToSingle,
  extremum,
  fromInteger,
  fused,
  type IntegerType,
  injectSign,
  loadDouble,
  loadSingle,
  moveDoubleToInteger,
  moveIntegerToDouble,
  moveIntegerToSingle,
  moveSingleToInteger,
  singleToDouble,
  squareRoot,
  storeDouble,
  storeSingle,
  toInteger,
} from './instructions-float-meanings.ts'
import type { Instruction, Meaning } from './semantics.ts'

const LOAD_FP = 0x07
const STORE_FP = 0x27
const OP_FP = 0x53

/** The masks of the fields that select an instruction. Masks and matches are signed 32-bit numbers, as `&` gives. */
const OPCODE = 0x7f
const FUNCT3 = 7 << 12
const RS2 = 31 << 20
const FUNCT7 = 0x7f << 25
const FMT = 3 << 25

function encoding(funct7: number, rs2: number, funct3: number): number {
  return (funct7 << 25) | (rs2 << 20) | (funct3 << 12) | OP_FP
}

/** An instruction with an rm field. */
function roundingOp(name: string, funct7: number, rs2: number | 'any', meaning: Meaning): Instruction {
  const mask = FUNCT7 | OPCODE | (rs2 === 'any' ? 0 : RS2)
  const match = encoding(funct7, rs2 === 'any' ? 0 : rs2, 0)
  return { name, mask, match, immediate: 'none', uses: ['float', 'rounding'], meaning }
}

/** An instruction whose funct3 selects it, with two operands. */
function plainOp(name: string, funct7: number, funct3: number, meaning: Meaning): Instruction {
  const mask = FUNCT7 | FUNCT3 | OPCODE
  return { name, mask, match: encoding(funct7, 0, funct3), immediate: 'none', uses: ['float'], meaning }
}

/** The same with one operand: rs2 is zero. */
function unaryOp(name: string, funct7: number, funct3: number, meaning: Meaning): Instruction {
  const instruction = plainOp(name, funct7, funct3, meaning)
  return { ...instruction, mask: instruction.mask | RS2 }
}

function fusedOp(name: string, opcode: number, fmt: number, meaning: Meaning): Instruction {
  const match = (fmt << 25) | opcode
  return { name, mask: FMT | OPCODE, match, immediate: 'none', uses: ['float', 'rounding'], meaning }
}

function access(
  name: string,
  opcode: number,
  funct3: number,
  immediate: 'I' | 'S',
  meaning: Meaning,
): Instruction {
  const match = (funct3 << 12) | opcode
  return { name, mask: FUNCT3 | OPCODE, match, immediate, uses: ['float', 'memory'], meaning }
}

const integerTypes: readonly IntegerType[] = ['w', 'wu', 'l', 'lu']

/** What exists in both formats: `fmt` is the format's number, in the low bits of funct7. */
function formatInstructions(of: Format, fmt: 0 | 1, hostFmaIsFused: boolean): Instruction[] {
  const suffix = of === F32 ? 's' : 'd'
  return [
    fusedOp(`fmadd.${suffix}`, 0x43, fmt, fused(of, false, false, hostFmaIsFused)),
    fusedOp(`fmsub.${suffix}`, 0x47, fmt, fused(of, false, true, hostFmaIsFused)),
    fusedOp(`fnmsub.${suffix}`, 0x4b, fmt, fused(of, true, false, hostFmaIsFused)),
    fusedOp(`fnmadd.${suffix}`, 0x4f, fmt, fused(of, true, true, hostFmaIsFused)),
    roundingOp(`fadd.${suffix}`, 0x00 | fmt, 'any', arithmetic(of, 'add')),
    roundingOp(`fsub.${suffix}`, 0x04 | fmt, 'any', arithmetic(of, 'sub')),
    roundingOp(`fmul.${suffix}`, 0x08 | fmt, 'any', arithmetic(of, 'mul')),
    roundingOp(`fdiv.${suffix}`, 0x0c | fmt, 'any', arithmetic(of, 'div')),
    roundingOp(`fsqrt.${suffix}`, 0x2c | fmt, 0, squareRoot(of)),
    plainOp(`fsgnj.${suffix}`, 0x10 | fmt, 0, injectSign(of, 'same')),
    plainOp(`fsgnjn.${suffix}`, 0x10 | fmt, 1, injectSign(of, 'opposite')),
    plainOp(`fsgnjx.${suffix}`, 0x10 | fmt, 2, injectSign(of, 'xor')),
    plainOp(`fmin.${suffix}`, 0x14 | fmt, 0, extremum(of, 'min')),
    plainOp(`fmax.${suffix}`, 0x14 | fmt, 1, extremum(of, 'max')),
    plainOp(`fle.${suffix}`, 0x50 | fmt, 0, compare(of, 'le')),
    plainOp(`flt.${suffix}`, 0x50 | fmt, 1, compare(of, 'lt')),
    plainOp(`feq.${suffix}`, 0x50 | fmt, 2, compare(of, 'eq')),
    unaryOp(`fclass.${suffix}`, 0x70 | fmt, 1, classify(of)),
    ...integerTypes.map((type, rs2) =>
      roundingOp(`fcvt.${type}.${suffix}`, 0x60 | fmt, rs2, toInteger(of, type)),
    ),
    ...integerTypes.map((type, rs2) =>
      roundingOp(`fcvt.${suffix}.${type}`, 0x68 | fmt, rs2, fromInteger(of, type)),
    ),
  ]
}

/**
 * All instructions of F and D. `hostFmaIsFused` (see `fp/host-fma.ts`) lets fused operations use
 * the host's instruction; the results are the same either way.
 */
export function floatInstructionsFor(hostFmaIsFused: boolean): readonly Instruction[] {
  return [
    access('flw', LOAD_FP, 2, 'I', loadSingle),
    access('fld', LOAD_FP, 3, 'I', loadDouble),
    access('fsw', STORE_FP, 2, 'S', storeSingle),
    access('fsd', STORE_FP, 3, 'S', storeDouble),
    ...formatInstructions(F32, 0, hostFmaIsFused),
    ...formatInstructions(F64, 1, hostFmaIsFused),
    roundingOp('fcvt.s.d', 0x20, 1, doubleToSingle),
    roundingOp('fcvt.d.s', 0x21, 0, singleToDouble),
    unaryOp('fmv.x.w', 0x70, 0, moveSingleToInteger),
    unaryOp('fmv.w.x', 0x78, 0, moveIntegerToSingle),
    unaryOp('fmv.x.d', 0x71, 0, moveDoubleToInteger),
    unaryOp('fmv.d.x', 0x79, 0, moveIntegerToDouble),
  ]
}

/** The instructions for a host of which nothing is known. */
export const floatInstructions: readonly Instruction[] = floatInstructionsFor(false)
