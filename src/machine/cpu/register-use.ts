/**
 * Which registers an instruction reads and writes.
 *
 * Found by asking the instruction's meaning, so that the meaning stays the only description there is: it is
 * evaluated once, with operands that note what they are asked for.
 */
import { constant, type Expr, f32, f64, i32, i64 } from '../../wasm/expr.ts'
import { FunctionBuilder } from '../../wasm/function.ts'
import { F64, type Format } from './fp/format.ts'
import { LOADS } from './memory-access.ts'
import type { PlacedInstruction } from './region-graph.ts'
import type {
  FloatOperand,
  FloatSource,
  Instruction,
  Library,
  LoadKind,
  Operands,
  StoreWidth,
  SystemKind,
} from './semantics.ts'

import { SOURCE_FIELD } from './semantics.ts'

/** The fields of an instruction word that name registers, by the lowest of their five bits. */
const FIELD_SHIFT = { rd: 7, rs1: 15, rs2: 20, rs3: 27 } as const
type Field = keyof typeof FIELD_SHIFT

/** The register that a field of an instruction word names. */
export function registerOf(word: number, field: Field): number {
  return (word >>> FIELD_SHIFT[field]) & 31
}

/** One of the two register files, and what an instruction does with it. */
export interface RegisterFile {
  /** The registers an instruction reads, a bit for each. */
  read(one: PlacedInstruction): number
  /** The registers it writes whenever it is executed to its end. */
  written(one: PlacedInstruction): number
  /** Whether registers that are dirty may be stored ahead of it; see register-flow.ts. */
  isStoredBefore(one: PlacedInstruction): boolean
}

/** x0 is no register: it is never loaded and never stored. */
export const integerFile: RegisterFile = {
  read: ({ word, instruction }) => bits(word, usesOf(instruction).integersRead) & ~1,
  written: ({ word, instruction }) => bits(word, usesOf(instruction).integersWritten) & ~1,
  isStoredBefore: ({ instruction: { uses } }) => uses.includes('memory') || uses.includes('system'),
}

export const floatFile: RegisterFile = {
  read: ({ word, instruction }) => bits(word, usesOf(instruction).floatsRead),
  written: ({ word, instruction }) => bits(word, usesOf(instruction).floatsWritten),
  // Loops over arrays of numbers would store them each time.
  isStoredBefore: () => false,
}

/** Floating-point registers that an instruction reads or writes as numbers of a format, a bit for each. */
export function numbersOf(format: 'f32' | 'f64', { word, instruction }: PlacedInstruction): number {
  return bits(word, usesOf(instruction).numbers[format])
}

/** Whether it writes a single. */
export function writesSingle(instruction: Instruction): boolean {
  return usesOf(instruction).numbers.f32.has('rd')
}

/** Whether the instruction takes results of the host only where the rounding mode is known to be the usual one. */
export function asksForTrust(instruction: Instruction): boolean {
  return usesOf(instruction).asksForTrust
}

function bits(word: number, fields: ReadonlySet<Field>): number {
  let mask = 0
  for (const field of fields) mask |= 1 << registerOf(word, field)
  return mask
}

const known = new Map<Instruction, UseProbe>()

function usesOf(instruction: Instruction): UseProbe {
  const before = known.get(instruction)
  if (before !== undefined) return before
  const probe = new UseProbe()
  instruction.meaning(probe)
  probe.f.finish()
  known.set(instruction, probe)
  return probe
}

/** Operands that are asked once for each instruction; whatever they answer, only the question counts. */
class UseProbe implements Operands {
  readonly integersRead = new Set<Field>()
  readonly integersWritten = new Set<Field>()
  readonly floatsRead = new Set<Field>()
  readonly floatsWritten = new Set<Field>()
  /** Fields whose registers are read or written as numbers of a format. */
  readonly numbers = { f32: new Set<Field>(), f64: new Set<Field>() } as const
  asksForTrust = false
  readonly f = new FunctionBuilder([], [])
  readonly library: Library = { functionIndex: () => 0 }

  rs1(): Expr {
    return noted(this.integersRead, 'rs1')
  }

  rs2(): Expr {
    return noted(this.integersRead, 'rs2')
  }

  setRd(_value: Expr): void {
    this.integersWritten.add('rd')
  }

  imm(): Expr {
    return i64.const(0)
  }

  pc(): Expr {
    return i64.const(0)
  }

  nextPc(): Expr {
    return i64.const(0)
  }

  float(of: Format, source: FloatSource): FloatOperand {
    this.floatsRead.add(SOURCE_FIELD[source])
    this.numbers[of.name].add(SOURCE_FIELD[source])
    return {
      raw: i64.const(0),
      value: (of === F64 ? f64 : f32).const(0),
      isBoxed: i32.eqz(i32.const(0)),
    }
  }

  setFloat(of: Format, _value: Expr): void {
    this.floatsWritten.add('rd')
    this.numbers[of.name].add('rd')
  }

  rounding(): Expr {
    return i32.const(0)
  }

  trustedExponents(_of: Format): Expr {
    this.asksForTrust = true
    return i32.eqz(i32.const(0))
  }

  exactly(body: () => void): void {
    body()
  }

  load(kind: LoadKind, _address: Expr): Expr {
    return constant(LOADS[kind].type, 0)
  }

  store(_width: StoreWidth, _address: Expr, _value: Expr): void {}

  atomic(_width: 32 | 64, _address: Expr, change: (old: Expr) => Expr): Expr {
    return change(i64.const(0))
  }

  loadReserved(_width: 32 | 64, _address: Expr): Expr {
    return i64.const(0)
  }

  storeConditional(_width: 32 | 64, _address: Expr, _value: Expr): Expr {
    return i64.const(0)
  }

  zeroBlock(_address: Expr): void {}

  jump(_target: Expr): void {}

  branch(_condition: Expr): void {}

  system(kind: SystemKind): void {
    const isCsr = kind.startsWith('csr')
    if (isCsr ? !kind.endsWith('i') : kind === 'sfence.vma') this.rs1()
    if (isCsr) this.setRd(i64.const(0))
    // The others name no register, or are the interpreter's.
  }
}

function noted(fields: Set<Field>, field: Field): Expr {
  fields.add(field)
  return i64.const(0)
}
