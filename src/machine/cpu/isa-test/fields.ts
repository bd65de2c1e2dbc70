/**
 * Operand fields of RISC-V instructions: where each operand's bits lie and which values it can hold.
 *
 * Immediates are scattered over an instruction. A scatter is written the way the manual draws it: at an
 * instruction bit, going down, the immediate's bits that stand there (`[12, 5, 4, 3]`: instruction bit 12 holds
 * immediate bit 5, bit 11 holds bit 4, bit 10 holds bit 3).
 */

/** How an operand is read by people and by the generators: a register of a file, or a number. */
export type OperandKind = 'x' | 'f' | 'immediate' | 'target' | 'csr' | 'rounding' | 'ordering'

export interface Field {
  readonly kind: OperandKind
  /** The operand's bits in place. Throws a RangeError when the value does not fit. */
  encode(value: number): number
  /** Smallest and largest value, and the step between values; for the generators. */
  readonly min: number
  readonly max: number
  readonly step: number
  /** Values the encoding reserves although they are in range. */
  readonly reserved: readonly number[]
}

function field(
  kind: OperandKind,
  min: number,
  max: number,
  step: number,
  place: (value: number) => number,
  reserved: readonly number[] = [],
): Field {
  return {
    kind,
    min,
    max,
    step,
    reserved,
    encode(value) {
      if (
        !Number.isInteger(value) ||
        value < min ||
        value > max ||
        (value - min) % step !== 0 ||
        reserved.includes(value)
      ) {
        throw new RangeError(`operand ${value} does not fit ${kind} ${min}..${max} step ${step}`)
      }
      return place(value)
    },
  }
}

function scatter(...runs: readonly (readonly number[])[]): (value: number) => number {
  return (value) => {
    let bits = 0
    for (const [top, ...immediateBits] of runs) {
      immediateBits.forEach((immediateBit, i) => {
        bits |= ((value >> immediateBit) & 1) << (top! - i)
      })
    }
    return bits >>> 0
  }
}

const at = (bit: number) => (value: number) => (value << bit) >>> 0
const register = (kind: 'x' | 'f', bit: number, reserved: readonly number[] = []) =>
  field(kind, 0, 31, 1, at(bit), reserved)
/** The eight registers x8-x15 or f8-f15 that most compressed instructions can name. */
const popular = (kind: 'x' | 'f', bit: number) => field(kind, 8, 15, 1, (value) => (value - 8) << bit)

/** Rounding modes 5 and 6 are reserved; tests of the illegal-instruction trap encode them by hand. */
const RESERVED_ROUNDING = [5, 6]

export const FIELDS = {
  rd: register('x', 7),
  rs1: register('x', 15),
  rs2: register('x', 20),
  frd: register('f', 7),
  frs1: register('f', 15),
  frs2: register('f', 20),
  frs3: register('f', 27),
  rm: field('rounding', 0, 7, 1, at(12), RESERVED_ROUNDING),
  aqrl: field('ordering', 0, 3, 1, at(25)),
  imm12: field('immediate', -2048, 2047, 1, (value) => ((value & 0xfff) << 20) >>> 0),
  store12: field('immediate', -2048, 2047, 1, scatter([31, 11, 10, 9, 8, 7, 6, 5], [11, 4, 3, 2, 1, 0])),
  branch: field('target', -4096, 4094, 2, scatter([31, 12, 10, 9, 8, 7, 6, 5], [11, 4, 3, 2, 1, 11])),
  jump: field(
    'target',
    -1048576,
    1048574,
    2,
    scatter([31, 20, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 11, 19, 18, 17, 16, 15, 14, 13, 12]),
  ),
  /** The upper 20 bits as they stand in the instruction. */
  upper20: field('immediate', 0, 0xfffff, 1, at(12)),
  shamt5: field('immediate', 0, 31, 1, at(20)),
  shamt6: field('immediate', 0, 63, 1, at(20)),
  csr: field('csr', 0, 4095, 1, at(20)),
  zimm: field('immediate', 0, 31, 1, at(15)),
  /** Predecessor and successor sets of FENCE, four bits each. */
  fenceSets: field('immediate', 0, 255, 1, at(20)),

  // Compressed instructions, named by where the register stands.
  crd: register('x', 7),
  crdNotZero: register('x', 7, [0]),
  crdNotZeroNorSp: register('x', 7, [0, 2]),
  crs2: register('x', 2),
  crs2NotZero: register('x', 2, [0]),
  cfrd: register('f', 7),
  cfrs2: register('f', 2),
  crdLow: popular('x', 2),
  crdHigh: popular('x', 7),
  cfrdLow: popular('f', 2),
  cimm6: field('immediate', -32, 31, 1, scatter([12, 5], [6, 4, 3, 2, 1, 0])),
  cimm6NotZero: field('immediate', -32, 31, 1, scatter([12, 5], [6, 4, 3, 2, 1, 0]), [0]),
  cshamt: field('immediate', 1, 63, 1, scatter([12, 5], [6, 4, 3, 2, 1, 0])),
  clui: field('immediate', -32, 31, 1, scatter([12, 5], [6, 4, 3, 2, 1, 0]), [0]),
  caddi4spn: field('immediate', 4, 1020, 4, scatter([12, 5, 4, 9, 8, 7, 6, 2, 3])),
  caddi16sp: field('immediate', -512, 496, 16, scatter([12, 9], [6, 4, 6, 8, 7, 5]), [0]),
  cword: field('immediate', 0, 124, 4, scatter([12, 5, 4, 3], [6, 2, 6])),
  cdouble: field('immediate', 0, 248, 8, scatter([12, 5, 4, 3], [6, 7, 6])),
  clwsp: field('immediate', 0, 252, 4, scatter([12, 5], [6, 4, 3, 2, 7, 6])),
  cldsp: field('immediate', 0, 504, 8, scatter([12, 5], [6, 4, 3, 8, 7, 6])),
  cswsp: field('immediate', 0, 252, 4, scatter([12, 5, 4, 3, 2, 7, 6])),
  csdsp: field('immediate', 0, 504, 8, scatter([12, 5, 4, 3, 8, 7, 6])),
  cbranch: field('target', -256, 254, 2, scatter([12, 8, 4, 3], [6, 7, 6, 2, 1, 5])),
  cjump: field('target', -2048, 2046, 2, scatter([12, 11, 4, 9, 8, 10, 6, 7, 3, 2, 1, 5])),
} as const satisfies Record<string, Field>

export type FieldName = keyof typeof FIELDS
