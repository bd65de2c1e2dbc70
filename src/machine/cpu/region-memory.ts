/** Loads, stores and atomics of compiled code: a look-up in the fast TLB, and the slow path out of line. */
import { call, type Expr, i32, i64 } from '../../wasm/expr.ts'
import type { FunctionBuilder, Local } from '../../wasm/function.ts'
import { readControl, ZERO } from './access.ts'
import { zeroBlock } from './cache-block.ts'
import type { Structure } from './control-flow.ts'
import { type AccessGroup, type Direction, type PlannedAccess, planAccesses } from './known-pages.ts'
import { fastTlb, PAGE_BYTES } from './layout.ts'
import { LOADS, STORES } from './memory-access.ts'
import type { Block } from './region-graph.ts'
import type { Library, LoadKind, StoreWidth } from './semantics.ts'
import { pageOfLastByte, tlbOffset } from './tlb.ts'

interface MemoryContext {
  readonly library: Library
  /** Translation mode the code runs in. */
  readonly mode: number
}

/** Ways out of the region from an instruction that accesses memory. */
export interface MemoryExits {
  /** The interpreter executes this instruction. */
  before(): void
  /** The instruction is done; the interpreter goes on with the next one. */
  after(): void
}

export class RegionMemory {
  readonly #f: FunctionBuilder
  readonly #context: MemoryContext
  readonly #plan: ReturnType<typeof planAccesses>
  /** Of the instruction that is being emitted. */
  #planned: PlannedAccess | null = null
  /** For each slot of a group, the memory address of the group's first byte, or 0 when its page is not known. */
  readonly #places: Local[] = []

  constructor(f: FunctionBuilder, context: MemoryContext, blocks: readonly Block[], structure: Structure) {
    this.#f = f
    this.#context = context
    this.#plan = planAccesses(blocks, structure)
  }

  /** The emission of an instruction begins: its block and its place in it. */
  begin(node: number, index: number): void {
    this.#planned = this.#plan[node][index]
  }

  load(kind: LoadKind, addressValue: Expr, exits: MemoryExits): Expr {
    const f = this.#f
    const access = LOADS[kind]
    const address = f.keep(addressValue)
    const value = f.temp(access.type)
    const { functionIndex } = this.#context.library
    this.#access(
      address,
      access.bytes,
      (at, offset) => f.set(value, access.load(at, offset)),
      () => {
        const bits = f.keep(call('i64', functionIndex('loadSlow'), address.get, i32.const(access.bytes)))
        // No hint: what is reached only by an unlikely way is unlikely, and V8 keeps each hint in a node of a hash table.
        f.if(readControl('fault'), () => exits.before())
        f.set(value, access.extend(bits.get))
      },
    )
    return value.get
  }

  store(width: StoreWidth, addressValue: Expr, stored: Expr, exits: MemoryExits): void {
    const f = this.#f
    const access = STORES[width]
    const address = f.keep(addressValue)
    this.#access(
      address,
      access.bytes,
      (at, offset) => f.store(access.kind, at, stored, offset),
      () => {
        const storeSlow = this.#context.library.functionIndex('storeSlow')
        f.call(storeSlow, address.get, i32.const(access.bytes), access.toBits(stored))
        this.#afterStoreSlow(exits)
      },
    )
  }

  /** CBO.ZERO: the block that holds the address. */
  zeroBlock(addressValue: Expr, exits: MemoryExits): void {
    const f = this.#f
    const address = f.keep(addressValue)
    const { tag, found } = this.#lookUp('write', address)
    f.if(
      i64.ne(tag, pageOfLastByte(address.get, 1)),
      () => {
        f.call(this.#context.library.functionIndex('zeroSlow'), address.get)
        this.#afterStoreSlow(exits)
      },
      () => zeroBlock(f, found),
      'unlikely',
    )
  }

  /** The memory address of aligned RAM that has a fast entry; anything else is the interpreter's. */
  atomicAddress(width: 32 | 64, addressValue: Expr, direction: Direction, exits: MemoryExits): Local {
    const f = this.#f
    const address = f.keep(addressValue)
    const { tag, found } = this.#lookUp(direction, address)
    const aligned = i64.and(address.get, i64.const(-PAGE_BYTES | (width / 8 - 1)))
    f.if(i64.ne(tag, aligned), () => exits.before(), undefined, 'unlikely')
    return f.keep(found)
  }

  /** The tag of an address's fast entry, and the memory address it leads to if that tag fits. */
  #lookUp(direction: Direction, address: Local): { tag: Expr; found: Expr } {
    const tlb = fastTlb(this.#context.mode, direction)
    const entry = this.#f.keep(tlbOffset(address.get))
    return {
      tag: i64.load(entry.get, tlb),
      found: i32.add(i32.wrap(address.get), i32.load(entry.get, tlb + 8)),
    }
  }

  #afterStoreSlow(exits: MemoryExits): void {
    const f = this.#f
    f.if(i32.or(readControl('fault'), readControl('codeChanged')), () => {
      f.if(readControl('fault'), () => exits.before())
      // The store is done, but code was changed by it, perhaps this region's.
      exits.after()
    })
  }

  /** `hit` gets a memory address and what to add to it; `missed` does the access by the slow path. */
  #access(address: Local, bytes: number, hit: (at: Expr, offset: number) => void, missed: () => void): void {
    const f = this.#f
    const planned = this.#planned
    if (planned === null) throw new Error('an access that was not planned')
    const { group, offset } = planned
    const missedHere = (): void => {
      missed()
      for (const other of planned.others) if (other.followers > 0) f.set(this.#placeOf(other), ZERO)
    }
    const fromFirst = offset - group.first
    if (!planned.isLeader) {
      const place = this.#placeOf(group)
      f.if(i32.eqz(place.get), missedHere, () => hit(place.get, fromFirst), 'unlikely')
      return
    }
    const isShared = group.followers > 0
    const first = isShared ? f.keep(i64.sub(address.get, i64.const(fromFirst))) : address
    const { tag, found } = this.#lookUp(group.direction, first)
    f.if(
      i64.ne(tag, pageOfLastByte(first.get, isShared ? group.end - group.first : bytes)),
      () => {
        missedHere()
        if (isShared) f.set(this.#placeOf(group), ZERO)
      },
      () => {
        if (!isShared) {
          hit(found, 0)
          return
        }
        const place = this.#placeOf(group)
        f.set(place, found)
        hit(place.get, fromFirst)
      },
      'unlikely',
    )
  }

  #placeOf(group: AccessGroup): Local {
    while (this.#places.length <= group.slot) this.#places.push(this.#f.local('i32'))
    return this.#places[group.slot]
  }
}
