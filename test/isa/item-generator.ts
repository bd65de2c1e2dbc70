/**
 * Random runs of instructions: arithmetic, memory, atomics, CSRs. Registers that hold a program together are never
 * written by them; everything else is fair game.
 */
import { FIELDS, type FieldName } from '../../src/machine/cpu/isa-test/fields.ts'
import {
  type Extension,
  formOf,
  MNEMONICS,
  type Mnemonic,
} from '../../src/machine/cpu/isa-test/instructions.ts'
import type { Random } from '../../src/machine/cpu/isa-test/random.ts'
import {
  DATA_HALF_BYTES,
  type Instruction,
  type Item,
  POOL_FLOATS,
  POOL_INTEGERS,
  POOL_OFFSET,
} from './program.ts'

const FFLAGS = 0x001
const FRM = 0x002
const FCSR = 0x003
const DYNAMIC_ROUNDING = 7
const STACK_POINTER = 2

const LOADS = ['lb', 'lh', 'lw', 'ld', 'lbu', 'lhu', 'lwu', 'flw', 'fld'] as const
const STORES = ['sb', 'sh', 'sw', 'sd', 'fsw', 'fsd'] as const
const COMPRESSED_ACCESSES = ['c.lw', 'c.ld', 'c.fld', 'c.sw', 'c.sd', 'c.fsd'] as const
const STACK_ACCESSES = ['c.lwsp', 'c.ldsp', 'c.fldsp', 'c.swsp', 'c.sdsp', 'c.fsdsp'] as const
export const BRANCHES = ['beq', 'bne', 'blt', 'bge', 'bltu', 'bgeu'] as const
const INTEGER_EXTENSIONS = new Set(['I', 'M', 'Zba', 'Zbb', 'Zbs'])
const NOT_PLAIN = new Set<string>([
  ...LOADS,
  ...STORES,
  ...COMPRESSED_ACCESSES,
  ...STACK_ACCESSES,
  ...BRANCHES,
  'jal',
  'jalr',
  'ecall',
  'ebreak',
])
const COMPRESSED_CONTROL = new Set<string>(['c.j', 'c.jr', 'c.jalr', 'c.beqz', 'c.bnez', 'c.ebreak'])

/**
 * QEMU before 8.0 counts into the upper half when the lower one is zero ("ctzw" of 1 << 33 gives 33). The cases with
 * their own reference cover the instruction.
 */
export const WRONG_IN_QEMU = new Set<string>(['ctzw'])

/** QEMU 7.2 has none of these. */
export const NOT_IN_QEMU: ReadonlySet<Extension> = new Set(['Zicond', 'Zawrs'])

const INTEGER = MNEMONICS.filter(
  (m) => INTEGER_EXTENSIONS.has(formOf(m).extension) && !NOT_PLAIN.has(m) && !WRONG_IN_QEMU.has(m),
)
const COMPRESSED = MNEMONICS.filter(
  (m) => formOf(m).extension === 'C' && !NOT_PLAIN.has(m) && !COMPRESSED_CONTROL.has(m),
)
const FLOATING = MNEMONICS.filter((m) => /^[FD]$/.test(formOf(m).extension) && !NOT_PLAIN.has(m))
const ATOMIC = MNEMONICS.filter((m) => m.startsWith('amo'))

const ACCESS_BYTES: { readonly [letter: string]: number } = { b: 1, h: 2, w: 4, d: 8 }
/** Fields that are written. `crdHigh` is both source and destination of compressed arithmetic. */
const DESTINATIONS: ReadonlySet<FieldName> = new Set<FieldName>([
  'rd',
  'crd',
  'crdNotZero',
  'crdNotZeroNorSp',
  'crdHigh',
])

/** How much of the natural alignment a random access keeps, in percent. */
const ALIGNED_PERCENT = 60

export type RunKind = 'integer' | 'compressed' | 'floating' | 'memory' | 'atomic' | 'csr'

/** The registers that hold a program together. */
export interface Roles {
  /** Points at the middle of the data area. */
  readonly base: number
  /** For addresses and values of one run. */
  readonly scratch: number
  readonly counters: readonly [number, number]
  readonly link: number
  /** Results and flags are folded into it. */
  readonly hash: number
}

