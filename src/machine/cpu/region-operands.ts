/** The region compiler's side of each instruction's meaning: operands are constants and locals. */

import { call, type Expr, i32, i64 } from '../../wasm/expr.ts'
import type { FunctionBuilder, Local } from '../../wasm/function.ts'
import { CAUSE, readControl, readField } from './access.ts'
import { BLOCK_ENABLE, isBlockRefused } from './cache-block.ts'
import { type Format, RMM } from './fp/format.ts'
import { type Layout, MODE, RAM_START } from './layout.ts'
import { loadAndReserve, modify, storeIfReserved } from './plain-atomics.ts'
import type { RegionFloat } from './region-float.ts'
import { isCall, isReturn, type PlacedInstruction } from './region-graph.ts'
import type { MemoryExits, RegionMemory } from './region-memory.ts'
import { asksForTrust, registerOf } from './register-use.ts'
import type {
  CsrKind,
  FloatOperand,
  FloatSource,
  Library,
  LoadKind,
  Operands,
  StoreWidth,
  SystemKind,
} from './semantics.ts'
import { SOURCE_FIELD } from './semantics.ts'
import { STATUS } from './status.ts'
import { refused } from './traps.ts'

/** The rounding mode that says to use the dynamic one. */
const DYNAMIC = 7

/** A page of RAM that a region was compiled from. */
export interface RegionPage {
  /** Its number. */
  readonly page: number
  /** Its address in the machine's memory. */
  readonly address: number
  /** A bit for each line that holds instructions of the region. */
  readonly lines: bigint
}

/** What a region is compiled with. */
export interface RegionContext {
  readonly library: Library
  readonly layout: Layout
  /** Translation mode the code runs in. */
  readonly mode: number
  /** The pages the region lies in, counted from the entry's. */
  readonly pages: ReadonlyMap<number, RegionPage>
}

/** What an instruction may ask of the region it stands in. */
export interface RegionExits {
  readonly f: FunctionBuilder
  readonly context: RegionContext
  readonly budget: Local
  readonly memory: RegionMemory
  readonly floats: RegionFloat
  /** Reads an integer register. */
  register(register: number): Expr
  /** Writes an integer register other than x0. */
  setRegister(register: number, value: Expr): void
  /** The address of an offset in the region's page. */
  pc(offset: number): Expr
  leave(pc: Expr): void
  returnTo(pc: Expr): void
  jumpTo(pc: Expr): void
  call(target: Expr, returnOffset: number): void
  leaveUnlessAttention(pc: Expr): void
  bail(offset: number, unused: number): void
}

