/** What a random program is, and where its data lies relative to its base register. */
import type { Mnemonic } from '../../src/machine/cpu/isa-test/instructions.ts'

export interface Instruction {
  readonly mnemonic: Mnemonic
  readonly operands: readonly number[]
}

export type Item =
  /** Instructions that belong together: an address computed and used, a result folded. */
  | { readonly kind: 'run'; readonly instructions: readonly Instruction[] }
  /** Four bytes that are no instruction. */
  | { readonly kind: 'word'; readonly word: number }
  /** A conditional branch or jump (all operands but the target) over the items inside. */
  | { readonly kind: 'skip'; readonly branch: Instruction; readonly items: readonly Item[] }
  | {
      readonly kind: 'loop'
      readonly counter: number
      readonly times: number
      readonly items: readonly Item[]
    }
  /** A subroutine called in one place. `indirect`: through a computed address instead of JAL. */
  | {
      readonly kind: 'call'
      readonly link: number
      readonly scratch: number
      readonly indirect: boolean
      readonly items: readonly Item[]
    }

export interface Program {
  readonly seed: number
  readonly baseRegister: number
  readonly items: readonly Item[]
  /** Initial x1-x31 (index 0 is unused) and f0-f31, and fcsr. */
  readonly integers: readonly bigint[]
  readonly floats: readonly bigint[]
  readonly fcsr: number
  /** Constants that programs reload their registers from. */
  readonly pool: readonly bigint[]
  readonly data: Uint8Array
}

/** Bytes of the data area. The base register points at its middle, which is a page boundary. */
export const DATA_BYTES = 1024
export const DATA_HALF_BYTES = DATA_BYTES / 2
/** Offsets from the base register: registers are dumped behind the data, and the constants follow. */
export const DUMP_OFFSET = DATA_HALF_BYTES
export const DUMP_BYTES = 65 * 8
export const POOL_OFFSET = DUMP_OFFSET + DUMP_BYTES
export const POOL_INTEGERS = 32
export const POOL_FLOATS = 64
