/**
 * The fast interpreter's side of each instruction's meaning: operands come from the record of the decoded
 * instruction. Nothing here calls a function, so that the loop around it keeps its state in the host's registers;
 * whatever is unusual is left, untouched, to the single step.
 */

import { type Expr, i32, i64 } from '../../wasm/expr.ts'
import type { FunctionBuilder, Label, Local } from '../../wasm/function.ts'
import type { CoreFunctions } from './core-functions.ts'
import { type Handler, RECORD } from './decode-cache.ts'
import { type Access, fastTlb, PAGE_BYTES, RAM_START } from './layout.ts'
import { LOADS, STORES } from './memory-access.ts'
import { loadAndReserve, modify, storeIfReserved } from './plain-atomics.ts'
import type { Instruction, LoadKind, Operands, StoreWidth } from './semantics.ts'
import { xAddress } from './state.ts'
import { pageOfLastByte, tlbOffset } from './tlb.ts'

/** What the loop carries from instruction to instruction. */
export interface LoopState {
  /** Memory address of the instruction. */
  readonly at: Local
  /** The pc less `at`. */
  readonly pcBias: Local
  /** Memory address of the instruction's record. */
  readonly record: Local
  /** Offset of the current mode's TLBs. */
  readonly modeOffset: Local
  /** Where to go on, when control leaves the page, and whether that is an arrival. */
  readonly pc: Local
  readonly arrived: Local
}

export interface LoopLabels {
  /** The instruction is done; `at` is that of the one behind it, perhaps in the next page. */
  readonly ahead: Label
  /** Control goes on at `at`, in this page. */
  readonly next: Label
  /** The same, by a jump: there may be compiled code. */
  readonly arrive: Label
  /** The same, by a branch ahead. */
  readonly pass: Label
  /** Control goes on at `pc`. */
  readonly leave: Label
  /** The single step must execute this instruction. */
  readonly single: Label
}

/** Whether the fast interpreter has a handler for an instruction: no system registers, no floating point, no block of memory. */
export function isDecoded(instruction: Instruction): boolean {
  return (
    instruction.name !== 'cbo.zero' && instruction.uses.every((use) => use === 'memory' || use === 'flow')
  )
}

/** Emits one handler; it ends in a branch. */
export function emitHandler(
  f: FunctionBuilder,
  core: CoreFunctions,
  state: LoopState,
  labels: LoopLabels,
  handler: Handler,
): void {
  f.scope(() => handler.instruction.meaning(new DecodedOperands(f, core, state, labels, handler)))
  f.set(state.at, i32.add(state.at.get, i32.const(handler.length)))
  f.br(labels.ahead)
}

class DecodedOperands implements Operands {
  readonly f: FunctionBuilder
  readonly library: CoreFunctions
  readonly #state: LoopState
  readonly #labels: LoopLabels
  readonly #handler: Handler

  constructor(
    f: FunctionBuilder,
    core: CoreFunctions,
    state: LoopState,
    labels: LoopLabels,
    handler: Handler,
  ) {
    this.f = f
    this.library = core
    this.#state = state
    this.#labels = labels
    this.#handler = handler
  }