/** Operands known at compile time: constants and locals. `remaining` counts this instruction and those after it in its block. */
export class RegionOperands implements Operands {
  readonly f: FunctionBuilder
  readonly library: Library
  condition: Expr | null = null
  readonly #emitter: RegionExits
  readonly #one: PlacedInstruction
  readonly #remaining: number
  readonly #memoryExits: MemoryExits = {
    before: () => this.#bail(),
    after: () => this.#emitter.bail(this.#one.offset + this.#one.length, this.#remaining - 1),
  }

  constructor(emitter: RegionExits, one: PlacedInstruction, remaining: number) {
    this.f = emitter.f
    this.library = emitter.context.library
    this.#emitter = emitter
    this.#one = one
    this.#remaining = remaining
  }

  rs1(): Expr {
    return this.#read(15)
  }

  rs2(): Expr {
    return this.#read(20)
  }

  setRd(value: Expr): void {
    const register = (this.#one.word >>> 7) & 31
    if (register !== 0) this.#emitter.setRegister(register, value)
    // x0: the value is dropped, but a call in it may raise flags.
    else if (hasCall(value)) this.f.drop(value)
  }

  imm(): Expr {
    return i64.const(this.#one.immediate)
  }

  pc(): Expr {
    return this.#emitter.pc(this.#one.offset)
  }

  nextPc(): Expr {
    return this.#emitter.pc(this.#one.offset + this.#one.length)
  }

  float(of: Format, source: FloatSource): FloatOperand {
    return this.#emitter.floats.read(of, registerOf(this.#one.word, SOURCE_FIELD[source]))
  }

  setFloat(of: Format, value: Expr): void {
    this.#emitter.floats.write(of, registerOf(this.#one.word, 'rd'), value)
  }

  /** What must hold before the instruction is begun. */
  require(): void {
    const { floats } = this.#emitter
    floats.require(this.#one, () => this.#bail())
    // Where the mode is looked at before a result is trusted, that is soon enough.
    if (this.#hasDynamicRounding && !asksForTrust(this.#one.instruction)) this.#requireRounding()
  }

  #requireRounding(): void {
    this.f.if(i32.gtU(this.rounding(), i32.const(RMM)), () => this.#bail(), undefined, 'unlikely')
  }

  get #hasDynamicRounding(): boolean {
    return this.#one.instruction.uses.includes('rounding') && this.#staticRounding() === DYNAMIC
  }

  rounding(): Expr {
    const fixed = this.#staticRounding()
    return fixed === DYNAMIC ? i32.wrap(i64.shrU(readField('fcsr'), i64.const(5))) : i32.const(fixed)
  }

  trustedExponents(of: Format): Expr {
    return this.#emitter.floats.trusted(of)
  }

  exactly(body: () => void): void {
    if (this.#hasDynamicRounding) this.#requireRounding()
    body()
    this.#emitter.floats.afterFlags()
  }

  load(kind: LoadKind, address: Expr): Expr {
    return this.#emitter.memory.load(kind, address, this.#memoryExits)
  }

  store(width: StoreWidth, address: Expr, stored: Expr): void {
    this.#emitter.memory.store(width, address, stored, this.#memoryExits)
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

  zeroBlock(address: Expr): void {
    const { f } = this
    f.if(isBlockRefused(BLOCK_ENABLE.zero), () => this.#bail(), undefined, 'unlikely')
    this.#emitter.memory.zeroBlock(address, this.#memoryExits)
  }

  jump(target: Expr): void {
    const { word, instruction, offset, length } = this.#one
    const links = ((word >>> 7) & 31) !== 0
    if (isCall(word)) this.#emitter.call(target, offset + length)
    else if (instruction.name === 'jal') {
      // A plain jump to a known place is the block's terminator.
      if (links) this.#emitter.leave(target)
    } else if (!links && isReturn(word)) this.#emitter.returnTo(target)
    else this.#emitter.jumpTo(target)
  }

  branch(condition: Expr): void {
    this.condition = condition
  }

  system(kind: SystemKind): void {
    const { f } = this
    const { mode } = this.#emitter.context
    const core = (name: string): number => this.library.functionIndex(name)
    switch (kind) {
      case 'ecall':
        // The kernel's own calls go to the firmware, which is outside of the core.
        if (mode !== MODE.user) this.#bail()
        else
          this.#emitter.leave(
            call('i64', core('trap'), i64.const(CAUSE.ecallFromUser), i64.const(0), this.pc()),
          )
        return
      case 'sret':
        f.if(refused(1, STATUS.tsr), () => this.#bail(), undefined, 'unlikely')
        this.#emitter.leaveUnlessAttention(
          call('i64', core('returnFromSupervisor'), this.#emitter.budget.get),
        )
        return
      case 'sfence.vma':
        f.if(refused(1, STATUS.tvm), () => this.#bail(), undefined, 'unlikely')
        f.call(core('fence'), this.rs1(), i32.const(((this.#one.word >>> 15) & 31) === 0 ? 0 : 1))
        this.#emitter.leave(this.nextPc())
        return
      case 'ebreak':
      case 'mret':
      case 'wfi':
      case 'cbo.inval':
      case 'cbo.clean':
      case 'cbo.flush':
        throw new Error(`${kind} is the interpreter's`)
      default:
        this.#csr(kind)
    }
  }

  #csr(kind: CsrKind): void {
    const { f } = this
    const number = i32.const(this.#one.word >>> 20)
    const always = kind.startsWith('csrrw')
    const writes = always || ((this.#one.word >>> 15) & 31) !== 0
    const operand = f.keep(kind.endsWith('i') ? this.imm() : this.rs1())
    const after = this.#remaining - 1
    // What the interpreter would have left after taking this instruction's unit.
    const budget = f.keep(i32.add(this.#emitter.budget.get, i32.const(after)))
    const old = f.keep(
      call('i64', this.library.functionIndex('readCsr'), number, i32.const(writes ? 1 : 0), budget.get),
    )
    f.if(readControl('fault'), () => this.#bail(), undefined, 'unlikely')
    if (!writes) {
      this.setRd(old.get)
      return
    }
    const value = always
      ? operand.get
      : kind.startsWith('csrrs')
        ? i64.or(old.get, operand.get)
        : i64.and(old.get, i64.xor(operand.get, i64.const(-1)))
    f.call(this.library.functionIndex('writeCsr'), number, value, budget.get)
    this.setRd(old.get)
    const next = this.#one.offset + this.#one.length
    f.if(readControl('attention'), () => this.#emitter.bail(next, after), undefined, 'unlikely')
    // Under another translation mode, or other translations, what follows is other code.
    const changesTranslation = i32.ne(readControl('mode'), i32.const(this.#emitter.context.mode))
    f.if(changesTranslation, () => {
      f.set(this.#emitter.budget, budget.get)
      this.#emitter.leave(this.nextPc())
    })
  }

  /** The interpreter executes this instruction. */
  #bail(): void {
    this.#emitter.bail(this.#one.offset, this.#remaining)
  }

  #staticRounding(): number {
    return (this.#one.word >>> 12) & 7
  }

  #read(shift: number): Expr {
    return this.#emitter.register((this.#one.word >>> shift) & 31)
  }

  /** Aligned RAM with a fast entry; anything else is the interpreter's. */
  #atomicAddress(width: 32 | 64, address: Expr, access: 'read' | 'write'): Local {
    return this.#emitter.memory.atomicAddress(width, address, access, this.#memoryExits)
  }

  #physical(at: Local): Expr {
    return i64.extendU(i32.add(at.get, i32.const((RAM_START - this.#emitter.context.layout.ram) | 0)))
  }
}

function hasCall(e: Expr): boolean {
  return e.kind === 'call' || e.args.some(hasCall)
}
