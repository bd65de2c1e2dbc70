/** Cases of loads, stores, atomics and their compressed forms. Memory is little-endian; misaligned accesses are allowed but for atomics. */
import { type CaseGroup, type Instruction, MEMORY_MIDDLE, type State, type Vector } from './cases.ts'
import { FIELDS } from './fields.ts'
import { formOf, type Mnemonic } from './instructions.ts'
import { atomicReference } from './reference-integer.ts'
import { randomFor, randomState } from './vectors.ts'

type Target = 'x' | 'f'

interface Access {
  readonly bytes: 1 | 2 | 4 | 8
  readonly store: boolean
  readonly target: Target
  readonly unsigned?: boolean
}

const ACCESSES: { readonly [mnemonic in Mnemonic]?: Access } = {
  lb: { bytes: 1, store: false, target: 'x' },
  lh: { bytes: 2, store: false, target: 'x' },
  lw: { bytes: 4, store: false, target: 'x' },
  ld: { bytes: 8, store: false, target: 'x' },
  lbu: { bytes: 1, store: false, target: 'x', unsigned: true },
  lhu: { bytes: 2, store: false, target: 'x', unsigned: true },
  lwu: { bytes: 4, store: false, target: 'x', unsigned: true },
  sb: { bytes: 1, store: true, target: 'x' },
  sh: { bytes: 2, store: true, target: 'x' },
  sw: { bytes: 4, store: true, target: 'x' },
  sd: { bytes: 8, store: true, target: 'x' },
  flw: { bytes: 4, store: false, target: 'f' },
  fld: { bytes: 8, store: false, target: 'f' },
  fsw: { bytes: 4, store: true, target: 'f' },
  fsd: { bytes: 8, store: true, target: 'f' },
  'c.lw': { bytes: 4, store: false, target: 'x' },
  'c.ld': { bytes: 8, store: false, target: 'x' },
  'c.fld': { bytes: 8, store: false, target: 'f' },
  'c.sw': { bytes: 4, store: true, target: 'x' },
  'c.sd': { bytes: 8, store: true, target: 'x' },
  'c.fsd': { bytes: 8, store: true, target: 'f' },
  'c.lwsp': { bytes: 4, store: false, target: 'x' },
  'c.ldsp': { bytes: 8, store: false, target: 'x' },
  'c.fldsp': { bytes: 8, store: false, target: 'f' },
  'c.swsp': { bytes: 4, store: true, target: 'x' },
  'c.sdsp': { bytes: 8, store: true, target: 'x' },
  'c.fsdsp': { bytes: 8, store: true, target: 'f' },
}

const VECTORS = 12
const NAN_BOX = 0xffff_ffff_0000_0000n
/** Distances from the (8-aligned) middle of the memory, misaligned ones included. */
const SKEWS = [0, 1, 2, 3, 4, 5, 7, -8]

function peek(memory: Uint8Array, offset: number, bytes: number): bigint {
  let value = 0n
  for (let n = bytes - 1; n >= 0; n--) value = (value << 8n) | BigInt(memory[offset + n]!)
  return value
}

function poke(memory: Uint8Array, offset: number, bytes: number, value: bigint): Uint8Array {
  const after = memory.slice()
  for (let n = 0; n < bytes; n++) after[offset + n] = Number((value >> BigInt(8 * n)) & 0xffn)
  return after
}

function vectors(name: string, result: (before: State) => Partial<State>): Vector[] {
  const random = randomFor(name)
  return Array.from({ length: VECTORS }, () => {
    const before = randomState(random)
    return { before, changes: result(before) }
  })
}

export function memoryGroups(): CaseGroup[] {
  return [...accessGroups(), ...atomicGroups(), ...reservationGroups()]
}

function accessGroups(): CaseGroup[] {
  return (Object.entries(ACCESSES) as [Mnemonic, Access][]).flatMap(([mnemonic, access]) => {
    const { fields } = formOf(mnemonic)
    const stack = fields.length === 2
    const { min, max, step } = FIELDS[fields.at(-1)!]
    const offsets = [...new Set([min, max, 0, min + step, max - step])].filter(
      (offset) => offset >= min && offset <= max,
    )
    return offsets.flatMap((offset) =>
      SKEWS.map((skew): CaseGroup => {
        const name = `offset ${offset} at ${skew}`
        const place = MEMORY_MIDDLE + skew
        const register = access.store ? 12 : 10
        const result = (before: State): Partial<State> => {
          if (access.store) {
            return {
              memory: poke(
                before.memory,
                place,
                access.bytes,
                access.target === 'x' ? before.x12 : before.f12,
              ),
            }
          }
          const raw = peek(before.memory, place, access.bytes)
          if (access.target === 'f') return { f10: access.bytes === 4 ? NAN_BOX | raw : raw }
          return { x10: access.unsigned ? raw : BigInt.asUintN(64, BigInt.asIntN(access.bytes * 8, raw)) }
        }
        return {
          mnemonic,
          name,
          code: [{ mnemonic, operands: stack ? [register, offset] : [register, 11, offset] }],
          pointer: { register: stack ? 2 : 11, offset: skew - offset },
          vectors: vectors(`${mnemonic} ${name}`, result),
        }
      }),
    )
  })
}