  rs1(): Expr {
    return i64.load(i32.load16U(this.#state.record.get, RECORD.rs1), xAddress(0))
  }

  rs2(): Expr {
    return i64.load(i32.load16U(this.#state.record.get, RECORD.rs2), xAddress(0))
  }

  setRd(value: Expr): void {
    this.f.store('i64', i32.load16U(this.#state.record.get, RECORD.rd), value, xAddress(0))
  }

  imm(): Expr {
    return i64.load32S(this.#state.record.get, RECORD.immediate)
  }

  pc(): Expr {
    return i64.add(this.#state.pcBias.get, i64.extendU(this.#state.at.get))
  }

  nextPc(): Expr {
    const next = i32.add(this.#state.at.get, i32.const(this.#handler.length))
    return i64.add(this.#state.pcBias.get, i64.extendU(next))
  }

  float(): never {
    return this.#notDecoded()
  }

  setFloat(): void {
    this.#notDecoded()
  }

  rounding(): Expr {
    return this.#notDecoded()
  }

  trustedExponents(): Expr {
    return this.#notDecoded()
  }

  exactly(): void {
    this.#notDecoded()
  }

  system(): void {
    this.#notDecoded()
  }

  zeroBlock(): void {
    this.#notDecoded()
  }

  load(kind: LoadKind, addressValue: Expr): Expr {
    const { bytes, load } = LOADS[kind]
    return this.f.keep(load(this.#memory(addressValue, bytes, 'read'))).get
  }

  store(width: StoreWidth, addressValue: Expr, stored: Expr): void {
    const { bytes, kind } = STORES[width]
    this.f.store(kind, this.#memory(addressValue, bytes, 'write'), stored)
  }

  atomic(width: 32 | 64, address: Expr, change: (old: Expr) => Expr): Expr {
    return modify(this.f, width, this.#atomicAddress(width, address, 'write'), change)
  }

  loadReserved(width: 32 | 64, address: Expr): Expr {
    const at = this.#atomicAddress(width, address, 'read')
    return loadAndReserve(this.f, width, at, this.#physical(at))
  }

  storeConditional(width: 32 | 64, address: Expr, stored: Expr): Expr {
    const at = this.#atomicAddress(width, address, 'write')
    return storeIfReserved(this.f, width, at, this.#physical(at), stored)
  }

  jump(target: Expr): void {
    const { f } = this
    if (this.#handler.instruction.immediate === 'J') this.#goWithin(() => this.f.br(this.#labels.arrive))
    else f.set(this.#state.pc, target)
    f.set(this.#state.arrived, i32.const(1))
    f.br(this.#labels.leave)
  }

  branch(condition: Expr): void {
    const { f } = this
    f.if(condition, () => {
      // Loop heads may be compiled; targets ahead are reached through the region they belong to.
      const isBack = f.keep(i32.ltS(this.#offset(), i32.const(0)))
      this.#goWithin(() => {
        f.brIf(this.#labels.arrive, isBack.get)
        f.br(this.#labels.pass)
      })
      f.set(this.#state.arrived, isBack.get)
      f.br(this.#labels.leave)
    })
  }

  /** The immediate as an i32. */
  #offset(): Expr {
    return i32.load(this.#state.record.get, RECORD.immediate)
  }

  /** Moves on by the immediate, to `body` if that is in the same page; else sets the pc. */
  #goWithin(body: () => void): void {
    const { f } = this
    const { at, pc } = this.#state
    const target = f.keep(i32.add(at.get, this.#offset()))
    const isElsewhere = i32.and(i32.xor(target.get, at.get), i32.const(-PAGE_BYTES))
    f.if(
      i32.eqz(isElsewhere),
      () => {
        f.set(at, target.get)
        body()
      },
      undefined,
      'likely',
    )
    f.set(pc, i64.add(this.pc(), this.imm()))
  }

  /** Memory address of plain RAM that the fast TLBs cover. */
  #memory(addressValue: Expr, bytes: number, access: Access): Expr {
    const { f } = this
    const tlb = fastTlb(0, access)
    const address = f.keep(addressValue)
    const entry = f.keep(i32.add(tlbOffset(address.get), this.#state.modeOffset.get))
    const misses = i64.ne(i64.load(entry.get, tlb), pageOfLastByte(address.get, bytes))
    f.brIf(this.#labels.single, misses, 'unlikely')
    return i32.add(i32.wrap(address.get), i32.load(entry.get, tlb + 8))
  }

  /** The same for an access that must be aligned. */
  #atomicAddress(width: 32 | 64, addressValue: Expr, access: Access): Local {
    const { f } = this
    const address = f.keep(addressValue)
    f.brIf(this.#labels.single, i32.and(i32.wrap(address.get), i32.const(width / 8 - 1)), 'unlikely')
    return f.keep(this.#memory(address.get, width / 8, access))
  }

  #physical(at: Local): Expr {
    return i64.extendU(i32.add(at.get, i32.const((RAM_START - this.library.layout.ram) | 0)))
  }

  #notDecoded(): never {
    throw new Error(`the fast interpreter has no handler for '${this.#handler.instruction.name}'`)
  }
}
