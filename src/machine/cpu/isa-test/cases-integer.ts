/** Cases of integer arithmetic, branches, jumps and their compressed forms. */
import type { CaseGroup, Instruction, State, Vector } from './cases.ts'
import { FIELDS, type FieldName } from './fields.ts'
import { formOf, MNEMONICS, type Mnemonic } from './instructions.ts'
import type { Random } from './random.ts'
import { BRANCH_REFERENCE, COMPRESSED_EXPANSION, INTEGER_REFERENCE } from './reference-integer.ts'
import { randomFor, randomState } from './vectors.ts'

/** The values paired with each other in every two-operand instruction. */
const PAIRED: readonly bigint[] = [
  0n,
  1n,
  2n,
  31n,
  63n,
  64n,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  0x1_0000_0000n,
  0x7fff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0xffff_ffff_8000_0000n,
  0xffff_ffff_ffff_ffffn,
  0x0123_4567_89ab_cdefn,
  0xfedc_ba98_7654_3210n,
]
const RANDOM_VECTORS = 60
const FEW_VECTORS = 24

const one = (mnemonic: Mnemonic, ...operands: number[]): Instruction => ({ mnemonic, operands })

function vectors(
  name: string,
  count: number,
  result: (before: State) => Partial<State>,
  adjust?: (state: State, random: Random) => State,
): Vector[] {
  const random = randomFor(name)
  return Array.from({ length: count }, () => {
    const state = randomState(random)
    const before = adjust === undefined ? state : adjust(state, random)
    return { before, changes: result(before) }
  })
}

function pairs(name: string, result: (before: State) => Partial<State>): Vector[] {
  const random = randomFor(name)
  return PAIRED.flatMap((x11) =>
    PAIRED.map((x12) => {
      const before = { ...randomState(random), x11, x12 }
      return { before, changes: result(before) }
    }),
  )
}

/** The smallest, the largest, and a few values between that an immediate can hold. */
function immediates(name: FieldName): number[] {
  const { min, max, step, reserved } = FIELDS[name]
  const wanted = [min, min + step, -step, 0, step, 2 * step, 31, 32, 33, max - step, max]
  return [...new Set(wanted)].filter(
    (v) => v >= min && v <= max && (v - min) % step === 0 && !(reserved as readonly number[]).includes(v),
  )
}

export function integerGroups(): CaseGroup[] {
  return [...arithmeticGroups(), ...upperGroups(), ...fenceGroups()]
}

function arithmeticGroups(): CaseGroup[] {
  return MNEMONICS.flatMap((mnemonic): CaseGroup[] => {
    const compute = INTEGER_REFERENCE[mnemonic]
    if (compute === undefined) return []
    const { fields } = formOf(mnemonic)
    const last = fields.at(-1)!
    if (last === 'rs2' || last === 'rs1') {
      const operands = (rd: number, rs1: number, rs2: number) => (last === 'rs2' ? [rd, rs1, rs2] : [rd, rs1])
      const result = ({ x11, x12 }: State) => ({ x10: compute(x11, x12) })
      const name = (variant: string) => `${mnemonic} ${variant}`
      return [
        {
          mnemonic,
          name: 'edges',
          code: [one(mnemonic, ...operands(10, 11, 12))],
          vectors: pairs(name('edges'), result),
        },
        {
          mnemonic,
          name: 'random',
          code: [one(mnemonic, ...operands(10, 11, 12))],
          vectors: vectors(name('random'), RANDOM_VECTORS, result),
        },
        {
          mnemonic,
          name: 'destination is a source',
          code: [one(mnemonic, ...operands(12, 12, 12))],
          vectors: vectors(name('alias'), FEW_VECTORS, ({ x12 }) => ({ x12: compute(x12, x12) })),
        },
        {
          mnemonic,
          name: 'destination x0',
          code: [one(mnemonic, ...operands(0, 11, 12)), one('add', 10, 0, 0)],
          vectors: vectors(name('x0'), FEW_VECTORS, () => ({ x10: 0n })),
        },
        {
          mnemonic,
          name: 'sources x0',
          code: [one(mnemonic, ...operands(10, 0, 0))],
          vectors: vectors(name('sources'), 1, () => ({ x10: compute(0n, 0n) })),
        },
      ]
    }
    return immediates(last).map((immediate) => ({
      mnemonic,
      name: `immediate ${immediate}`,
      code: [one(mnemonic, 10, 11, immediate)],
      vectors: vectors(`${mnemonic} ${immediate}`, FEW_VECTORS, ({ x11 }) => ({
        x10: compute(x11, BigInt.asUintN(64, BigInt(immediate))),
      })),
    }))
  })
}

