/**
 * Emits a region as one WebAssembly function of the type REGION_PARAMS, REGION_RESULTS.
 *
 * Guest registers that the region touches live in locals. What a way through the region needs is loaded at its entry
 * and after calls, and every exit and call stores what may have been written since (register-flow.ts), so an exit may
 * happen anywhere. `leave` goes on at another pc, in compiled code if there is any. `bail` hands the next instruction
 * to the interpreter. A guest call is a Wasm call, and a guest return a Wasm return: the caller goes on if control
 * came back where it expects it, with the same translation of its page; otherwise it returns too, and so the stack
 * unwinds when the guest switches stacks.
 *
 * Each block takes its number of instructions from the budget when it begins; an exit in its middle gives back what
 * was not executed. The budget is checked only at the entry, at loop heads and after calls, against the longest way
 * to the next such place; where it may not last, the interpreter goes on and stops exactly.
 */
import { call, type Expr, i32, i64 } from '../../wasm/expr.ts'
import type { FunctionBuilder, Label, Local } from '../../wasm/function.ts'
import { readControl, readField, writeField, ZERO } from './access.ts'
import { type Structure, structure } from './control-flow.ts'
import { pageOf } from './guest-code.ts'
import { fastTlb, PAGE_BYTES } from './layout.ts'
import { isStatic, placeKey, successorsOf } from './region-edges.ts'
import { RegionFloat } from './region-float.ts'
import { type Block, type Place, SWITCH_OFFSET } from './region-graph.ts'
import { RegionMemory } from './region-memory.ts'
import { type RegionContext, type RegionExits, RegionOperands, type RegionPage } from './region-operands.ts'
import { type RegionFlow, type RegisterFlow, registerFlow, storesAhead } from './register-flow.ts'
import { integerFile } from './register-use.ts'
import { xAddress } from './state.ts'
import { tlbOffset } from './tlb.ts'

/** Guest calls nested as Wasm calls; deeper ones jump. Keeps the host's stack (1 MB by default) from running over. */
const CALL_DEPTH_MAX = 400

