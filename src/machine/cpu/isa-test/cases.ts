/**
 * The instruction cases that every engine must pass: for each instruction short pieces of code, and for each piece
 * many vectors of register and memory contents before and after.
 *
 * Expectations come from the references in this folder, never from an engine. Traps and privilege are in the
 * scenarios beside this file.
 */

import { csrGroups } from './cases-csr.ts'
import { floatGroups } from './cases-float.ts'
import { branchGroups, compressedGroups, controlGroups, integerGroups } from './cases-integer.ts'
import { memoryGroups } from './cases-memory.ts'
import type { Mnemonic } from './instructions.ts'

export interface Instruction {
  readonly mnemonic: Mnemonic
  readonly operands: readonly number[]
}

/** What a vector sets and checks. Code of a group uses these registers only, x13 as it likes, and x9 and x18 not at all. */
export interface State {
  readonly x10: bigint
  readonly x11: bigint
  readonly x12: bigint
  readonly f10: bigint
  readonly f11: bigint
  readonly f12: bigint
  readonly f13: bigint
  readonly fcsr: number
  /** 32 bytes. */
  readonly memory: Uint8Array
}

export interface Vector {
  readonly before: State
  /** What must hold afterwards where it is not as before. x11 is not checked: it may hold an address. */
  readonly changes: Partial<State>
}

export interface CaseGroup {
  /** The instruction that the group is about. */
  readonly mnemonic: Mnemonic
  /** Distinguishes the groups of one instruction for people. */
  readonly name: string
  readonly code: readonly Instruction[]
  /** Makes x11 or x2 point so many bytes behind the middle of the vector's memory. */
  readonly pointer?: { readonly register: 11 | 2; readonly offset: number }
  readonly vectors: readonly Vector[]
}

export const MEMORY_BYTES = 32
export const MEMORY_MIDDLE = 16

/** Every group; built on demand because the references are slow. */
export function allCaseGroups(): CaseGroup[] {
  return [
    ...integerGroups(),
    ...branchGroups(),
    ...controlGroups(),
    ...compressedGroups(),
    ...memoryGroups(),
    ...floatGroups(),
    ...csrGroups(),
  ]
}