function upperGroups(): CaseGroup[] {
  const upper = (immediate: number) => BigInt.asUintN(64, BigInt(immediate << 12))
  return [0, 1, 0x7ffff, 0x80000, 0xfffff, 0x12345].flatMap((immediate) => [
    {
      mnemonic: 'lui' as const,
      name: `immediate ${immediate}`,
      code: [one('lui', 10, immediate)],
      vectors: vectors(`lui ${immediate}`, 2, () => ({ x10: upper(immediate) })),
    },
    {
      mnemonic: 'auipc' as const,
      name: `immediate ${immediate}`,
      code: [one('auipc', 10, immediate), one('auipc', 12, 0), one('sub', 10, 10, 12), one('add', 12, 0, 0)],
      vectors: vectors(`auipc ${immediate}`, 2, () => ({
        x10: BigInt.asUintN(64, upper(immediate) - 4n),
        x12: 0n,
      })),
    },
  ])
}

/** Fences order memory, which one hart cannot see, and waits for a store may end at once; they must change nothing. */
function fenceGroups(): CaseGroup[] {
  const variants: Instruction[] = [
    one('fence', 0xff),
    one('fence', 0x33),
    one('fence', 0x10),
    one('fence', 0x00),
    one('fence.i'),
    one('pause'),
    one('wrs.nto'),
    one('wrs.sto'),
  ]
  return variants.map((instruction) => ({
    mnemonic: instruction.mnemonic,
    name: `sets ${instruction.operands.join('')}`,
    code: [instruction],
    vectors: vectors(`fence ${instruction.operands.join('')}`, 4, () => ({})),
  }))
}

export function branchGroups(): CaseGroup[] {
  const full = (Object.entries(BRANCH_REFERENCE) as [Mnemonic, (a: bigint, b: bigint) => boolean][]).flatMap(
    ([mnemonic, taken]) => {
      const result = ({ x11, x12 }: State) => ({ x10: taken(x11, x12) ? 1n : 0n })
      const code = [one('addi', 10, 0, 1), one(mnemonic, 11, 12, 8), one('addi', 10, 0, 0)]
      const same = (state: State) => ({ ...state, x12: state.x11 })
      return [
        { mnemonic, name: 'edges', code, vectors: pairs(`${mnemonic} edges`, result) },
        { mnemonic, name: 'equal', code, vectors: vectors(`${mnemonic} equal`, FEW_VECTORS, result, same) },
        {
          mnemonic,
          name: 'backwards',
          // Over the jump to the decrement; taken at most once because x10 then differs.
          code: [
            one('addi', 10, 0, 0),
            one('jal', 0, 12),
            one('addi', 10, 10, 1),
            one('jal', 0, 8),
            one(mnemonic, 11, 12, -8),
          ],
          vectors: vectors(`${mnemonic} backwards`, FEW_VECTORS, result),
        },
      ]
    },
  )
  const compressed = (['c.beqz', 'c.bnez'] as const).map((mnemonic) => ({
    mnemonic,
    name: 'edges',
    code: [one('addi', 10, 0, 1), one(mnemonic, 11, 6), one('addi', 10, 0, 0)],
    vectors: pairs(`${mnemonic} edges`, ({ x11 }) => ({
      x10: (x11 === 0n) === (mnemonic === 'c.beqz') ? 1n : 0n,
    })),
  }))
  return [...full, ...compressed]
}

