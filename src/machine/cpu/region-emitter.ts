/**
 * Emits a region as one WebAssembly function of the type REGION_PARAMS, REGION_RESULTS.
 *
 * Guest registers that the region touches live in locals, loaded at its entry and written back at its exits; at
 * every instruction the locals hold exactly what the registers hold, so an exit may happen anywhere. `leave` goes
 * on at another pc, in compiled code if there is any. `bail` hands the next instruction to the interpreter. A guest
 * call is a Wasm call, and a guest return a Wasm return: the caller goes on if control came back where it expects
 * it, with the same translation of its page; otherwise it returns too, and so the stack unwinds when the guest
 * switches stacks.
 *
 * Each block takes its number of instructions from the budget when it begins; an exit in its middle gives back what
 * was not executed. The budget is checked only at the entry, at loop heads and after calls, against the longest way
 * to the next such place; where it may not last, the interpreter goes on and stops exactly.
 */
import { call, type Expr, i32, i64 } from '../../wasm/expr.ts'
import type { FunctionBuilder, Label, Local } from '../../wasm/function.ts'
import { CAUSE, readControl, readField, writeField, ZERO } from './access.ts'
import { type Structure, structure } from './control-flow.ts'
import { fastTlb, type Layout, MODE, PAGE_BYTES, RAM_START } from './layout.ts'
import { LOADS, STORES } from './memory-access.ts'
import { STATUS } from './mmu.ts'
import type { Block, PlacedInstruction } from './region-graph.ts'
import type { CsrKind, Library, LoadKind, Operands, StoreWidth, SystemKind } from './semantics.ts'
import { isFloatStore } from './semantics.ts'
import { fAddress, xAddress } from './state.ts'
import { refused } from './traps.ts'

/** What all regions of a module share. */
export interface RegionContext {
  readonly library: Library
  readonly layout: Layout
  /** Translation mode the code runs in. */
  readonly mode: number
  /** Memory address of the page the region lies in. */
  readonly pageAddress: number
}

/** Guest calls nested as Wasm calls; deeper ones jump. Keeps the host's stack (1 MB by default) from running over. */
const CALL_DEPTH_MAX = 400

export function emitRegion(f: FunctionBuilder, context: RegionContext, blocks: readonly Block[]): void {
  new RegionEmitter(f, context, blocks).emit()
}

class RegionEmitter {
  readonly f: FunctionBuilder
  readonly context: RegionContext
  readonly #blocks: readonly Block[]
  readonly #indexOf: ReadonlyMap<number, number>
  readonly #structure: Structure
  readonly #isCheckpoint: boolean[]
  /** Instructions from the start of each block to the next checkpoint or exit, at most. */
  readonly #longestWay: readonly number[]
  readonly #loopLabels = new Map<number, Label>()
  readonly #followLabels = new Map<number, Label>()
  readonly registers: readonly (Local | null)[]
  readonly #written: readonly number[]
  readonly page: Local
  readonly budget: Local
  readonly #depth: Local
  readonly #exitPc: Local
  #leaveLabel!: Label
  #returnLabel!: Label
  #bailLabel!: Label

  constructor(f: FunctionBuilder, context: RegionContext, blocks: readonly Block[]) {
    this.f = f
    this.context = context
    this.#blocks = blocks
    this.#indexOf = new Map(blocks.map((b, i) => [b.offset, i]))
    this.#structure = structure({ successors: blocks.map((b) => this.#successors(b)) })
    this.#isCheckpoint = blocks.map((_, i) => i === 0 || this.#structure.isLoopHeader[i])
    for (const block of blocks) {
      const back = block.terminator.kind === 'call' ? this.#indexOf.get(block.terminator.returnTo) : undefined
      if (back !== undefined) this.#isCheckpoint[back] = true
    }
    this.#longestWay = this.#longestWays()
    const { touched, written } = registerUse(blocks)
    this.registers = Array.from({ length: 32 }, (_, i) => ((touched >>> i) & 1 ? f.local('i64') : null))
    this.#written = this.registers.map((_, i) => i).filter((i) => (written >>> i) & 1)
    this.page = f.local('i64')
    this.budget = f.paramLocals[1]
    this.#depth = f.paramLocals[2]
    this.#exitPc = f.local('i64')
  }

