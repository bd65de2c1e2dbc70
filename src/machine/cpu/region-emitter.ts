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
import { readControl, readField, writeField, ZERO } from './access.ts'
import { type Structure, structure } from './control-flow.ts'
import { fastTlb, PAGE_BYTES } from './layout.ts'
import type { Block, Terminator } from './region-graph.ts'
import { type RegionContext, type RegionExits, RegionOperands } from './region-operands.ts'
import { isFloatStore } from './semantics.ts'
import { xAddress } from './state.ts'
import { tlbOffset } from './tlb.ts'

/** Guest calls nested as Wasm calls; deeper ones jump. Keeps the host's stack (1 MB by default) from running over. */
const CALL_DEPTH_MAX = 400

export function emitRegion(f: FunctionBuilder, context: RegionContext, blocks: readonly Block[]): void {
  new RegionEmitter(f, context, blocks).emit()
}

class RegionEmitter implements RegionExits {
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
  /** The block whose instructions are being emitted. */
  #current = 0
  #leaveLabel!: Label
  #returnLabel!: Label
  #bailLabel!: Label

  constructor(f: FunctionBuilder, context: RegionContext, blocks: readonly Block[]) {
    this.f = f
    this.context = context
    this.#blocks = blocks
    this.#indexOf = new Map(blocks.map((b, i) => [b.offset, i]))
    this.#structure = structure({
      successors: blocks.map((b) => this.#successors(b)),
      labelled: new Set(blocks.flatMap((b) => (b.terminator.kind === 'computed' ? this.#successors(b) : []))),
    })
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

  /** A computed jump: by a table to the places in the region that are known as targets, else out of it. */
  jumpTo(pc: Expr): void {
    const { f } = this
    f.set(this.#exitPc, pc)
    const node = this.#current
    const targets = this.#successors(this.#blocks[node]).filter((to) => !this.#isCut(node, to))
    if (targets.length === 0) {
      f.br(this.#leaveLabel)
      return
    }
    f.brIf(this.#leaveLabel, i64.ne(i64.and(this.#exitPc.get, i64.const(-PAGE_BYTES)), this.page.get))
    const offsets = targets.map((to) => this.#blocks[to].offset)
    const first = Math.min(...offsets)
    const labels = new Array<Label>((Math.max(...offsets) - first) / 2 + 1).fill(this.#leaveLabel)
    for (const to of targets) labels[(this.#blocks[to].offset - first) / 2] = this.#labelOf(node, to)
    const distance = i32.sub(i32.and(i32.wrap(this.#exitPc.get), i32.const(PAGE_BYTES - 1)), i32.const(first))
    f.brTable(i32.shrU(distance, i32.const(1)), labels, this.#leaveLabel)
  }

  #isCut(from: number, to: number): boolean {
    return this.#structure.cut.has(from * this.#blocks.length + to)
  }

  #labelOf(from: number, to: number): Label {
    const { position } = this.#structure
    const label = position[to] <= position[from] ? this.#loopLabels.get(to) : this.#followLabels.get(to)
    if (label === undefined) throw new Error('a branch target has no label')
    return label
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
    const entry = this.f.keep(tlbOffset(this.page.get))
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
    return successorsOf(block.terminator)
      .map((offset) => this.#indexOf.get(offset))
      .filter((i) => i !== undefined)
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
    this.#current = node
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
    // The others were emitted by the instruction itself.
  }

  #go(from: number, offset: number): void {
    const to = this.#indexOf.get(offset)
    const { position, isMerge } = this.#structure
    if (to === undefined || this.#isCut(from, to)) {
      this.leave(this.pc(offset))
      return
    }
    if (position[to] > position[from] && !isMerge[to]) this.#emitTree(to)
    else this.f.br(this.#labelOf(from, to))
  }
}

/** Offsets at which a block's end may lead, known places only. */
function successorsOf(terminator: Terminator): readonly number[] {
  switch (terminator.kind) {
    case 'branch':
      return [terminator.otherwise, terminator.taken]
    case 'jump':
    case 'fall':
      return [terminator.to]
    case 'call':
      return [terminator.returnTo]
    case 'computed':
      return terminator.targets
    case 'leave':
    case 'stop':
      return []
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