/** The format of an f operand: of two suffixes (FCVT, FMV) the first is the destination's. */
function isSingle(mnemonic: Mnemonic, destination: boolean): boolean {
  const suffixes = mnemonic.split('.').slice(1)
  const format = destination ? suffixes[0] : suffixes.at(-1)
  return format === 's' || format === 'w'
}

export class ItemGenerator {
  readonly #random: Random
  readonly #base: number
  readonly #scratch: number
  readonly #hash: number
  readonly #reserved: ReadonlySet<number>

  /** `others`: registers beyond the roles that random instructions must leave alone. */
  constructor(random: Random, roles: Roles, others: readonly number[] = []) {
    this.#random = random
    this.#base = roles.base
    this.#scratch = roles.scratch
    this.#hash = roles.hash
    this.#reserved = new Set([
      roles.base,
      roles.scratch,
      ...roles.counters,
      roles.link,
      roles.hash,
      ...others,
    ])
  }

  run(kind: RunKind): Item {
    const out: Instruction[] = []
    switch (kind) {
      case 'integer':
        this.#arithmetic(out, this.#random.pick(INTEGER))
        break
      case 'compressed':
        this.#arithmetic(out, this.#random.pick(COMPRESSED))
        break
      case 'floating':
        this.#floating(out)
        break
      case 'memory':
        this.#memory(out)
        break
      case 'atomic':
        this.#atomic(out)
        break
      case 'csr':
        this.#csr(out)
        break
    }
    return { kind: 'run', instructions: out }
  }

  /** A register that may be written: any but the reserved ones; x0 now and then. */
  destination(low = 0, high = 31): number {
    for (;;) {
      const register = this.#random.between(low, high)
      if (!this.#reserved.has(register) && (register !== 0 || this.#random.chance(60))) return register
    }
  }

  source(low = 0, high = 31): number {
    return this.#random.between(low, high)
  }

  /** Mostly singles live in f0-f15 and doubles in f16-f31; one in ten crosses over. */
  #floatRegister(single: boolean): number {
    return this.#random.below(16) + (single === this.#random.chance(90) ? 0 : 16)
  }

  #immediate(name: FieldName): number {
    const { min, max, step, reserved } = FIELDS[name]
    for (;;) {
      const roll = this.#random.below(10)
      const value =
        roll === 0 ? min : roll === 1 ? max : min + step * this.#random.below((max - min) / step + 1)
      if (!(reserved as readonly number[]).includes(value)) return value
    }
  }

  /** Operands for a plain instruction, reserved registers never written. */
  #operands(mnemonic: Mnemonic): number[] {
    const form = formOf(mnemonic)
    return form.fields.map((name) => {
      const { kind, min, max, reserved } = FIELDS[name]
      if (kind === 'rounding') return this.#random.chance(40) ? DYNAMIC_ROUNDING : this.#random.below(5)
      if (kind === 'f') return this.#floatRegister(isSingle(mnemonic, name === 'frd'))
      if (kind !== 'x') return this.#immediate(name)
      const writes = DESTINATIONS.has(name) || (name === 'crdLow' && mnemonic === 'c.addi4spn')
      for (;;) {
        const register = writes ? this.destination(min, max) : this.source(min, max)
        if (!(reserved as readonly number[]).includes(register)) return register
      }
    })
  }

  #arithmetic(out: Instruction[], mnemonic: Mnemonic): void {
    // C.ADDI16SP writes x2, which may be reserved.
    if (mnemonic === 'c.addi16sp' && this.#reserved.has(STACK_POINTER)) return
    const operands = this.#operands(mnemonic)
    formOf(mnemonic).fields.forEach((name, n) => {
      if (FIELDS[name].kind === 'x' && this.#random.chance(20)) this.#refreshInteger(out, operands[n]!)
    })
    out.push({ mnemonic, operands })
    const written = formOf(mnemonic).fields[0]
    if (written !== undefined && FIELDS[written].kind === 'x' && this.#random.chance(30))
      this.fold(out, operands[0]!)
  }

  #floating(out: Instruction[]): void {
    const mnemonic = this.#random.pick(FLOATING)
    const operands = this.#operands(mnemonic)
    const { fields } = formOf(mnemonic)
    fields.forEach((name, n) => {
      if (n === 0 || !this.#random.chance(35)) return
      if (FIELDS[name].kind === 'f') this.#refreshFloat(out, operands[n]!)
      else if (FIELDS[name].kind === 'x') this.#refreshInteger(out, operands[n]!)
    })
    out.push({ mnemonic, operands })
    if (this.#random.chance(35)) {
      if (FIELDS[fields[0]!].kind === 'f') {
        out.push({ mnemonic: 'fmv.x.d', operands: [this.#scratch, operands[0]!] })
        this.fold(out, this.#scratch)
      } else this.fold(out, operands[0]!)
    }
    if (this.#random.chance(40)) {
      out.push({ mnemonic: 'csrrwi', operands: [this.#scratch, FFLAGS, 0] })
      this.fold(out, this.#scratch)
    }
  }

  /** hash = (hash rotated) ^ register. */
  fold(out: Instruction[], register: number): void {
    out.push({ mnemonic: 'rori', operands: [this.#hash, this.#hash, 11] })
    out.push({ mnemonic: 'xor', operands: [this.#hash, this.#hash, register] })
  }

  #refreshInteger(out: Instruction[], register: number): void {
    if (register === 0 || this.#reserved.has(register)) return
    out.push({
      mnemonic: 'ld',
      operands: [register, this.#base, POOL_OFFSET + 8 * this.#random.below(POOL_INTEGERS)],
    })
  }

  #refreshFloat(out: Instruction[], register: number): void {
    const slot = POOL_INTEGERS + this.#random.below(POOL_FLOATS)
    out.push({ mnemonic: 'fld', operands: [register, this.#base, POOL_OFFSET + 8 * slot] })
  }

  /** An offset from the base such that `bytes` from there on lie in the data area; often near the page boundary. */
  #dataOffset(
    bytes: number,
    low = -DATA_HALF_BYTES,
    high = DATA_HALF_BYTES,
    alignedPercent = ALIGNED_PERCENT,
  ): number {
    const near = this.#random.chance(30) && low < 0 && high > 0
    const offset = near
      ? this.#random.between(Math.max(low, -8), Math.min(8, high - bytes))
      : this.#random.between(low, high - bytes)
    return this.#random.chance(alignedPercent)
      ? Math.max(Math.ceil(low / bytes) * bytes, offset - (((offset % bytes) + bytes) % bytes))
      : offset
  }

  #memory(out: Instruction[]): void {
    const roll = this.#random.below(100)
    if (roll < 20) {
      this.#compressedMemory(out)
      return
    }
    const mnemonic = this.#random.chance(55) ? this.#random.pick(LOADS) : this.#random.pick(STORES)
    const bytes = ACCESS_BYTES[mnemonic.replace(/u$/, '').slice(-1)]!
    const isLoad = (LOADS as readonly string[]).includes(mnemonic)
    const register = mnemonic.startsWith('f')
      ? this.#floatRegister(mnemonic.endsWith('w'))
      : isLoad
        ? this.destination()
        : this.source()
    if (roll < 60) {
      out.push({ mnemonic, operands: [register, this.#base, this.#dataOffset(bytes)] })
      return
    }
    // An address that depends on data: base + (x & mask) + immediate, the mask keeping it in the area.
    out.push({
      mnemonic: 'andi',
      operands: [this.#scratch, this.source(), this.#random.chance(50) ? 0x1ff : 0x1f8],
    })
    out.push({ mnemonic: 'add', operands: [this.#scratch, this.#scratch, this.#base] })
    out.push({ mnemonic, operands: [register, this.#scratch, this.#dataOffset(bytes, -DATA_HALF_BYTES, 0)] })
  }

  #compressedMemory(out: Instruction[]): void {
    const viaStack = !this.#reserved.has(STACK_POINTER) && this.#random.chance(50)
    const base = viaStack
      ? STACK_POINTER
      : [this.#scratch, this.#base].find((register) => register >= 8 && register <= 15)
    if (base === undefined) return
    const mnemonic = this.#random.pick(viaStack ? STACK_ACCESSES : COMPRESSED_ACCESSES)
    const { fields } = formOf(mnemonic)
    const reach = FIELDS[fields.at(-1)!].max
    const bytes = mnemonic.includes('w') && !mnemonic.endsWith('dsp') ? 4 : 8
    const isLoad = mnemonic.startsWith('c.l') || mnemonic.startsWith('c.fl')
    const { kind, min, max, reserved } = FIELDS[fields[0]!]
    let register = this.#random.between(min, max)
    while (
      kind === 'x' &&
      isLoad &&
      (this.#reserved.has(register) || (reserved as readonly number[]).includes(register))
    ) {
      register = this.#random.between(min, max)
    }
    if (base !== this.#base) {
      const start = this.#dataOffset(bytes, -DATA_HALF_BYTES, DATA_HALF_BYTES - reach)
      out.push({ mnemonic: 'addi', operands: [base, this.#base, start] })
    }
    const offset = bytes * this.#random.below(reach / bytes + 1)
    out.push({ mnemonic, operands: viaStack ? [register, offset] : [register, base, offset] })
  }

  #atomic(out: Instruction[]): void {
    const random = this.#random
    const aligned = (bytes: number) =>
      bytes * random.between(-DATA_HALF_BYTES / bytes, DATA_HALF_BYTES / bytes - 1)
    if (random.chance(70)) {
      const mnemonic = random.pick(ATOMIC)
      const bytes = mnemonic.endsWith('.w') ? 4 : 8
      out.push({ mnemonic: 'addi', operands: [this.#scratch, this.#base, aligned(bytes)] })
      const operand = this.source()
      if (random.chance(30)) this.#refreshInteger(out, operand)
      const rd = this.destination()
      out.push({ mnemonic, operands: [rd, operand, this.#scratch, random.below(4)] })
      if (random.chance(30)) this.fold(out, rd)
      return
    }
    // A reservation never outlives the item that makes it: whether a store in between breaks it is unspecified.
    const word = random.chance(50)
    const [reserve, conditional] = word ? (['lr.w', 'sc.w'] as const) : (['lr.d', 'sc.d'] as const)
    const start = -DATA_HALF_BYTES + 8 * random.below(32)
    out.push({ mnemonic: 'addi', operands: [this.#scratch, this.#base, start] })
    if (random.chance(85)) {
      out.push({ mnemonic: reserve, operands: [this.destination(), this.#scratch, random.below(4)] })
      if (random.chance(40)) this.#arithmetic(out, random.pick(INTEGER))
      // 512 bytes away is outside any reservation set in use.
      if (random.chance(20)) out.push({ mnemonic: 'addi', operands: [this.#scratch, this.#scratch, 512] })
    }
    const rd = this.destination()
    out.push({ mnemonic: conditional, operands: [rd, this.source(), this.#scratch, random.below(4)] })
    this.fold(out, rd)
  }

  #csr(out: Instruction[]): void {
    const random = this.#random
    const rd = this.destination()
    switch (random.below(6)) {
      case 0:
        out.push({
          mnemonic: random.pick(['csrrw', 'csrrs', 'csrrc'] as const),
          operands: [rd, FFLAGS, this.source()],
        })
        break
      case 1:
        out.push({
          mnemonic: random.pick(['csrrwi', 'csrrsi', 'csrrci'] as const),
          operands: [rd, FFLAGS, random.below(32)],
        })
        break
      case 2:
        // Rounding modes above 4 would make the next dynamically rounded instruction trap.
        out.push({ mnemonic: 'csrrwi', operands: [rd, FRM, random.below(5)] })
        break
      case 3:
        out.push({
          mnemonic: 'andi',
          operands: [this.#scratch, this.source(), random.chance(50) ? 0x7f : 0x9f],
        })
        out.push({ mnemonic: 'csrrw', operands: [rd, FCSR, this.#scratch] })
        break
      case 4:
        out.push({ mnemonic: 'csrrs', operands: [rd, random.pick([FFLAGS, FRM, FCSR]), 0] })
        break
      default:
        out.push({ mnemonic: 'csrrci', operands: [rd, FCSR, random.below(32)] })
    }
    if (rd !== 0) this.fold(out, rd)
  }
}
