/**
 * Short ways to the machine's memory words in generated code.
 */
import { type Expr, i32, i64 } from '../../wasm/expr.ts'
import type { FunctionBuilder } from '../../wasm/function.ts'
import { control } from './layout.ts'
import { type FieldName, field } from './state.ts'

/** Every address that is a constant is an offset from this. */
export const ZERO = i32.const(0)

export function readField(name: FieldName): Expr {
  return i64.load(ZERO, field[name])
}

export function writeField(f: FunctionBuilder, name: FieldName, value: Expr): void {
  f.store('i64', ZERO, value, field[name])
}

type ControlName = keyof typeof control

/** A 32-bit control word. */
export function readControl(name: ControlName): Expr {
  return i32.load(ZERO, control[name])
}

export function writeControl(f: FunctionBuilder, name: ControlName, value: Expr): void {
  f.store('i32', ZERO, value, control[name])
}

/** Leaves a trap in `control` for the interpreter to take. */
export function raise(f: FunctionBuilder, cause: Expr, value: Expr): void {
  f.store('i64', ZERO, cause, control.trapCause)
  f.store('i64', ZERO, value, control.trapValue)
  writeControl(f, 'fault', i32.const(FAULT.trap))
}

/** Values of `control.fault`. */
export const FAULT = { none: 0, trap: 1, io: 2 } as const

/** Exception causes (The RISC-V Instruction Set Manual, Volume II, table of mcause). */
export const CAUSE = {
  fetchMisaligned: 0,
  fetchAccess: 1,
  illegalInstruction: 2,
  breakpoint: 3,
  loadMisaligned: 4,
  loadAccess: 5,
  storeMisaligned: 6,
  storeAccess: 7,
  ecallFromUser: 8,
  fetchPage: 12,
  loadPage: 13,
  storePage: 15,
} as const
