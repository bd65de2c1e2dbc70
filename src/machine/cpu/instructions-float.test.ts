import { describe, expect, it } from 'vitest'
import { hostFmaIsFused } from './fp/host-fma.ts'
import { type FloatUnit, floatUnit } from './fp/single-instruction.ts'
import { floatInstructions, floatInstructionsFor } from './instructions-float.ts'
import type { State } from './isa-test/cases.ts'
import { floatReference } from './isa-test/cases-float.ts'
import { encode, formOf, MNEMONICS, type Mnemonic } from './isa-test/instructions.ts'
import { nastyDouble, nastyFloat, nastyInteger, nastySingle, Random } from './isa-test/random.ts'

/** A new seed each run, unless one is given to reproduce a failure. */
const seed = Number(process.env.FLOAT_TEST_SEED ?? Date.now() % 0x1_0000_0000)
console.log(`FLOAT_TEST_SEED=${seed}`)

const NX = 1
/** For each instruction and each of the six ways to say the rounding mode: about 250,000 cases in all. */
const CASES = Number(process.env.FLOAT_TEST_CASES ?? 700)

interface Layout {
  readonly fractionBits: number
  readonly exponentBits: number
}
const layouts: Readonly<Record<'s' | 'd', Layout>> = {
  s: { fractionBits: 23, exponentBits: 8 },
  d: { fractionBits: 52, exponentBits: 11 },
}

function compose(
  random: Random,
  { fractionBits, exponentBits }: Layout,
  exponent: number,
  from: bigint,
): bigint {
  const ones = 2 ** exponentBits - 1
  const field = BigInt(Math.min(Math.max(exponent, 0), ones - 1))
  const sign = random.chance(50) ? 1n << BigInt(fractionBits + exponentBits) : 0n
  return sign | (field << BigInt(fractionBits)) | BigInt.asUintN(fractionBits, from)
}

/** Values whose sum, product or quotient lands where rounding is hard: near a tie, a cancellation, the ends of the range. */
function relatedOperands(random: Random, kind: 's' | 'd'): readonly [bigint, bigint, bigint] {
  const layout = layouts[kind]
  const { fractionBits, exponentBits } = layout
  const nasty = kind === 's' ? nastySingle : nastyDouble
  const exponentOf = (bits: bigint) =>
    Number((bits >> BigInt(fractionBits)) & ((1n << BigInt(exponentBits)) - 1n))
  const width = fractionBits + exponentBits + 1
  const bias = 2 ** (exponentBits - 1) - 1
  const near = (bits: bigint) => {
    const moved = BigInt.asUintN(width, bits + BigInt(random.between(-2, 2)))
    return random.chance(50) ? moved ^ (1n << BigInt(width - 1)) : moved
  }
  const a = nasty(random)
  const x = exponentOf(a)
  switch (random.below(6)) {
    case 0: {
      // Cancellation: the second near the first, the third near minus the product.
      const b = near(a)
      return [a, b, near(productOf(kind, a, b))]
    }
    case 1: {
      // A product at an end of the range, and an addend beside it.
      const end = random.chance(70) ? random.between(-fractionBits - 2, 2) : 2 * bias + random.between(-1, 2)
      const b = compose(random, layout, end - x + bias, nasty(random))
      return [a, b, compose(random, layout, end + random.between(-3, 3), nasty(random))]
    }
    case 2: {
      // A quotient at an end of the range.
      const end = random.chance(70) ? random.between(-fractionBits - 2, 2) : 2 * bias + random.between(-1, 2)
      return [a, compose(random, layout, x - end + bias, nasty(random)), nasty(random)]
    }
    case 3: {
      // Addends as far apart as the significand is long.
      const b = compose(
        random,
        layout,
        x + random.between(-fractionBits - 4, fractionBits + 4),
        nasty(random),
      )
      const product = exponentOf(productOf(kind, a, b))
      const apart = random.between(-2 * fractionBits - 6, 2 * fractionBits + 6)
      return [a, b, compose(random, layout, product + apart, nasty(random))]
    }
    case 4: {
      // A product just below or above half a last place of the addend: rounding twice goes wrong here.
      const exponent = random.between(bias - 20, bias + 20)
      const steps = BigInt(random.between(0, 3))
      const aboveOne = compose(random, layout, exponent, steps)
      const belowOne = compose(
        random,
        layout,
        random.pick([bias - 1, bias]),
        random.chance(80) ? -steps : steps,
      )
      const places = fractionBits + 1 + exponentOf(belowOne) + 1 - bias
      return [aboveOne, belowOne, compose(random, layout, exponent + places, random.u64())]
    }
    default: {
      const b = nasty(random)
      return [a, b, near(productOf(kind, a, b))]
    }
  }
}

const words = new DataView(new ArrayBuffer(8))
function productOf(kind: 's' | 'd', a: bigint, b: bigint): bigint {
  const number = (bits: bigint) => {
    words.setBigUint64(0, kind === 's' ? bits << 32n : bits)
    return kind === 's' ? words.getFloat32(0) : words.getFloat64(0)
  }
  const product = number(a) * number(b)
  if (kind === 'd') words.setFloat64(0, product)
  else words.setFloat32(0, product)
  return kind === 's' ? BigInt(words.getUint32(0)) : words.getBigUint64(0)
}

