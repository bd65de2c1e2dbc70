/** Cases of floating-point arithmetic: every static rounding mode, the dynamic one under every frm, values and flags. */
import type { CaseGroup, State, Vector } from './cases.ts'
import { FIELDS } from './fields.ts'
import { formOf, type InstructionForm, MNEMONICS, type Mnemonic } from './instructions.ts'
import { nastyDouble, nastyFloat, nastyInteger, nastySingle, type Random } from './random.ts'
import * as reference from './reference-float.ts'
import { randomFor, randomState } from './vectors.ts'

const DYNAMIC = 7
const MODES = [reference.RNE, reference.RTZ, reference.RDN, reference.RUP, reference.RMM, DYNAMIC]
const VECTORS_PER_MODE = 70
const VECTORS_WITHOUT_MODE = 200
const FLAG_MASK = 31
const MODE_SHIFT = 5

/** A result for the destination register, and the flags it raises. */
type Compute = (state: State, mode: number) => reference.Rounded

const formatOf = (suffix: string) => (suffix === 's' ? reference.SINGLE : reference.DOUBLE)

/** The reference for a mnemonic, or null for those that are not arithmetic (loads and stores). */
export function floatReference(mnemonic: Mnemonic): Compute | null {
  const [name, first, second] = mnemonic.split('.') as [string, string | undefined, string | undefined]
  if (first === undefined) return null
  if (name === 'fmv') return move(first, second!)
  if (name === 'fcvt') return convert(first, second!)
  const format = formatOf(first)
  const a = (state: State) => reference.operand(state.f11, format)
  const b = (state: State) => reference.operand(state.f12, format)
  const c = (state: State) => reference.operand(state.f13, format)
  const box = ({ bits, flags }: reference.Rounded) => ({ bits: reference.boxed(bits, format), flags })
  const fused =
    (negateProduct: boolean, negateAddend: boolean): Compute =>
    (state, mode) =>
      box(reference.fused(a(state), b(state), c(state), { negateProduct, negateAddend }, format, mode))
  switch (name) {
    case 'fadd':
      return (state, mode) => box(reference.add(a(state), b(state), format, mode))
    case 'fsub':
      return (state, mode) => box(reference.subtract(a(state), b(state), format, mode))
    case 'fmul':
      return (state, mode) => box(reference.multiply(a(state), b(state), format, mode))
    case 'fdiv':
      return (state, mode) => box(reference.divide(a(state), b(state), format, mode))
    case 'fsqrt':
      return (state, mode) => box(reference.squareRoot(a(state), format, mode))
    case 'fmadd':
      return fused(false, false)
    case 'fmsub':
      return fused(false, true)
    case 'fnmsub':
      return fused(true, false)
    case 'fnmadd':
      return fused(true, true)
    case 'fsgnj':
    case 'fsgnjn':
    case 'fsgnjx':
      return (state) => box({ bits: reference.injectSign(name, a(state), b(state), format), flags: 0 })
    case 'fmin':
    case 'fmax':
      return (state) =>
        box(reference.minimumMaximum(name === 'fmin' ? 'min' : 'max', a(state), b(state), format))
    case 'feq':
    case 'flt':
    case 'fle':
      return (state) => reference.compare(name.slice(1) as 'eq' | 'lt' | 'le', a(state), b(state), format)
    case 'fclass':
      return (state) => ({ bits: reference.classify(a(state), format), flags: 0 })
    default:
      return null
  }
}

/** FMV copies bits and knows nothing of boxing on the way out. */
function move(to: string, from: string): Compute {
  if (to === 'x') {
    return ({ f11 }) => ({ bits: from === 'w' ? BigInt.asUintN(64, BigInt.asIntN(32, f11)) : f11, flags: 0 })
  }
  return ({ x11 }) => ({
    bits: to === 'w' ? reference.boxed(BigInt.asUintN(32, x11), reference.SINGLE) : x11,
    flags: 0,
  })
}

const INTEGERS: { readonly [suffix: string]: readonly [bits: 32 | 64, signed: boolean] } = {
  w: [32, true],
  wu: [32, false],
  l: [64, true],
  lu: [64, false],
}

function convert(to: string, from: string): Compute {
  const toInteger = INTEGERS[to]
  if (toInteger !== undefined) {
    const format = formatOf(from)
    return ({ f11 }, mode) => reference.toInteger(reference.operand(f11, format), format, ...toInteger, mode)
  }
  const format = formatOf(to)
  const fromInteger = INTEGERS[from]
  const rounded: Compute =
    fromInteger !== undefined
      ? ({ x11 }, mode) => reference.fromInteger(x11, ...fromInteger, format, mode)
      : ({ f11 }, mode) =>
          reference.convertFormat(reference.operand(f11, formatOf(from)), formatOf(from), format, mode)
  return (state, mode) => {
    const { bits, flags } = rounded(state, mode)
    return { bits: reference.boxed(bits, format), flags }
  }
}

export function floatGroups(): CaseGroup[] {
  return MNEMONICS.filter((mnemonic) => ['F', 'D'].includes(formOf(mnemonic).extension)).flatMap(
    (mnemonic): CaseGroup[] => {
      const compute = floatReference(mnemonic)
      if (compute === null) return []
      const form = formOf(mnemonic)
      if (!form.fields.includes('rm')) return [group(mnemonic, form, compute, null, VECTORS_WITHOUT_MODE)]
      return MODES.map((mode) =>
        group(mnemonic, form, compute, mode, mode === DYNAMIC ? 2 * VECTORS_PER_MODE : VECTORS_PER_MODE),
      )
    },
  )
}

function group(
  mnemonic: Mnemonic,
  form: InstructionForm,
  compute: Compute,
  mode: number | null,
  count: number,
): CaseGroup {
  const name = mode === null ? 'values' : mode === DYNAMIC ? 'dynamic rounding' : `rounding ${mode}`
  const random = randomFor(`${mnemonic} ${name}`)
  const destination = FIELDS[form.fields[0]!].kind === 'f' ? 'f10' : 'x10'
  const operands = form.fields.map((field) => {
    if (field === 'rm') return mode!
    return { rd: 10, frd: 10, rs1: 11, frs1: 11, rs2: 12, frs2: 12, frs3: 13 }[field as string]!
  })
  const vectors = Array.from({ length: count }, (_, n): Vector => {
    const before = n % 4 === 0 ? randomState(random) : suitedState(mnemonic, random)
    const effective = mode === DYNAMIC || mode === null ? before.fcsr >> MODE_SHIFT : mode
    const { bits, flags } = compute(before, effective)
    return { before, changes: { [destination]: bits, fcsr: before.fcsr | (flags & FLAG_MASK) } }
  })
  return { mnemonic, name, code: [{ mnemonic, operands }], vectors }
}

/** Operands in the source format, a third of the time close to each other so that sums cancel. */
function suitedState(mnemonic: Mnemonic, random: Random): State {
  const suffix = mnemonic.split('.').at(-1)!
  const value = () => {
    if (suffix === 's') return reference.boxed(nastySingle(random), reference.SINGLE)
    return suffix === 'd' ? nastyDouble(random) : nastyFloat(random)
  }
  const f11 = value()
  const near = BigInt.asUintN(64, f11 + BigInt(random.between(-2, 2)))
  const f12 = random.chance(20)
    ? near ^ (random.chance(50) ? (suffix === 's' ? 1n << 31n : 1n << 63n) : 0n)
    : value()
  return { ...randomState(random), f11, f12, f13: value(), x11: nastyInteger(random) }
}
