import type { Expr } from '../../wasm/expr.ts'
import type { FunctionBuilder } from '../../wasm/function.ts'
import type { Format } from './fp/format.ts'

/**
 * What an instruction's meaning is written in terms of.
 *
 * Each instruction is defined once, as a function from these operands to WebAssembly. The interpreter implements
 * them with the fields of the instruction it has just fetched; the region compiler with constants and locals.
 * Operands are expressions: each call makes a new tree that is evaluated where it is used, so an instruction
 * that writes rd before it has finished reading must `f.keep` what it still needs.
 */
export interface Operands {
  /** The function under construction; `f.keep` gives temporaries that end with the instruction. */
  readonly f: FunctionBuilder
  /** Functions of the core module that compiled code may call. */
  readonly library: Library

  /** Integer source registers, i64. */
  rs1(): Expr
  rs2(): Expr
  /** Writes rd (i64); nothing happens when rd is x0, but `value` is still evaluated if it has effects. */
  setRd(value: Expr): void
  /** The sign-extended immediate of the instruction's format, i64. For shifts: the shift amount. For CSR forms: zimm. */
  imm(): Expr
  /** The instruction's own address and the following instruction's address, i64. */
  pc(): Expr
  nextPc(): Expr

  /** A floating-point source register as a number of a format. */
  float(of: Format, source: FloatSource): FloatOperand
  /** Writes fd: a number of the host (f64 or f32); a single is NaN-boxed. The bits are kept, those of a NaN too. */
  setFloat(of: Format, value: Expr): void
  /** The effective rounding mode (frm when the instruction says dynamic), i32 in 0..4: checked to be valid. */
  rounding(): Expr
  /**
   * How many of a format's exponents, counted from 2, a result of the host may have to be taken as it is, i32: all normal ones
   * (`trustedExponentCount`) when rounding is to nearest even and the inexact flag is already raised; otherwise 0. Where the instruction
   * says the rounding mode itself, the meaning must look at it; where it is dynamic, a mode that is none gives 0.
   */
  trustedExponents(of: Format): Expr
  /** Does `body`, out of the usual way: it may read the dynamic rounding mode and raise flags. */
  exactly(body: () => void): void

  /**
   * A memory access of the guest. Traps precisely; `load` returns the value, extended to 64 bits as the kind says, or a number of
   * the host.
   */
  load(kind: LoadKind, address: Expr): Expr
  store(kind: StoreWidth, address: Expr, value: Expr): void
  /** Reads, then writes what `change` makes of the old value (both extended to 64 bits); faults as a store. Returns the old value. */
  atomic(width: 32 | 64, address: Expr, change: (old: Expr) => Expr): Expr
  /** Load-reserved and store-conditional; the latter returns 0 on success and 1 on failure. */
  loadReserved(width: 32 | 64, address: Expr): Expr
  storeConditional(width: 32 | 64, address: Expr, value: Expr): Expr

  /** Clears the block of memory that holds the address (CBO.ZERO), where it is allowed; faults as a store. */
  zeroBlock(address: Expr): void

  /** Ends the instruction with a jump to `target` (i64). Writes of rd come before it. */
  jump(target: Expr): void
  /** Ends the instruction: to pc + imm when `condition` (i32) holds, else to the next one. */
  branch(condition: Expr): void
  /** What only the interpreter executes: CSR accesses, fences of the address translation, cache management, traps and returns from them. */
  system(kind: SystemKind): void
}

export type FloatSource = 'fs1' | 'fs2' | 'fs3'

/** The field of the instruction word that names each source. */
export const SOURCE_FIELD = { fs1: 'rs1', fs2: 'rs2', fs3: 'rs3' } as const

/** A register read as a number. */
export interface FloatOperand {
  /** All 64 bits, i64. */
  readonly raw: Expr
  /** The number (f64 or f32) that the bits of the format's width are. */
  readonly value: Expr
  /** i32: whether the register holds a number of this format; if not, it counts as the canonical NaN. Constant where that is known. */
  readonly isBoxed: Expr
}

export type LoadKind = 'i8' | 'u8' | 'i16' | 'u16' | 'i32' | 'u32' | 'i64' | 'f32' | 'f64'
/** Bits of an integer, or a number of the host. */
export type StoreWidth = 8 | 16 | 32 | 64 | 'f32' | 'f64'
export type CsrKind = 'csrrw' | 'csrrs' | 'csrrc' | 'csrrwi' | 'csrrsi' | 'csrrci'
export type BlockKind = 'cbo.inval' | 'cbo.clean' | 'cbo.flush'
export type SystemKind = 'ecall' | 'ebreak' | 'mret' | 'sret' | 'wfi' | 'sfence.vma' | BlockKind | CsrKind

/** Indices, in the module under construction, of the core's functions by name. */
export interface Library {
  functionIndex(name: string): number
}

export type Meaning = (s: Operands) => void

/** Formats of the immediate (The RISC-V Instruction Set Manual, Volume I, 2.3). `none` has no immediate. */
export type ImmediateFormat = 'none' | 'I' | 'S' | 'B' | 'U' | 'J' | 'shamt6' | 'shamt5' | 'zimm'

/** One instruction: how to recognise it, and what it means. */
export interface Instruction {
  readonly name: string
  /** An instruction word matches when `(word & mask) === match`. */
  readonly mask: number
  readonly match: number
  readonly immediate: ImmediateFormat
  /** What it needs beyond the integer core; decides on enable checks and on how regions treat it. */
  readonly uses: readonly InstructionUse[]
  readonly meaning: Meaning
}

/** Stores of floating-point registers need the unit on but change nothing of it. */
export function isFloatStore(instruction: Instruction): boolean {
  return instruction.immediate === 'S' && instruction.uses.includes('float')
}

/**
 * float: touches the floating-point unit (mstatus.FS must not be Off). rounding: its rm field must be valid.
 * memory: may trap on an access. flow: ends a basic block. system: only the interpreter executes it.
 */
export type InstructionUse = 'float' | 'rounding' | 'memory' | 'flow' | 'system'