function atomicGroups(): CaseGroup[] {
  const operations = [
    'amoswap',
    'amoadd',
    'amoxor',
    'amoand',
    'amoor',
    'amomin',
    'amomax',
    'amominu',
    'amomaxu',
  ]
  return operations.flatMap((operation) =>
    ([32, 64] as const).flatMap((bits) =>
      [0, 1, 2, 3].map((ordering): CaseGroup => {
        const mnemonic = `${operation}.${bits === 32 ? 'w' : 'd'}` as Mnemonic
        const skew = bits === 32 ? 4 : 8
        const name = `ordering ${ordering}`
        const result = ({ memory, x12 }: State): Partial<State> => {
          const old = peek(memory, MEMORY_MIDDLE + skew, bits / 8)
          const next = atomicReference(operation, old, BigInt.asUintN(bits, x12), bits)
          return {
            x10: BigInt.asUintN(64, BigInt.asIntN(bits, old)),
            memory: poke(memory, MEMORY_MIDDLE + skew, bits / 8, next),
          }
        }
        return {
          mnemonic,
          name,
          code: [{ mnemonic, operands: [10, 12, 11, ordering] }],
          pointer: { register: 11, offset: skew },
          vectors: vectors(`${mnemonic} ${name}`, result).map(withEdges(mnemonic, skew, bits, result)),
        }
      }),
    ),
  )
}

/** Every other vector meets memory that equals the register, or is next to it, so that minima and maxima tie. */
function withEdges(mnemonic: string, skew: number, bits: number, result: (before: State) => Partial<State>) {
  return (vector: Vector, n: number): Vector => {
    if (n % 2 === 0) return vector
    const random = randomFor(`${mnemonic} edge ${n}`)
    const near = BigInt.asUintN(bits, vector.before.x12 + BigInt(random.between(-1, 1)))
    const before = {
      ...vector.before,
      memory: poke(vector.before.memory, MEMORY_MIDDLE + skew, bits / 8, near),
    }
    return { before, changes: result(before) }
  }
}

function reservationGroups(): CaseGroup[] {
  return ([32, 64] as const).flatMap((bits): CaseGroup[] => {
    const [reserve, conditional] = bits === 32 ? (['lr.w', 'sc.w'] as const) : (['lr.d', 'sc.d'] as const)
    const pointer = { register: 11, offset: 0 } as const
    const lr = (rd: number): Instruction => ({ mnemonic: reserve, operands: [rd, 11, 0] })
    const sc = (rd: number): Instruction => ({ mnemonic: conditional, operands: [rd, 12, 11, 0] })
    const loaded = ({ memory }: State) =>
      BigInt.asUintN(64, BigInt.asIntN(bits, peek(memory, MEMORY_MIDDLE, bits / 8)))
    const stored = ({ memory, x12 }: State) => poke(memory, MEMORY_MIDDLE, bits / 8, x12)
    const far: Instruction = { mnemonic: 'addi', operands: [11, 11, -1024] }
    return [
      {
        mnemonic: reserve,
        name: 'loads',
        code: [lr(10)],
        pointer,
        vectors: vectors(reserve, (before) => ({ x10: loaded(before) })),
      },
      {
        mnemonic: conditional,
        name: 'succeeds after a reservation',
        code: [lr(13), sc(10)],
        pointer,
        vectors: vectors(`${conditional} succeeds`, (before) => ({ x10: 0n, memory: stored(before) })),
      },
      {
        mnemonic: conditional,
        name: 'fails the second time',
        code: [lr(13), sc(13), sc(10)],
        pointer,
        vectors: vectors(`${conditional} twice`, (before) => ({ x10: 1n, memory: stored(before) })),
      },
      {
        mnemonic: conditional,
        name: 'fails elsewhere, and spends the reservation',
        code: [
          lr(13),
          far,
          sc(10),
          { mnemonic: 'addi', operands: [11, 11, 1024] },
          sc(13),
          { mnemonic: 'add', operands: [10, 10, 13] },
        ],
        pointer,
        vectors: vectors(`${conditional} elsewhere`, () => ({ x10: 2n })),
      },
    ]
  })
}
