import { call, type Expr, type ValueType } from '../../wasm/expr.ts'
import type { FunctionBuilder } from '../../wasm/function.ts'
import type { ModuleBuilder } from '../../wasm/module.ts'
import type { Layout } from './layout.ts'
import type { Library } from './semantics.ts'

/**
 * The type of compiled regions: (pc, budget, depth) → what is left.
 *
 * `depth` counts the guest calls that are Wasm calls. The result is the budget left when control goes on at the
 * stored pc in compiled code or by a return to the caller; its complement (negative) when the interpreter must
 * execute the instruction at the stored pc.
 */
export const REGION_PARAMS = ['i64', 'i32', 'i32'] as const
export const REGION_RESULTS = ['i32'] as const

export interface FunctionSignature {
  readonly name: string
  readonly params: readonly ValueType[]
  readonly results: readonly ValueType[]
}

/** Signatures of the core's own functions: parameter types, result types. */
export const coreSignatures = {
  /** (virtual address, access 0 read 1 write 2 execute) → physical address, or -1 with the trap left in `control`. */
  walk: [['i64', 'i32'], ['i64']],
  /** (virtual address) → physical address through the architectural TLB, or -1 with the trap left in `control`. */
  translateRead: [['i64'], ['i64']],
  translateWrite: [['i64'], ['i64']],
  translateExecute: [['i64'], ['i64']],
  /** (virtual address, bytes) → value, zero-extended; `control.fault` tells if it failed. */
  loadSlow: [['i64', 'i32'], ['i64']],
  /** (virtual address, bytes, value) */
  storeSlow: [['i64', 'i32', 'i64'], []],
  /** (virtual address, bytes, 0 LR or 1 SC and AMO) → memory address, or 0 with `control.fault` set. */
  atomicAddress: [['i64', 'i32', 'i32'], ['i32']],
  /** CBO.ZERO: (virtual address); `control.fault` tells if it failed. */
  zeroSlow: [['i64'], []],
  /** CBO.CLEAN, CBO.FLUSH, CBO.INVAL: (virtual address); `control.fault` tells if it may not be accessed. */
  checkBlock: [['i64'], []],
  /** (memory address, bytes): what a write to RAM must do beyond the write. */
  wroteRam: [['i32', 'i32'], []],
  /** (memory address of a page's word in `pageCode`) → address of a code table for it. */
  takeCodeTable: [['i32'], ['i32']],
  dropCode: [[], []],
  flushTlbs: [[], []],
  flushFastWrites: [[], []],
  flushPage: [['i64'], []],
  /** Derives `control.mode` from the privilege and status registers. */
  setMode: [[], []],
  /** (cause with bit 63 for interrupts, value, pc of the instruction) → pc of the handler. */
  trap: [['i64', 'i64', 'i64'], ['i64']],
  /** (budget left) → guest clock in ticks. */
  clock: [['i32'], ['i64']],
  /** (budget left) → pending interrupts, timers included. */
  pending: [['i32'], ['i64']],
  /** (CSR number, 1 when it will be written, budget left) → value; `control.fault` when the access is illegal. */
  readCsr: [['i32', 'i32', 'i32'], ['i64']],
  /** (CSR number, value read) → what a read-modify-write combines: for mip, without the lines that software does not drive. */
  modifiable: [['i32', 'i64'], ['i64']],
  /** (CSR number, value, budget left) */
  writeCsr: [['i32', 'i64', 'i32'], []],
  /** (pc) → memory address of the instruction's first half; 0 after a fault. Fills the fetch TLB. */
  fetchPage: [['i64'], ['i32']],
  /** (memory address of an instruction, memory address of its record): makes the record. */
  decode: [['i32', 'i32'], []],
  /** (pc, the instruction's bytes, budget left) → a STEP value; executes one instruction and stores the next pc. */
  step: [['i64', 'i32', 'i32'], ['i32']],
  /** (budget) → budget left: executes from the stored pc until the budget is spent or attention is asked for. */
  interpret: [['i32'], ['i32']],
  /** A compiled region's type. Continues at `pc` in compiled code if there is any; else returns with the pc stored. */
  dispatch: [REGION_PARAMS, REGION_RESULTS],
  /** SRET: (budget left) → new pc; leaves the hart in its new state. */
  returnFromSupervisor: [['i32'], ['i64']],
  /** SFENCE.VMA: (address, 1 when an address was given). */
  fence: [['i64', 'i32'], []],
  /** (pc, code table entry's memory address): counts a visit; queues the entry when it became hot. */
  heat: [['i64', 'i32'], []],
  /** (budget) → budget left: the machine's outer loop. */
  run: [['i32'], ['i32']],
  /** (from, to) → 64-bit hash of memory between two addresses, both multiples of 32. */
  hash: [['i32', 'i32'], ['i64']],
  /** (memory address, bytes) → their internet checksum's sum as a 16-bit little-endian number, not complemented. */
  checksum: [['i32', 'i32'], ['i32']],
} as const satisfies Record<string, readonly [readonly ValueType[], readonly ValueType[]]>

export type CoreFunctionName = keyof typeof coreSignatures

/**
 * The functions of the machine's core module: declared together, so that each may call any other, then defined
 * file by file.
 */
export class CoreFunctions implements Library {
  readonly layout: Layout
  readonly #indices = new Map<string, number>()
  readonly #bodies = new Map<CoreFunctionName, FunctionBuilder>()

  constructor(module: ModuleBuilder, layout: Layout, imported: ReadonlyMap<string, number>) {
    this.layout = layout
    for (const [name, index] of imported) this.#indices.set(name, index)
    for (const [name, [params, results]] of Object.entries(coreSignatures)) {
      const { index, body } = module.function(params, results, name)
      this.#indices.set(name, index)
      this.#bodies.set(name as CoreFunctionName, body)
    }
  }

  /** Makes functions of another library (floating point) callable by name. */
  add(functions: ReadonlyMap<string, number>): void {
    for (const [name, index] of functions) this.#indices.set(name, index)
  }

  functionIndex(name: string): number {
    const index = this.#indices.get(name)
    if (index === undefined) throw new Error(`the core has no function '${name}'`)
    return index
  }

  names(): ReadonlyMap<string, number> {
    return this.#indices
  }

  /** Builds a function's body; `parameters` read its parameters. */
  define(name: CoreFunctionName, build: (f: FunctionBuilder, ...parameters: Expr[]) => void): void {
    const body = this.#bodies.get(name)
    if (body === undefined) throw new Error(`'${name}' is not declared`)
    build(body, ...body.paramLocals.map((p) => p.get))
  }

  /** An expression that calls a core function with one result. */
  call(name: CoreFunctionName, ...args: Expr[]): Expr {
    return call(coreSignatures[name][1][0] ?? 'i32', this.functionIndex(name), ...args)
  }

  /** An expression that calls an imported function or one of another library. */
  callImport(type: ValueType, name: string, ...args: Expr[]): Expr {
    return call(type, this.functionIndex(name), ...args)
  }

  /** A statement that calls a core function without result. */
  do(f: FunctionBuilder, name: CoreFunctionName, ...args: Expr[]): void {
    f.call(this.functionIndex(name), ...args)
  }
}
