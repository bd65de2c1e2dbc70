/** What a busy program is: functions that call each other in a loop until they are hot, and what happens meanwhile. */
import type { Instruction } from '../program.ts'

/** A place in a function: something to do, or a structure of such places. */
export type Step =
  | { readonly kind: 'run'; readonly instructions: readonly Instruction[] }
  /** Four bytes that are no instruction. */
  | { readonly kind: 'word'; readonly word: number }
  /** A conditional branch (all operands but the target) over the steps inside. */
  | { readonly kind: 'skip'; readonly branch: Instruction; readonly steps: readonly Step[] }
  | {
      readonly kind: 'loop'
      readonly counter: number
      readonly times: number
      readonly steps: readonly Step[]
    }
  /** Done once in 2^bits visits, as the guest's own generator decides. */
  | { readonly kind: 'sometimes'; readonly bits: number; readonly steps: readonly Step[] }
  /** A jump through a table that lies among the code. */
  | { readonly kind: 'choice'; readonly cases: readonly (readonly Step[])[] }
  /** `sibling`: the callee at its other address in the same mode. */
  | { readonly kind: 'invoke'; readonly callee: number; readonly how: 'direct' | 'computed' | 'sibling' }
  | { readonly kind: 'recurse'; readonly callee: number; readonly depth: number }
  /** Through the kernel, in the mode and at the address of an alias. */
  | { readonly kind: 'far'; readonly callee: number; readonly alias: number }
  /** An instruction that patches rewrite. `words` by variant. */
  | { readonly kind: 'point'; readonly point: number; readonly words: readonly [number, number] }
  /** Rewrites a point, with the upper 12 bits from the generator if `varies`. */
  | {
      readonly kind: 'patch'
      readonly point: number
      readonly word: number
      readonly varies: boolean
      readonly fenced: boolean
    }
  /** Steps that a throw inside leaves, through however many calls. */
  | { readonly kind: 'catch'; readonly steps: readonly Step[] }
  | { readonly kind: 'throw' }
  /** An environment call. `value`: its operand, or null for one from the generator. */
  | { readonly kind: 'service'; readonly service: number; readonly value: number | null }
  /** Stores a table's entry from the code itself, which only privileged modes may, and fences. */
  | { readonly kind: 'edit'; readonly edit: Edit }
  /** Maps a page of code to its other variant, in the table that an entry lies in, and perhaps fences that page. */
  | {
      readonly kind: 'swap'
      readonly entry: number
      readonly difference: bigint
      readonly fencedPage: number | null
    }
  /** Writes satp, from the code itself. */
  | { readonly kind: 'space'; readonly space: number }
  /** Accesses off one register to a page of the window, in the running alias or another one. */
  | {
      readonly kind: 'window'
      readonly place: Place
      readonly accesses: readonly Access[]
      /** In M-mode with the rights of the mode that MPP says. */
      readonly asBefore: boolean
      /** A load that may take the place of the page in a TLB, between the first access and the others. */
      readonly between: Place | null
    }

/** Bytes from the start of the span, in an alias or in the running one. */
export interface Place {
  readonly offset: number
  readonly alias: number | null
}

export interface Access {
  readonly mnemonic: Instruction['mnemonic']
  readonly register: number
  /** Bytes from the place; zero for atomics, which have no offset. */
  readonly distance: number
}

/** `plain`: saves what it needs on the stack; `leaf`: calls nothing; `recursive`: calls itself as often as asked to. */
export type FunctionKind = 'main' | 'plain' | 'leaf' | 'recursive'

export interface BusyFunction {
  readonly kind: FunctionKind
  /** Bytes from the start of the span. */
  readonly offset: number
  readonly link: number
  readonly steps: readonly Step[]
  /** Sometimes returns to the instruction behind the one it should return to. */
  readonly skewed: boolean
  /** The function that it ends in a jump to, if any. */
  readonly tail: number | null
}

/** A new value for an entry of a page table, and how that is made known. */
export interface Edit {
  readonly entry: number
  readonly value: bigint
  readonly address: bigint
  readonly fence: number
  readonly space: number
}

/** `qemu`: only what QEMU does exactly as we must. `engines`: also what only our engines must agree on. */
export type Flavour = 'qemu' | 'engines'

export interface BusyProgram {
  readonly seed: number
  readonly flavour: Flavour
  /** Place among the programs of an image, which fixes its addresses. */
  readonly slot: number
  /** The first is main. */
  readonly functions: readonly BusyFunction[]
  readonly iterations: number
  /** Number of the alias that main runs in. */
  readonly alias: number
  readonly edits: readonly Edit[]
  /** Seeds the first contents of tables, window and stack. */
  readonly memorySeed: number
  readonly medeleg: number
  readonly mideleg: number
  readonly status: bigint
  readonly integers: readonly bigint[]
  readonly floats: readonly bigint[]
  readonly fcsr: number
  readonly pool: readonly bigint[]
  readonly data: Uint8Array
}
