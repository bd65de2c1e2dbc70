/** Cases of the CSR instructions, on mscratch, which holds any value, and on the floating-point CSRs. */
import type { CaseGroup, Instruction, State } from './cases.ts'
import type { Mnemonic } from './instructions.ts'
import { randomFor, randomState } from './vectors.ts'

const MSCRATCH = 0x340
const FFLAGS = 0x001
const FRM = 0x002
const FCSR = 0x003
const VECTORS = 20

type Update = (old: bigint, source: bigint) => bigint
const REGISTER_FORMS: readonly (readonly [Mnemonic, Mnemonic, Update])[] = [
  ['csrrw', 'csrrwi', (_, source) => source],
  ['csrrs', 'csrrsi', (old, source) => old | source],
  ['csrrc', 'csrrci', (old, source) => old & ~source],
]

const one = (mnemonic: Mnemonic, ...operands: number[]): Instruction => ({ mnemonic, operands })

function group(
  mnemonic: Mnemonic,
  name: string,
  code: Instruction[],
  result: (before: State) => Partial<State>,
): CaseGroup {
  const random = randomFor(`${mnemonic} ${name}`)
  const vectors = Array.from({ length: VECTORS }, () => {
    const before = randomState(random)
    return { before, changes: result(before) }
  })
  return { mnemonic, name, code, vectors }
}

export function csrGroups(): CaseGroup[] {
  return REGISTER_FORMS.flatMap(([mnemonic, immediateForm, update]): CaseGroup[] => {
    const set = one('csrrw', 0, MSCRATCH, 12)
    const read = one('csrrs', 12, MSCRATCH, 0)
    return [
      group(mnemonic, 'mscratch', [set, one(mnemonic, 10, MSCRATCH, 11), read], ({ x11, x12 }) => ({
        x10: x12,
        x12: update(x12, x11),
      })),
      group(
        mnemonic,
        'source and destination are one',
        [set, one(mnemonic, 11, MSCRATCH, 11), one('add', 10, 11, 0), read],
        ({ x11, x12 }) => ({
          x10: x12,
          x12: update(x12, x11),
        }),
      ),
      group(mnemonic, 'destination x0', [set, one(mnemonic, 0, MSCRATCH, 11), read], ({ x11, x12 }) => ({
        x12: update(x12, x11),
      })),
      group(mnemonic, 'source x0', [set, one(mnemonic, 10, MSCRATCH, 0), read], ({ x12 }) => ({
        x10: x12,
        x12: update(x12, 0n),
      })),
      ...[0, 1, 31].map((zimm) =>
        group(
          immediateForm,
          `mscratch ${zimm}`,
          [set, one(immediateForm, 10, MSCRATCH, zimm), read],
          ({ x12 }) => ({
            x10: x12,
            x12: update(x12, BigInt(zimm)),
          }),
        ),
      ),
      ...floatCsr(mnemonic, update),
    ]
  })
}

/** fflags and frm are windows of fcsr; bits above are read-only zeros. */
function floatCsr(mnemonic: Mnemonic, update: Update): CaseGroup[] {
  const windows = [
    { csr: FFLAGS, shift: 0n, mask: 0x1fn, name: 'fflags' },
    { csr: FRM, shift: 5n, mask: 0x7n, name: 'frm' },
    { csr: FCSR, shift: 0n, mask: 0xffn, name: 'fcsr' },
  ]
  return windows.map(({ csr, shift, mask, name }) =>
    group(mnemonic, name, [one(mnemonic, 10, csr, 11)], ({ fcsr, x11 }) => {
      const old = (BigInt(fcsr) >> shift) & mask
      const next = update(old, x11) & mask
      return { x10: old, fcsr: Number((BigInt(fcsr) & ~(mask << shift)) | (next << shift)) }
    }),
  )
}