/** x10 becomes the link minus the address of the jump's target; x12 keeps its value when the jump skips its change. */
export function controlGroups(): CaseGroup[] {
  const skipped = one('addi', 12, 0, -1)
  const measure = [one('auipc', 13, 0), one('sub', 10, 10, 13)]
  const minus = (distance: number) => BigInt.asUintN(64, BigInt(-distance))
  const group = (mnemonic: Mnemonic, name: string, code: Instruction[], x10: bigint): CaseGroup => ({
    mnemonic,
    name,
    code,
    vectors: vectors(`${mnemonic} ${name}`, 3, () => ({ x10 })),
  })
  const measured13 = [one('auipc', 11, 0), one('sub', 10, 13, 11)]
  return [
    group('jal', 'links', [one('jal', 10, 8), skipped, ...measure], minus(4)),
    group('jal', 'no link', [one('addi', 10, 0, 5), one('jal', 0, 8), skipped], 5n),
    group('jalr', 'links', [one('auipc', 11, 0), one('jalr', 10, 11, 12), skipped, ...measure], minus(4)),
    group(
      'jalr',
      'odd target',
      [one('auipc', 11, 0), one('jalr', 10, 11, 13), skipped, ...measure],
      minus(4),
    ),
    group(
      'jalr',
      'register is both',
      [one('auipc', 13, 0), one('jalr', 13, 13, 12), skipped, ...measured13],
      minus(4),
    ),
    group(
      'jalr',
      'no link',
      [one('addi', 10, 0, 7), one('auipc', 11, 0), one('jalr', 0, 11, 12), skipped],
      7n,
    ),
    group('c.j', 'skips', [one('addi', 10, 0, 9), one('c.j', 6), skipped], 9n),
    group(
      'c.jr',
      'skips',
      [one('addi', 10, 0, 11), one('auipc', 11, 0), one('addi', 11, 11, 14), one('c.jr', 11), skipped],
      11n,
    ),
    group(
      'c.jalr',
      'links x1',
      [
        one('auipc', 11, 0),
        one('addi', 11, 11, 14),
        one('c.jalr', 11),
        skipped,
        one('auipc', 13, 0),
        one('sub', 10, 1, 13),
      ],
      minus(4),
    ),
  ]
}

export function compressedGroups(): CaseGroup[] {
  const expanded = (Object.entries(COMPRESSED_EXPANSION) as [Mnemonic, Mnemonic][]).flatMap(
    ([mnemonic, full]): CaseGroup[] => {
      const compute = INTEGER_REFERENCE[full]!
      const last = formOf(mnemonic).fields.at(-1)!
      if (FIELDS[last].kind === 'x') {
        // The destination is the first source.
        const result = ({ x12, x11 }: State) => ({ x12: compute(x12, x11) })
        return [
          {
            mnemonic,
            name: 'edges',
            code: [one(mnemonic, 12, 11)],
            vectors: pairs(`${mnemonic} edges`, result),
          },
          {
            mnemonic,
            name: 'destination is both sources',
            code: [one(mnemonic, 12, 12)],
            vectors: vectors(`${mnemonic} alias`, FEW_VECTORS, ({ x12 }) => ({ x12: compute(x12, x12) })),
          },
        ]
      }
      return immediates(last).map((immediate) => ({
        mnemonic,
        name: `immediate ${immediate}`,
        code: [one(mnemonic, 12, immediate)],
        vectors: vectors(`${mnemonic} ${immediate}`, FEW_VECTORS, ({ x12 }) => ({
          x12: compute(x12, BigInt.asUintN(64, BigInt(immediate))),
        })),
      }))
    },
  )
  const toX10 = (
    mnemonic: Mnemonic,
    field: FieldName,
    result: (state: State, immediate: number) => bigint,
    code: (immediate: number) => Instruction[],
  ) =>
    immediates(field).map((immediate) => ({
      mnemonic,
      name: `immediate ${immediate}`,
      code: code(immediate),
      vectors: vectors(`${mnemonic} ${immediate}`, 8, (state) => ({
        x10: BigInt.asUintN(64, result(state, immediate)),
      })),
    }))
  const stack = one('addi', 2, 11, 0)
  return [
    ...expanded,
    ...toX10(
      'c.li',
      'cimm6',
      (_, immediate) => BigInt(immediate),
      (immediate) => [one('c.li', 10, immediate)],
    ),
    ...toX10(
      'c.lui',
      'clui',
      (_, immediate) => BigInt(immediate << 12),
      (immediate) => [one('c.lui', 10, immediate)],
    ),
    ...toX10(
      'c.addi4spn',
      'caddi4spn',
      ({ x11 }, immediate) => x11 + BigInt(immediate),
      (immediate) => [stack, one('c.addi4spn', 10, immediate)],
    ),
    ...toX10(
      'c.addi16sp',
      'caddi16sp',
      ({ x11 }, immediate) => x11 + BigInt(immediate),
      (immediate) => [stack, one('c.addi16sp', immediate), one('addi', 10, 2, 0)],
    ),
    {
      mnemonic: 'c.mv',
      name: 'edges',
      code: [one('c.mv', 10, 11)],
      vectors: pairs('c.mv', ({ x11 }) => ({ x10: x11 })),
    },
    {
      mnemonic: 'c.nop',
      name: 'changes nothing',
      code: [one('c.nop')],
      vectors: vectors('c.nop', 4, () => ({})),
    },
  ]
}