/** More instructions than a block has. An offset beside it fits a word: pages lie within 2^20 bytes of the entry's. */
const UNUSED_BITS = 10
const UNUSED_MAX = 2 ** UNUSED_BITS - 1

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
  readonly #registers: readonly (Local | null)[]
  readonly #flow: RegisterFlow
  readonly page: Local
  readonly budget: Local
  readonly memory: RegionMemory
  readonly floats: RegionFloat
  readonly #depth: Local
  readonly #exitPc: Local
  /** What the ways out that are shared need to know: an offset, or an offset and what is left of the block's budget. */
  readonly #exit: Local
  #left: Label = { depth: 0 }
  #bailed: Label = { depth: 0 }
  /** The block whose instructions are being emitted. */
  #current = 0
  /** Integer registers whose locals may differ from memory where code is being emitted, a bit for each. */
  #dirty = 0

  constructor(f: FunctionBuilder, context: RegionContext, blocks: readonly Block[]) {
    this.f = f
    this.context = context
    this.#blocks = blocks
    this.#indexOf = new Map(blocks.map((b, i) => [placeKey(b), i]))
    this.#structure = structure({
      successors: blocks.map((b) => this.#inside(b)),
      labelled: new Set(blocks.flatMap((b) => (b.terminator.kind === 'switch' ? this.#inside(b) : []))),
    })
    this.#isCheckpoint = blocks.map((_, i) => i === 0 || this.#structure.isLoopHeader[i])
    for (const block of blocks) {
      if (block.terminator.kind === 'call')
        for (const back of this.#inside(block)) this.#isCheckpoint[back] = true
    }
    this.#longestWay = this.#longestWays()
    const flow = this.#regionFlow()
    this.#flow = registerFlow(flow, integerFile)
    this.floats = new RegionFloat(f, flow)
    const { touched } = this.#flow
    this.#registers = Array.from({ length: 32 }, (_, i) => ((touched >>> i) & 1 ? f.local('i64') : null))
    this.page = f.local('i64')
    this.budget = f.paramLocals[1]
    this.memory = new RegionMemory(f, context, blocks, this.#structure)
    this.#depth = f.paramLocals[2]
    this.#exitPc = f.local('i64')
    this.#exit = f.local('i32')
  }

  emit(): void {
    const { f } = this
    f.set(this.page, i64.and(f.paramLocals[0].get, i64.const(-PAGE_BYTES)))
    f.block((left) => {
      this.#left = left
      f.block((bailed) => {
        this.#bailed = bailed
        this.#load(0)
        this.#emitTree(0)
        f.unreachable()
      })
      const unused = i32.and(this.#exit.get, i32.const(UNUSED_MAX))
      f.set(this.budget, i32.add(this.budget.get, unused))
      writeField(f, 'pc', this.#exitTo(i32.shrS(this.#exit.get, i32.const(UNUSED_BITS))))
      f.return(i32.xor(this.budget.get, i32.const(-1)))
    })
    f.returnCall(this.#dispatch(), this.#exitTo(this.#exit.get), this.budget.get, this.#depth.get)
  }

  #exitTo(offset: Expr): Expr {
    return i64.add(this.page.get, i64.extendS(offset))
  }

  /** Goes on at `pc` outside the region. */
  leave(pc: Expr): void {
    const { f } = this
    f.set(this.#exitPc, pc)
    this.#leave()
  }

  #leave(): void {
    this.#writeBack()
    this.f.returnCall(this.#dispatch(), this.#exitPc.get, this.budget.get, this.#depth.get)
  }

  /** A computed jump: to the region's switch if it has one, else out of the region. */
  jumpTo(pc: Expr): void {
    this.f.set(this.#exitPc, pc)
    if (this.#successors(this.#current).length === 0) this.#leave()
  }

  /** Goes by a table to the places of the region that are known as targets of computed jumps, else out of it. */
  #switch(node: number): void {
    const { f } = this
    const targets = this.#successors(node)
    // None that can be compiled, or no way to them that can be nested.
    if (targets.length === 0) {
      this.#leave()
      return
    }
    f.block((elsewhere) => {
      f.brIf(elsewhere, i64.ne(i64.and(this.#exitPc.get, i64.const(-PAGE_BYTES)), this.page.get))
      const offsets = targets.map((to) => this.#blocks[to].offset)
      const first = Math.min(...offsets)
      const labels = new Array<Label>((Math.max(...offsets) - first) / 2 + 1).fill(elsewhere)
      for (const to of targets) labels[(this.#blocks[to].offset - first) / 2] = this.#labelOf(node, to)
      const inPage = i32.and(i32.wrap(this.#exitPc.get), i32.const(PAGE_BYTES - 1))
      f.brTable(i32.shrU(i32.sub(inPage, i32.const(first)), i32.const(1)), labels, elsewhere)
    })
    this.#leave()
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
    const { f } = this
    const { terminator } = this.#blocks[this.#current]
    if (terminator.kind === 'computed' && this.#successors(this.#current).length > 0) {
      f.set(this.#exitPc, pc)
      return
    }
    if (terminator.kind !== 'return' || terminator.to === null) {
      this.#return(pc)
      return
    }
    // The caller is part of the region.
    const target = f.keep(pc)
    f.if(
      i64.ne(target.get, this.pc(terminator.to.offset)),
      () => this.#return(target.get),
      undefined,
      'unlikely',
    )
  }

  #return(pc: Expr): void {
    const { f } = this
    f.set(this.#exitPc, pc)
    this.#writeBack()
    f.if(i32.eqz(this.#depth.get), () =>
      f.returnCall(this.#dispatch(), this.#exitPc.get, this.budget.get, this.#depth.get),
    )
    writeField(f, 'pc', this.#exitPc.get)
    f.return(this.budget.get)
  }

  /** A guest call; afterwards the function goes on only if control came back to `returnOffset` in this very page. */
  call(target: Expr, returnOffset: number): void {
    const { f } = this
    const node = this.#current
    // The callee's blocks are the next ones.
    if (this.#blocks[node].terminator.kind === 'enter') return
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
    const otherMode = i32.ne(readControl('mode'), i32.const(this.context.mode))
    const lost = i32.or(this.#isElsewhere(pageOf(this.#blocks[node].offset)), otherMode)
    f.if(i32.or(elsewhere, lost), () => f.return(this.budget.get), undefined, 'unlikely')
    this.#dirty = 0
    this.floats.forget()
    for (const back of this.#successors(node)) this.#load(back)
  }

  /** i32: whether a fetch from a page of the region would now have to ask more than the fast fetch TLB, or find other memory. */
  #isElsewhere(distance: number): Expr {
    const tlb = fastTlb(this.context.mode, 'execute')
    const virtual = this.pc(distance * PAGE_BYTES)
    const entry = this.f.keep(tlbOffset(virtual))
    const otherPage = i64.ne(i64.load(entry.get, tlb), virtual)
    const otherMemory = i32.ne(
      i32.add(i32.wrap(virtual), i32.load(entry.get, tlb + 8)),
      i32.const(this.#pageAt(distance).address),
    )
    return i32.or(otherPage, otherMemory)
  }

  /** i32: whether code of a page of the region was overwritten since the region was installed. Its own page's ends it at once. */
  #isChanged(distance: number): Expr {
    const { page, lines } = this.#pageAt(distance)
    const now = i64.load(ZERO, this.context.layout.codeLines + page * 8)
    return i64.ne(i64.and(now, i64.const(lines)), i64.const(lines))
  }

  #pageAt(distance: number): RegionPage {
    const page = this.context.pages.get(distance)
    if (page === undefined) throw new Error('the region has no such page')
    return page
  }

  /** Goes on at a computed pc if nothing asks for attention, else has the run loop look first. */
  leaveUnlessAttention(pc: Expr): void {
    const { f } = this
    f.set(this.#exitPc, pc)
    f.if(readControl('attention'), () => this.#bail(), undefined, 'unlikely')
    this.#leave()
  }

  #dispatch(): number {
    return this.context.library.functionIndex('dispatch')
  }

  /** Goes on at a place outside the region that is known by its offset. */
  leaveTo(offset: number): void {
    this.#writeBack()
    this.f.set(this.#exit, i32.const(offset))
    this.f.br(this.#left)
  }

  /** Returns to the interpreter at the instruction at `offset`, giving back `unused` units of budget. */
  bail(offset: number, unused: number): void {
    if (unused > UNUSED_MAX) throw new RangeError('a block is too long for its ways out')
    this.#writeBack()
    this.f.set(this.#exit, i32.const((offset << UNUSED_BITS) | unused))
    this.f.br(this.#bailed)
  }

  #bail(): void {
    const { f } = this
    this.#writeBack()
    writeField(f, 'pc', this.#exitPc.get)
    f.return(i32.xor(this.budget.get, i32.const(-1)))
  }

  register(register: number): Expr {
    return register === 0 ? i64.const(0) : this.#localOf(register).get
  }

  setRegister(register: number, value: Expr): void {
    this.f.set(this.#localOf(register), value)
    this.#dirty |= 1 << register
  }

  /** The flow knows every register that an instruction names. */
  #localOf(register: number): Local {
    const local = this.#registers[register]
    if (local === null) throw new Error(`the region has no local for x${register}`)
    return local
  }

  /** Loads the registers that are live at the beginning of a block. */
  #load(node: number): void {
    const registers = this.#flow.liveIn[node]
    this.#registers.forEach((local, i) => {
      if (local !== null && (registers >>> i) & 1) this.f.set(local, i64.load(ZERO, xAddress(i)))
    })
    this.floats.load(node)
  }

  pc(offset: number): Expr {
    return i64.add(this.page.get, i64.const(offset))
  }

  #storeDirty(): void {
    this.#writeBackIntegers()
    this.#dirty = 0
  }

  #writeBack(): void {
    this.#writeBackIntegers()
    this.floats.writeBack()
  }

  #writeBackIntegers(): void {
    this.#registers.forEach((local, i) => {
      if (local !== null && (this.#dirty >>> i) & 1) this.f.store('i64', ZERO, local.get, xAddress(i))
    })
  }

  #inside(block: Block): number[] {
    return successorsOf(block)
      .map((place) => this.#indexOf.get(placeKey(place)))
      .filter((i) => i !== undefined)
  }

  /** Blocks of the region to which control may go from the end of `node`. */
  #successors(node: number): number[] {
    return this.#inside(this.#blocks[node]).filter((to) => !this.#isCut(node, to))
  }

  #regionFlow(): RegionFlow {
    const successors = this.#blocks.map((_, node) => this.#successors(node))
    return {
      blocks: this.#blocks,
      order: this.#structure.order,
      successors,
      mayLeaveBefore: this.#isCheckpoint,
      mayLeaveAfter: this.#blocks.map(
        ({ terminator }, node) =>
          !isStatic(terminator) ||
          successorsOf(this.#blocks[node]).length > successors[node].length ||
          successors[node].some(
            (to) => pageOf(this.#blocks[to].offset) !== pageOf(this.#blocks[node].offset),
          ),
      ),
    }
  }

  #longestWays(): number[] {
    const { order, position } = this.#structure
    const longest = this.#blocks.map((b) => b.instructions.length)
    for (const node of [...order].reverse()) {
      const ahead = this.#successors(node)
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
    this.#dirty = this.#flow.dirtyIn[node]
    this.floats.enter(node)
    const block = this.#blocks[node]
    const count = block.instructions.length
    if (this.#isCheckpoint[node]) {
      const needed = i32.const(this.#longestWay[node])
      const bail = (): void => {
        // A switch is at no place: control is on its way to the target.
        if (block.terminator.kind === 'switch') this.#bail()
        else this.bail(block.offset, 0)
      }
      f.if(i32.ltS(this.budget.get, needed), bail, undefined, 'unlikely')
    }
    if (count > 0) f.set(this.budget, i32.sub(this.budget.get, i32.const(count)))
    let condition: Expr | null = null
    const ahead = storesAhead(block)
    block.instructions.forEach((one, i) => {
      f.scope(() => {
        const operands = new RegionOperands(this, one, count - i)
        this.memory.begin(node, i)
        operands.require()
        if (ahead && integerFile.isStoredBefore(one)) this.#storeDirty()
        one.instruction.meaning(operands)
        if (one.instruction.uses.includes('system')) this.floats.afterSystem()
        condition = operands.condition
        if (condition !== null) this.#branch(node, condition)
      })
    })
    if (condition === null) this.#terminate(node)
  }

  #branch(node: number, condition: Expr): void {
    const { context, terminator: t } = this.#blocks[node]
    if (t.kind !== 'branch') throw new Error('a condition without a branch')
    const dirty = this.#dirty
    const floats = this.floats.state
    this.f.if(
      condition,
      () => this.#go(node, { context, offset: t.taken }),
      () => {
        // Other blocks were emitted since.
        this.#dirty = dirty
        this.floats.restore(floats)
        this.#go(node, { context, offset: t.otherwise })
      },
    )
  }

  #terminate(node: number): void {
    const { context, terminator: t } = this.#blocks[node]
    if (t.kind === 'fall' || t.kind === 'jump') this.#go(node, { context, offset: t.to })
    else if (t.kind === 'call') this.#go(node, { context, offset: t.returnTo })
    else if (t.kind === 'enter') this.#go(node, t.to)
    else if (t.kind === 'return' && t.to !== null) this.#go(node, t.to)
    else if (t.kind === 'computed' && this.#successors(node).length > 0)
      this.#go(node, { context, offset: SWITCH_OFFSET })
    else if (t.kind === 'switch') this.#switch(node)
    else if (t.kind === 'stop') this.bail(t.at, 0)
    // The others were emitted by the instruction itself.
  }

  #go(from: number, place: Place): void {
    const to = this.#indexOf.get(placeKey(place))
    const { position, isMerge } = this.#structure
    if (to === undefined || this.#isCut(from, to)) {
      this.leaveTo(place.offset)
      return
    }
    const target = pageOf(place.offset)
    // The fetch TLB is asked whenever the page of the pc changes.
    if (pageOf(this.#blocks[from].offset) !== target) {
      this.f.scope(() => {
        const lost = i32.or(this.#isElsewhere(target), this.#isChanged(target))
        this.f.if(lost, () => this.leaveTo(place.offset), undefined, 'unlikely')
      })
    }
    if (position[to] > position[from] && !isMerge[to]) this.#emitTree(to)
    else this.f.br(this.#labelOf(from, to))
  }
}