/** Singles lie boxed in registers, but not always. */
function registers(random: Random, kind: 's' | 'd'): readonly bigint[] {
  if (random.chance(30)) return [nastyFloat(random), nastyFloat(random), nastyFloat(random)]
  const operands = relatedOperands(random, kind)
  return kind === 's' ? operands.map((bits) => bits | (0xffff_ffffn << 32n)) : operands
}

/** Integers on the edges of 32 and 64 bits, as the float that is nearest to them. */
function registerNearInteger(random: Random, kind: 's' | 'd'): bigint {
  const value = Number(BigInt.asIntN(64, nastyInteger(random))) + random.pick([-0.5, 0, 0, 0.5, 0.25])
  if (kind === 'd') words.setFloat64(0, value)
  else words.setFloat32(0, value)
  return kind === 'd' ? words.getBigUint64(0) : (0xffff_ffffn << 32n) | BigInt(words.getUint32(0))
}

const hex = (bits: bigint) => `0x${bits.toString(16).padStart(16, '0')}`

function check(
  unit: FloatUnit,
  mnemonic: Mnemonic,
  staticRounding: number | undefined,
  random: Random,
): void {
  const reference = floatReference(mnemonic)
  if (reference === null) throw new Error(`no reference for ${mnemonic}`)
  const operation = unit.operation(mnemonic)
  const toInteger = /^fcvt\.[wl]u?\./.test(mnemonic)
  const kind = mnemonic.endsWith('.s') || mnemonic === 'fcvt.d.s' ? 's' : 'd'
  for (let n = 0; n < CASES; n++) {
    const rounding = staticRounding ?? random.below(5)
    const [a, b, c] = registers(random, kind)
    const fs1 = toInteger && random.chance(50) ? registerNearInteger(random, kind) : a
    const rs1 = nastyInteger(random)
    const before = random.pick([0, NX, random.below(32)])
    const state: State = {
      x10: 0n,
      x11: rs1,
      x12: 0n,
      f10: 0n,
      f11: fs1,
      f12: b,
      f13: c,
      fcsr: 0,
      memory: new Uint8Array(0),
    }
    const right: { readonly bits: bigint; readonly flags: number } = reference(state, rounding)
    unit.setFlags(before)
    const bits = operation(fs1, b, c, rs1, rounding)
    const flags = unit.flags()
    if (bits !== right.bits || flags !== (before | right.flags)) {
      expect.fail(
        `${mnemonic} ${[fs1, b, c, rs1].map(hex).join(' ')} mode ${rounding}, flags ${before} before: ` +
          `${hex(bits)} flags ${flags}, but ${hex(right.bits)} flags ${before | right.flags} is right (seed ${seed})`,
      )
    }
  }
}

const arithmetic = floatInstructions.filter(({ uses }) => !uses.includes('memory'))

describe.each([
  ['with the software FMA', false],
  ['with the host FMA', true],
])('F and D %s', (_, useHostFma) => {
  const available = !useHostFma || hostFmaIsFused()
  const table = floatInstructionsFor(useHostFma)
  it.skipIf(!available).each([undefined, 0, 1, 2, 3, 4])(
    'agree with exact arithmetic, rounding mode %s',
    (mode) => {
      const unit = floatUnit(table, mode)
      const random = new Random(seed + (mode ?? 5))
      for (const { name } of arithmetic) {
        const dependsOnHostFma = /^fn?m(add|sub)\.[sd]$/.test(name)
        if (!useHostFma || dependsOnHostFma) check(unit, name as Mnemonic, mode, random)
      }
    },
  )
})

describe('the table', () => {
  const mnemonics: readonly Mnemonic[] = MNEMONICS.filter(
    (m) => ['F', 'D'].includes(formOf(m).extension) && formOf(m).bytes === 4,
  )

  it('has every instruction of F and D, and no other', () => {
    expect(floatInstructions.map(({ name }) => name).sort()).toEqual([...mnemonics].sort())
  })

  it('recognises exactly the words that the assembler makes of each instruction', () => {
    const random = new Random(seed)
    for (const mnemonic of mnemonics) {
      const { fields } = formOf(mnemonic)
      for (let n = 0; n < 50; n++) {
        const operands = fields.map((field) => (field === 'rm' ? random.below(5) : random.below(32)))
        const word = encode(mnemonic, ...operands)
        const matches = floatInstructions.filter(({ mask, match }) => (word & mask) === match)
        expect(matches.map(({ name }) => name)).toEqual([mnemonic])
      }
    }
  })

  it('never claims a word twice', () => {
    for (const one of floatInstructions) {
      expect(one.match & ~one.mask).toBe(0)
      for (const other of floatInstructions) {
        if (one !== other) expect((one.match ^ other.match) & one.mask & other.mask).not.toBe(0)
      }
    }
  })

  it('leaves the rounding mode out of the mask exactly where it is used', () => {
    for (const { name, mask, uses } of floatInstructions) {
      const selectsByFunct3 = (mask & (7 << 12)) !== 0
      expect(uses.includes('rounding'), name).toBe(!selectsByFunct3)
    }
  })
})