  emit(): void {
    const { f } = this
    f.set(this.page, i64.and(f.paramLocals[0].get, i64.const(-PAGE_BYTES)))
    this.#loadRegisters()
    f.block((bail) => {
      this.#bailLabel = bail
      f.block((returning) => {
        this.#returnLabel = returning
        f.block((leave) => {
          this.#leaveLabel = leave
          this.#emitTree(0)
          f.unreachable()
        })
        this.#writeBack()
        f.returnCall(this.#dispatch(), this.#exitPc.get, this.budget.get, this.#depth.get)
      })
      this.#writeBack()
      writeField(f, 'pc', this.#exitPc.get)
      f.return(this.budget.get)
    })
    this.#writeBack()
    writeField(f, 'pc', this.#exitPc.get)
    f.return(i32.xor(this.budget.get, i32.const(-1)))
  }

  /** Goes on at `pc` outside the region. */
  leave(pc: Expr): void {
    this.f.set(this.#exitPc, pc)
    this.f.br(this.#leaveLabel)
  }

  /** A guest return: to the Wasm caller if there is one. */
  returnTo(pc: Expr): void {
    this.f.set(this.#exitPc, pc)
    this.f.brIf(this.#leaveLabel, i32.eqz(this.#depth.get))
    this.f.br(this.#returnLabel)
  }

  /** A guest call; afterwards the function goes on only if control came back to `returnOffset` in this very page. */
  call(target: Expr, returnOffset: number): void {
    const { f } = this
    this.#writeBack()
    const callee = f.keep(target)
    f.if(
      i32.geU(this.#depth.get, i32.const(CALL_DEPTH_MAX)),
      () => f.returnCall(this.#dispatch(), callee.get, this.budget.get, this.#depth.get),
      undefined,
      'unlikely',
    )
    f.set(
      this.budget,
      call('i32', this.#dispatch(), callee.get, this.budget.get, i32.add(this.#depth.get, i32.const(1))),
    )
    const elsewhere = i32.or(i32.ltS(this.budget.get, ZERO), i64.ne(readField('pc'), this.pc(returnOffset)))
    f.if(i32.or(elsewhere, this.#pageIsLost()), () => f.return(this.budget.get), undefined, 'unlikely')
    this.#loadRegisters()
  }

  /** i32: whether a fetch from the region's page would now have to ask more than the fast fetch TLB, or find another page. */
  #pageIsLost(): Expr {
    const tlb = fastTlb(this.context.mode, 'execute')
    const entry = this.f.keep(tlbIndex(this.page.get))
    const otherPage = i64.ne(i64.load(entry.get, tlb), this.page.get)
    const otherMemory = i32.ne(
      i32.add(i32.wrap(this.page.get), i32.load(entry.get, tlb + 8)),
      i32.const(this.context.pageAddress),
    )
    return i32.or(i32.or(otherPage, otherMemory), i32.ne(readControl('mode'), i32.const(this.context.mode)))
  }

  /** Goes on at a computed pc if nothing asks for attention, else has the run loop look first. */
  leaveUnlessAttention(pc: Expr): void {
    const { f } = this
    f.set(this.#exitPc, pc)
    f.brIf(this.#leaveLabel, i32.eqz(readControl('attention')))
    f.br(this.#bailLabel)
  }

  #dispatch(): number {
    return this.context.library.functionIndex('dispatch')
  }

  #loadRegisters(): void {
    this.registers.forEach((local, i) => {
      if (local !== null) this.f.set(local, i64.load(ZERO, xAddress(i)))
    })
  }

  /** Returns to the interpreter at the instruction at `offset`, giving back `unused` units of budget. */
  bail(offset: number, unused: number): void {
    const { f } = this
    f.set(this.#exitPc, this.pc(offset))
    if (unused !== 0) f.set(this.budget, i32.add(this.budget.get, i32.const(unused)))
    f.br(this.#bailLabel)
  }

  pc(offset: number): Expr {
    return i64.add(this.page.get, i64.const(offset))
  }

  #writeBack(): void {
    for (const i of this.#written) {
      const local = this.registers[i]
      if (local !== null) this.f.store('i64', ZERO, local.get, xAddress(i))
    }
  }

  #successors(block: Block): number[] {
    const t = block.terminator
    const offsets =
      t.kind === 'branch'
        ? [t.otherwise, t.taken]
        : t.kind === 'jump' || t.kind === 'fall'
          ? [t.to]
          : t.kind === 'call'
            ? [t.returnTo]
            : []
    return offsets.map((o) => this.#indexOf.get(o)).filter((i) => i !== undefined)
  }

  #longestWays(): number[] {
    const { order, position } = this.#structure
    const longest = this.#blocks.map((b) => b.instructions.length)
    for (const node of [...order].reverse()) {
      const ahead = this.#successors(this.#blocks[node])
        .filter((to) => position[to] > position[node] && !this.#isCheckpoint[to])
        .map((to) => longest[to])
      longest[node] += Math.max(0, ...ahead)
    }
    return longest
  }

  #emitTree(node: number): void {
    const merges = this.#structure.children[node]
      .filter((child) => this.#structure.isMerge[child])
      .sort((a, b) => this.#structure.position[b] - this.#structure.position[a])
    if (this.#structure.isLoopHeader[node]) {
      this.f.loop((label) => {
        this.#loopLabels.set(node, label)
        this.#emitWithin(node, merges)
      })
    } else {
      this.#emitWithin(node, merges)
    }
  }

  /** Nests a block for each merge node that `node` dominates, so that a branch to the block's end arrives there. */
  #emitWithin(node: number, merges: readonly number[]): void {
    const [last, ...rest] = merges
    if (last === undefined) {
      this.#emitBlock(node)
      return
    }
    this.f.block((label) => {
      this.#followLabels.set(last, label)
      this.#emitWithin(node, rest)
    })
    this.#emitTree(last)
  }

  #emitBlock(node: number): void {
    const { f } = this
    const block = this.#blocks[node]
    const count = block.instructions.length
    if (this.#isCheckpoint[node]) {
      const needed = i32.const(this.#longestWay[node])
      f.if(i32.ltS(this.budget.get, needed), () => this.bail(block.offset, 0), undefined, 'unlikely')
    }
    if (count > 0) f.set(this.budget, i32.sub(this.budget.get, i32.const(count)))
    let floatChecked = false
    let roundingChecked = false
    let condition: Expr | null = null
    block.instructions.forEach((one, i) => {
      const uses = one.instruction.uses
      f.scope(() => {
        const operands = new RegionOperands(this, one, count - i)
        if (uses.includes('float') && !floatChecked) {
          operands.requireFloat()
          floatChecked = !isFloatStore(one.instruction)
        }
        if (uses.includes('rounding') && operands.hasDynamicRounding && !roundingChecked) {
          operands.requireRounding()
          roundingChecked = true
        }
        one.instruction.meaning(operands)
        // A control register may have turned the unit off or changed its rounding mode.
        if (uses.includes('system')) {
          floatChecked = false
          roundingChecked = false
        }
        condition = operands.condition
        if (condition !== null) this.#branch(node, condition)
      })
    })
    if (condition === null) this.#terminate(node)
  }

  #branch(node: number, condition: Expr): void {
    const t = this.#blocks[node].terminator
    if (t.kind !== 'branch') throw new Error('a condition without a branch')
    this.f.if(
      condition,
      () => this.#go(node, t.taken),
      () => this.#go(node, t.otherwise),
    )
  }

  #terminate(node: number): void {
    const t = this.#blocks[node].terminator
    if (t.kind === 'fall' || t.kind === 'jump') this.#go(node, t.to)
    else if (t.kind === 'call') this.#go(node, t.returnTo)
    else if (t.kind === 'stop') this.bail(t.at, 0)
    // 'leave' was emitted by the instruction itself.
  }

  #go(from: number, offset: number): void {
    const to = this.#indexOf.get(offset)
    const { position, isMerge, cut } = this.#structure
    if (to === undefined || cut.has(from * this.#blocks.length + to)) {
      this.leave(this.pc(offset))
      return
    }
    if (position[to] <= position[from]) this.f.br(this.#loopLabels.get(to) as Label)
    else if (isMerge[to]) this.f.br(this.#followLabels.get(to) as Label)
    else this.#emitTree(to)
  }
}

/** Which integer registers a region reads or writes, and which it writes. */
function registerUse(blocks: readonly Block[]): { touched: number; written: number } {
  let touched = 0
  let written = 0
  // Over-approximates: fields that an instruction does not use as registers may name one; that only costs a load.
  for (const block of blocks) {
    for (const { word } of block.instructions) {
      touched |= (1 << ((word >>> 15) & 31)) | (1 << ((word >>> 20) & 31))
      if (mayWriteInteger(word & 0x7f)) written |= 1 << ((word >>> 7) & 31)
    }
  }
  return { touched: (touched | written) & ~1, written: written & ~1 }
}

/** Branches and stores have no rd; floating loads and fused operations have a floating one. */
function mayWriteInteger(opcode: number): boolean {
  switch (opcode) {
    case 0x63:
    case 0x23:
    case 0x27:
    case 0x07:
    case 0x43:
    case 0x47:
    case 0x4b:
    case 0x4f:
      return false
    default:
      return true
  }
}

/** Registers that hold return addresses (The RISC-V Instruction Set Manual, Volume I, 2.5.1: hints for return-address stacks). */
const RETURN_ADDRESS = 1
const ALTERNATE_LINK = 5

/** Operands known at compile time: constants and locals. `remaining` counts this instruction and those after it in its block. */
class RegionOperands implements Operands {
  readonly f: FunctionBuilder
  readonly library: Library
  condition: Expr | null = null
  readonly #emitter: RegionEmitter
  readonly #one: PlacedInstruction
  readonly #remaining: number

  constructor(emitter: RegionEmitter, one: PlacedInstruction, remaining: number) {
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
    const local = this.#emitter.registers[(this.#one.word >>> 7) & 31]
    if (local !== null) this.f.set(local, value)
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

  fs1(): Expr {
    return i64.load(ZERO, this.#float(15))
  }

  fs2(): Expr {
    return i64.load(ZERO, this.#float(20))
  }

  fs3(): Expr {
    return i64.load(ZERO, this.#float(27))
  }

  setFd(value: Expr): void {
    this.f.store('i64', ZERO, value, this.#float(7))
  }

  /** The unit must be on; for an instruction that changes its state, that state must be dirty already. */
  requireFloat(): void {
    const state = i64.and(readField('mstatus'), i64.const(STATUS.fs))
    const refused = isFloatStore(this.#one.instruction) ? i64.eqz(state) : i64.ne(state, i64.const(STATUS.fs))
    this.f.if(refused, () => this.#bail(), undefined, 'unlikely')
  }

  get hasDynamicRounding(): boolean {
    return this.#staticRounding() === 7
  }

  requireRounding(): void {
    this.f.if(i32.gtU(this.rounding(), i32.const(4)), () => this.#bail(), undefined, 'unlikely')
  }

  rounding(): Expr {
    const fixed = this.#staticRounding()
    return fixed === 7 ? i32.wrap(i64.shrU(readField('fcsr'), i64.const(5))) : i32.const(fixed)
  }

  roundsFast(): Expr {
    const fcsr = i32.wrap(readField('fcsr'))
    const fixed = this.#staticRounding()
    if (fixed === 0) return i32.and(fcsr, i32.const(1))
    if (fixed !== 7) return ZERO
    // frm is zero and the inexact flag is up.
    return i32.eq(i32.and(fcsr, i32.const(0xe1)), i32.const(1))
  }

  load(kind: LoadKind, addressValue: Expr): Expr {
    const { f } = this
    const access = LOADS[kind]
    const tlb = fastTlb(this.#emitter.context.mode, 'read')
    const address = f.keep(addressValue)
    const entry = f.keep(tlbIndex(address.get))
    const value = f.temp('i64')
    f.if(
      i64.ne(i64.load(entry.get, tlb), i64.and(address.get, i64.const(-PAGE_BYTES | (access.bytes - 1)))),
      () => {
        f.set(
          value,
          call('i64', this.library.functionIndex('loadSlow'), address.get, i32.const(access.bytes)),
        )
        f.if(readControl('fault'), () => this.#bail(), undefined, 'unlikely')
        f.set(value, access.extend(value.get))
      },
      () => f.set(value, access.load(i32.add(i32.wrap(address.get), i32.load(entry.get, tlb + 8)))),
      'unlikely',
    )
    return value.get
  }

  store(width: StoreWidth, addressValue: Expr, stored: Expr): void {
    const { f } = this
    const access = STORES[width]
    const tlb = fastTlb(this.#emitter.context.mode, 'write')
    const address = f.keep(addressValue)
    const entry = f.keep(tlbIndex(address.get))
    f.if(
      i64.ne(i64.load(entry.get, tlb), i64.and(address.get, i64.const(-PAGE_BYTES | (access.bytes - 1)))),
      () => {
        f.call(this.library.functionIndex('storeSlow'), address.get, i32.const(access.bytes), stored)
        f.if(
          i32.or(readControl('fault'), readControl('codeChanged')),
          () => {
            f.if(readControl('fault'), () => this.#bail())
            // The store is done, but code was changed by it, perhaps this region's.
            this.#emitter.bail(this.#one.offset + this.#one.length, this.#remaining - 1)
          },
          undefined,
          'unlikely',
        )
      },
      () => f.store(access.kind, i32.add(i32.wrap(address.get), i32.load(entry.get, tlb + 8)), stored),
      'unlikely',
    )
  }

  atomic(width: 32 | 64, address: Expr, change: (old: Expr) => Expr): Expr {
    const { f } = this
    const at = this.#atomicAddress(width, address, 'write')
    const old = f.keep(width === 32 ? i64.load32S(at.get) : i64.load(at.get))
    f.store(width === 32 ? 'i64_32' : 'i64', at.get, change(old.get))
    return old.get
  }

  loadReserved(width: 32 | 64, address: Expr): Expr {
    const { f } = this
    const at = this.#atomicAddress(width, address, 'read')
    writeField(f, 'reservation', this.#physical(at))
    return f.keep(width === 32 ? i64.load32S(at.get) : i64.load(at.get)).get
  }

  storeConditional(width: 32 | 64, address: Expr, stored: Expr): Expr {
    const { f } = this
    const at = this.#atomicAddress(width, address, 'write')
    const failed = f.keep(i64.extendU(i64.ne(readField('reservation'), this.#physical(at))))
    f.if(i64.eqz(failed.get), () => f.store(width === 32 ? 'i64_32' : 'i64', at.get, stored))
    writeField(f, 'reservation', i64.const(-1))
    return failed.get
  }

  jump(target: Expr): void {
    const links = ((this.#one.word >>> 7) & 31) !== 0
    if (links) {
      this.#emitter.call(target, this.#one.offset + this.#one.length)
    } else if (this.#one.instruction.name === 'jalr') {
      const from = (this.#one.word >>> 15) & 31
      if (from === RETURN_ADDRESS || from === ALTERNATE_LINK) this.#emitter.returnTo(target)
      else this.#emitter.leave(target)
    }
    // A plain jump to a known place is the block's terminator.
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
        this.#emitter.leaveUnlessAttention(call('i64', core('returnFromSupervisor')))
        return
      case 'sfence.vma':
        f.if(refused(1, STATUS.tvm), () => this.#bail(), undefined, 'unlikely')
        f.call(core('fence'), this.rs1(), i32.const(((this.#one.word >>> 15) & 31) === 0 ? 0 : 1))
        this.#emitter.leave(this.nextPc())
        return
      case 'ebreak':
      case 'mret':
      case 'wfi':
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
    const local = this.#emitter.registers[(this.#one.word >>> shift) & 31]
    return local === null ? i64.const(0) : local.get
  }

  #float(shift: number): number {
    return fAddress((this.#one.word >>> shift) & 31)
  }

  /** Aligned RAM with a fast entry; anything else is the interpreter's. */
  #atomicAddress(width: 32 | 64, addressValue: Expr, access: 'read' | 'write'): Local {
    const { f } = this
    const tlb = fastTlb(this.#emitter.context.mode, access)
    const address = f.keep(addressValue)
    const entry = f.keep(tlbIndex(address.get))
    f.if(
      i64.ne(i64.load(entry.get, tlb), i64.and(address.get, i64.const(-PAGE_BYTES | (width / 8 - 1)))),
      () => this.#bail(),
      undefined,
      'unlikely',
    )
    return f.keep(i32.add(i32.wrap(address.get), i32.load(entry.get, tlb + 8)))
  }

  #physical(at: Local): Expr {
    return i64.extendU(i32.add(at.get, i32.const((RAM_START - this.#emitter.context.layout.ram) | 0)))
  }
}

function tlbIndex(address: Expr): Expr {
  return i32.and(i32.shrU(i32.wrap(address), i32.const(8)), i32.const(0xff0))
}

function hasCall(e: Expr): boolean {
  return e.kind === 'call' || e.args.some(hasCall)
}
