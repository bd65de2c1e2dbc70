/**
 * Address translation (The RISC-V Instruction Set Manual, Volume II, 11.3 and 11.4: Sv39; Svade).
 *
 * There are two layers. The architectural TLBs decide what a guest can observe: which stale entry is still used,
 * which one a fill evicts. They are state, and behave the same whether code is interpreted or compiled. The fast
 * TLBs are a shortcut to the same answer for plain RAM; they may be emptied at any time for the machine's own
 * reasons (tracking of dirty pages, protection of translated code), because a miss there asks the architectural
 * TLB before it walks.
 *
 * Fetches follow one rule on both paths: the fetch TLB is asked whenever the page of the pc changes.
 */
import { type Expr, i32, i64, select } from '../../wasm/expr.ts'
import type { FunctionBuilder, Local } from '../../wasm/function.ts'
import { CAUSE, FAULT, raise, readControl, readField, writeControl, writeField, ZERO } from './access.ts'
import type { CoreFunctions } from './core-functions.ts'
import {
  type Access,
  CODE_LINE_BYTES,
  CODE_TABLE_BYTES,
  CODE_TABLES_MAX,
  control,
  EXIT,
  FAST_TLB_BASE,
  fastTlb,
  INVALIDATED_MAX,
  MODE,
  MODE_COUNT,
  PAGE_BYTES,
  RAM_START,
  TLB_ALL_BYTES,
  TLB_BASE,
  TLB_MODE_STRIDE,
  tlb,
} from './layout.ts'

const ACCESS_NUMBER: Readonly<Record<Access, number>> = { read: 0, write: 1, execute: 2 }
const PAGE_MASK = i64.const(-PAGE_BYTES)

/** Bits of a page table entry. */
const PTE = { valid: 1, read: 2, write: 4, execute: 8, user: 16, accessed: 64, dirty: 128 } as const
const PTE_PHYSICAL_PAGE = 0x3ffffffffffc00n
/** Bits 63:54 belong to extensions that this hart does not have. */
const PTE_RESERVED = 0xffc0000000000000n

export const STATUS = {
  sie: 1 << 1,
  mie: 1 << 3,
  spie: 1 << 5,
  mpie: 1 << 7,
  spp: 1 << 8,
  mpp: 3 << 11,
  fs: 3 << 13,
  mprv: 1 << 17,
  sum: 1 << 18,
  mxr: 1 << 19,
  tvm: 1 << 20,
  tw: 1 << 21,
  tsr: 1 << 22,
} as const

/** Byte offset of a virtual address's entry in any TLB. */
export function tlbOffset(address: Expr): Expr {
  return i32.and(i32.shrU(i32.wrap(address), i32.const(8)), i32.const(0xff0))
}

/** i32: whether a physical address lies in RAM. */
function inRam(core: CoreFunctions, physical: Expr): Expr {
  return i64.ltU(i64.sub(physical, i64.const(RAM_START)), i64.const(core.layout.memoryBytes))
}

/** The memory address of a physical address in RAM. */
function ramAddress(core: CoreFunctions, physical: Expr): Expr {
  return i32.add(i32.wrap(physical), i32.const((core.layout.ram - RAM_START) | 0))
}

/** Index of the RAM page at a memory address. */
export function pageIndex(core: CoreFunctions, address: Expr): Expr {
  return i32.shrU(i32.sub(address, i32.const(core.layout.ram)), i32.const(12))
}

/** The bit of its page's code mask that stands for a memory address. */
export function watchLine(address: number): bigint {
  return 1n << BigInt(Math.floor((address % PAGE_BYTES) / CODE_LINE_BYTES))
}

/** `watch` is a memory address whose line reports every store, or null. */
export function defineMmu(core: CoreFunctions, watch: number | null): void {
  defineWalk(core)
  defineTranslate(core, 'translateRead', 'read')
  defineTranslate(core, 'translateWrite', 'write')
  defineTranslate(core, 'translateExecute', 'execute')
  defineLoadSlow(core)
  defineStoreSlow(core)
  defineAtomicAddress(core)
  defineWroteRam(core, watch)
  defineFetchPage(core)
  defineDropCode(core)
  defineFlushes(core)
  defineFence(core)
  defineSetMode(core)
}

function defineWalk(core: CoreFunctions): void {
  core.define('walk', (f, address, access) => {
    const status = f.keep(i32.wrap(readField('mstatus')))
    const has = (bits: number): Expr => i32.and(status.get, i32.const(bits))
    const privilege = f.keep(i32.wrap(readField('privilege')))
    const isFetch = (): Expr => i32.eq(access, i32.const(ACCESS_NUMBER.execute))
    // MPRV: loads and stores behave as in the mode of MPP.
    f.if(i32.and(i32.eqz(isFetch()), i32.ne(has(STATUS.mprv), ZERO)), () =>
      f.set(privilege, i32.and(i32.shrU(status.get, i32.const(11)), i32.const(3))),
    )
    const satp = f.keep(readField('satp'))
    f.if(i32.or(i32.eq(privilege.get, i32.const(3)), i64.eqz(i64.shrU(satp.get, i64.const(60)))), () =>
      f.return(address),
    )

    const pageFault = (): void => {
      raise(
        f,
        i64.extendU(
          select(
            isFetch(),
            i32.const(CAUSE.fetchPage),
            select(access, i32.const(CAUSE.storePage), i32.const(CAUSE.loadPage)),
          ),
        ),
        address,
      )
      f.return(i64.const(-1))
    }
    const accessFault = (): void => {
      raise(
        f,
        i64.extendU(
          select(
            isFetch(),
            i32.const(CAUSE.fetchAccess),
            select(access, i32.const(CAUSE.storeAccess), i32.const(CAUSE.loadAccess)),
          ),
        ),
        address,
      )
      f.return(i64.const(-1))
    }

    // Bits 63:39 must equal bit 38.
    f.if(i64.ne(i64.shrS(i64.shl(address, i64.const(25)), i64.const(25)), address), pageFault)
    const table = f.keep(i64.shl(satp.get, i64.const(12)))
    f.set(table, i64.and(table.get, i64.const(0xfffffffffff000n)))
    const shift = f.keep(i64.const(30))
    const entryAt = f.temp('i64')
    const pte = f.temp('i64')
    const flags = f.temp('i32')
    const lacks = (bits: number): Expr => i32.eqz(i32.and(flags.get, i32.const(bits)))
    f.block((leaf) => {
      f.loop((next) => {
        f.set(
          entryAt,
          i64.add(table.get, i64.shl(i64.and(i64.shrU(address, shift.get), i64.const(511)), i64.const(3))),
        )
        f.if(i32.eqz(inRam(core, entryAt.get)), accessFault)
        f.set(pte, i64.load(ramAddress(core, entryAt.get)))
        f.set(flags, i32.wrap(pte.get))
        f.if(lacks(PTE.valid), pageFault)
        f.if(i32.eqz(i64.eqz(i64.and(pte.get, i64.const(PTE_RESERVED)))), pageFault)
        f.brIf(leaf, i32.and(flags.get, i32.const(PTE.read | PTE.execute)))
        // A pointer to the next level; writable without readable, and A, D or U here, are reserved.
        f.if(i32.and(flags.get, i32.const(PTE.write | PTE.user | PTE.accessed | PTE.dirty)), pageFault)
        f.if(i64.eq(shift.get, i64.const(12)), pageFault)
        f.set(shift, i64.sub(shift.get, i64.const(9)))
        f.set(table, i64.shl(i64.and(pte.get, i64.const(PTE_PHYSICAL_PAGE)), i64.const(2)))
        f.br(next)
      })
    })
    // Writable but not readable is reserved.
    f.if(i32.eq(i32.and(flags.get, i32.const(PTE.read | PTE.write)), i32.const(PTE.write)), pageFault)
    f.if(
      i32.and(flags.get, i32.const(PTE.user)),
      () =>
        // Supervisor code never fetches from a user page, and touches its data only under SUM.
        f.if(
          i32.and(i32.eq(privilege.get, i32.const(1)), i32.or(isFetch(), i32.eqz(has(STATUS.sum)))),
          pageFault,
        ),
      () => f.if(i32.eqz(privilege.get), pageFault),
    )
    f.if(isFetch(), () => f.if(lacks(PTE.execute), pageFault))
    f.if(i32.eq(access, i32.const(ACCESS_NUMBER.write)), () =>
      f.if(i32.or(lacks(PTE.write), lacks(PTE.dirty)), pageFault),
    )
    f.if(i32.eqz(access), () =>
      f.if(i32.and(lacks(PTE.read), i32.or(i32.eqz(has(STATUS.mxr)), lacks(PTE.execute))), pageFault),
    )
    f.if(lacks(PTE.accessed), pageFault)
    const offsetMask = f.keep(i64.sub(i64.shl(i64.const(1), shift.get), i64.const(1)))
    const base = f.keep(i64.shl(i64.and(pte.get, i64.const(PTE_PHYSICAL_PAGE)), i64.const(2)))
    // A superpage must be aligned to its size.
    f.if(i32.eqz(i64.eqz(i64.and(base.get, offsetMask.get))), pageFault)
    f.if(i32.and(i64.ne(shift.get, i64.const(12)), i64.geS(address, i64.const(0))), () =>
      writeField(f, 'userSuperpages', i64.const(1)),
    )
    f.return(i64.or(base.get, i64.and(address, offsetMask.get)))
  })
}

function defineTranslate(
  core: CoreFunctions,
  name: 'translateRead' | 'translateWrite' | 'translateExecute',
  access: Access,
): void {
  core.define(name, (f, address) => {
    const entry = f.keep(
      i32.add(
        tlbOffset(address),
        i32.add(i32.mul(readControl('mode'), i32.const(TLB_MODE_STRIDE)), i32.const(tlb(0, access))),
      ),
    )
    const page = f.keep(i64.and(address, PAGE_MASK))
    const physical = f.temp('i64')
    f.if(
      i64.eq(i64.load(entry.get), page.get),
      () => f.set(physical, i64.load(entry.get, 8)),
      () => {
        // The trap value is the whole address, not its page.
        f.set(physical, core.call('walk', address, i32.const(ACCESS_NUMBER[access])))
        f.if(i64.eq(physical.get, i64.const(-1)), () => f.return(i64.const(-1)))
        f.set(physical, i64.and(physical.get, PAGE_MASK))
        f.store('i64', entry.get, page.get)
        f.store('i64', entry.get, physical.get, 8)
        // The fast entry in this slot stood for what was just evicted.
        f.store('i64', i32.sub(entry.get, i32.const(TLB_BASE - FAST_TLB_BASE)), i64.const(-1))
      },
    )
    f.return(i64.or(physical.get, i64.and(address, i64.const(PAGE_BYTES - 1))))
  })
}

/** Address of the fast entry for a virtual address in the current mode. */
function fastEntry(address: Expr, access: Access): Expr {
  return i32.add(
    tlbOffset(address),
    i32.add(i32.mul(readControl('mode'), i32.const(TLB_MODE_STRIDE)), i32.const(fastTlb(0, access))),
  )
}

function fillFast(f: FunctionBuilder, entry: Expr, address: Expr, memoryAddress: Expr): void {
  f.store('i64', entry, i64.and(address, PAGE_MASK))
  f.store('i32', entry, i32.sub(memoryAddress, i32.wrap(address)), 8)
}

function isCrossing(address: Expr, bytes: Expr): Expr {
  return i32.gtU(i32.add(i32.and(i32.wrap(address), i32.const(PAGE_BYTES - 1)), bytes), i32.const(PAGE_BYTES))
}

function accessFault(f: FunctionBuilder, cause: number, address: Expr): void {
  raise(f, i64.const(cause), address)
}

/** Leaves a device access for the interpreter; misaligned ones fault. */
function deviceAccess(f: FunctionBuilder, physical: Expr, address: Expr, bytes: Expr, cause: number): void {
  f.if(
    i32.or(
      i32.and(i32.wrap(address), i32.sub(bytes, i32.const(1))),
      i32.eqz(i64.eqz(i64.shrU(physical, i64.const(32)))),
    ),
    () => accessFault(f, cause, address),
    () => {
      f.store('i64', ZERO, physical, control.ioAddress)
      // If there turns out to be no device, this is the trap to take.
      accessFault(f, cause, address)
      writeControl(f, 'fault', i32.const(FAULT.io))
    },
  )
}

/** Reads `bytes` (1, 2, 4 or 8) at a memory address, zero-extended. */
function loadWidth(f: FunctionBuilder, at: Expr, bytes: Expr): void {
  f.if(i32.eq(bytes, i32.const(8)), () => f.return(i64.load(at)))
  f.if(i32.eq(bytes, i32.const(4)), () => f.return(i64.load32U(at)))
  f.if(i32.eq(bytes, i32.const(2)), () => f.return(i64.load16U(at)))
  f.return(i64.load8U(at))
}

/** The first byte of the following page. */
function nextPage(address: Expr): Expr {
  return i64.and(i64.add(address, i64.const(PAGE_BYTES)), PAGE_MASK)
}

function defineLoadSlow(core: CoreFunctions): void {
  core.define('loadSlow', (f, address, bytes) => {
    writeControl(f, 'fault', ZERO)
    const physical = f.keep(core.call('translateRead', address))
    f.if(i64.eq(physical.get, i64.const(-1)), () => f.return(i64.const(0)))
    f.if(isCrossing(address, bytes), () => {
      const second = f.keep(core.call('translateRead', nextPage(address)))
      f.if(i64.eq(second.get, i64.const(-1)), () => f.return(i64.const(0)))
      f.if(i32.eqz(i32.and(inRam(core, physical.get), inRam(core, second.get))), () => {
        accessFault(f, CAUSE.loadAccess, address)
        f.return(i64.const(0))
      })
      const value = f.keep(i64.const(0))
      const i = f.keep(ZERO)
      forEachByte(f, core, address, bytes, physical, second, i, (at) =>
        f.set(value, i64.or(value.get, i64.shl(i64.load8U(at), i64.extendU(i32.shl(i.get, i32.const(3)))))),
      )
      f.return(value.get)
    })
    f.if(
      i32.eqz(inRam(core, physical.get)),
      () => {
        deviceAccess(f, physical.get, address, bytes, CAUSE.loadAccess)
        f.return(i64.const(0))
      },
      undefined,
      'unlikely',
    )
    const at = f.keep(ramAddress(core, physical.get))
    fillFast(f, f.keep(fastEntry(address, 'read')).get, address, at.get)
    loadWidth(f, at.get, bytes)
  })
}

/** Walks the bytes of an access that crosses from the page of `first` to the page of `second`. */
function forEachByte(
  f: FunctionBuilder,
  core: CoreFunctions,
  address: Expr,
  bytes: Expr,
  first: Local,
  second: Local,
  i: Local,
  body: (memoryAddress: Expr) => void,
): void {
  const inFirst = f.keep(
    i32.sub(i32.const(PAGE_BYTES), i32.and(i32.wrap(address), i32.const(PAGE_BYTES - 1))),
  )
  f.loop((next) => {
    const at = f.keep(
      select(
        i32.ltU(i.get, inFirst.get),
        i32.add(ramAddress(core, first.get), i.get),
        i32.add(ramAddress(core, second.get), i32.sub(i.get, inFirst.get)),
      ),
    )
    body(at.get)
    f.set(i, i32.add(i.get, i32.const(1)))
    f.brIf(next, i32.ltU(i.get, bytes))
  })
}

function defineStoreSlow(core: CoreFunctions): void {
  core.define('storeSlow', (f, address, bytes, value) => {
    writeControl(f, 'fault', ZERO)
    const physical = f.keep(core.call('translateWrite', address))
    f.if(i64.eq(physical.get, i64.const(-1)), () => f.return())
    f.if(isCrossing(address, bytes), () => {
      const second = f.keep(core.call('translateWrite', nextPage(address)))
      f.if(i64.eq(second.get, i64.const(-1)), () => f.return())
      f.if(i32.eqz(i32.and(inRam(core, physical.get), inRam(core, second.get))), () => {
        accessFault(f, CAUSE.storeAccess, address)
        f.return()
      })
      const i = f.keep(ZERO)
      forEachByte(f, core, address, bytes, physical, second, i, (at) => {
        f.store('i64_8', at, i64.shrU(value, i64.extendU(i32.shl(i.get, i32.const(3)))))
        core.do(f, 'wroteRam', at, i32.const(1))
      })
      f.return()
    })
    f.if(
      i32.eqz(inRam(core, physical.get)),
      () => {
        deviceAccess(f, physical.get, address, bytes, CAUSE.storeAccess)
        f.return()
      },
      undefined,
      'unlikely',
    )
    const at = f.keep(ramAddress(core, physical.get))
    f.if(
      i32.eq(bytes, i32.const(8)),
      () => f.store('i64', at.get, value),
      () =>
        f.if(
          i32.eq(bytes, i32.const(4)),
          () => f.store('i64_32', at.get, value),
          () =>
            f.if(
              i32.eq(bytes, i32.const(2)),
              () => f.store('i64_16', at.get, value),
              () => f.store('i64_8', at.get, value),
            ),
        ),
    )
    core.do(f, 'wroteRam', at.get, bytes)
    // A page that holds translated code gets no fast entry: each store to it must be seen.
    f.if(i64.eqz(i64.load(i32.shl(pageIndex(core, at.get), i32.const(3)), core.layout.codeLines)), () =>
      fillFast(f, f.keep(fastEntry(address, 'write')).get, address, at.get),
    )
  })
}

function defineAtomicAddress(core: CoreFunctions): void {
  core.define('atomicAddress', (f, address, bytes, isStore) => {
    writeControl(f, 'fault', ZERO)
    f.if(i32.and(i32.wrap(address), i32.sub(bytes, i32.const(1))), () => {
      raise(
        f,
        i64.extendU(select(isStore, i32.const(CAUSE.storeMisaligned), i32.const(CAUSE.loadMisaligned))),
        address,
      )
      f.return(ZERO)
    })
    const physical = f.temp('i64')
    f.if(
      isStore,
      () => f.set(physical, core.call('translateWrite', address)),
      () => f.set(physical, core.call('translateRead', address)),
    )
    f.if(i64.eq(physical.get, i64.const(-1)), () => f.return(ZERO))
    f.if(i32.eqz(inRam(core, physical.get)), () => {
      // Device registers support no atomics.
      raise(
        f,
        i64.extendU(select(isStore, i32.const(CAUSE.storeAccess), i32.const(CAUSE.loadAccess))),
        address,
      )
      f.return(ZERO)
    })
    f.return(ramAddress(core, physical.get))
  })
}

/** Marks the page dirty; if the bytes lie in translated code, drops that page's code and says so. */
function defineWroteRam(core: CoreFunctions, watch: number | null): void {
  const { layout } = core
  core.define('wroteRam', (f, address, bytes) => {
    const page = f.keep(pageIndex(core, address))
    f.store('i32_8', page.get, i32.const(1), layout.dirty)
    const lines = f.keep(i64.load(i32.shl(page.get, i32.const(3)), layout.codeLines))
    f.if(i64.eqz(lines.get), () => f.return(), undefined, 'likely')
    const firstLine = i64.extendU(i32.and(i32.shrU(address, i32.const(6)), i32.const(63)))
    const lastLine = i64.extendU(
      i32.and(i32.shrU(i32.add(address, i32.sub(bytes, i32.const(1))), i32.const(6)), i32.const(63)),
    )
    const touched = i64.or(i64.shl(i64.const(1), firstLine), i64.shl(i64.const(1), lastLine))
    f.if(i64.eqz(i64.and(lines.get, touched)), () => f.return())
    f.store('i64', i32.shl(page.get, i32.const(3)), i64.const(0), layout.codeLines)
    if (watch !== null) {
      // The watched line shares the machinery of translated code: its page never gets a fast entry for writes.
      f.if(i32.eq(page.get, i32.const(Math.floor((watch - layout.ram) / PAGE_BYTES))), () => {
        f.store('i64', i32.shl(page.get, i32.const(3)), i64.const(watchLine(watch)), layout.codeLines)
        writeControl(f, 'exit', i32.const(EXIT.watch))
      })
    }
    const table = f.temp('i32')
    for (let mode = 0; mode < MODE_COUNT; mode++) {
      f.set(table, i32.load(i32.shl(page.get, i32.const(2)), layout.pageCode + mode * layout.pageCount * 4))
      f.if(table.get, () => f.memoryFill(table.get, ZERO, i32.const(CODE_TABLE_BYTES)))
    }
    writeControl(f, 'codeChanged', i32.const(1))
    writeControl(f, 'attention', i32.const(1))
    const count = f.keep(readControl('invalidatedLength'))
    f.if(i32.geU(count.get, i32.const(INVALIDATED_MAX)), () => {
      writeControl(f, 'codeDropped', i32.const(1))
      f.return()
    })
    f.store('i32', i32.add(i32.const(layout.invalidated), i32.shl(count.get, i32.const(2))), page.get)
    writeControl(f, 'invalidatedLength', i32.add(count.get, i32.const(1)))
  })
}

/** Fetch translation: fills the fetch TLB's fast entry, with the page's code table, and gives the instruction's memory address. */
function defineFetchPage(core: CoreFunctions): void {
  const { layout } = core
  core.define('fetchPage', (f, pc) => {
    writeControl(f, 'fault', ZERO)
    const physical = f.keep(core.call('translateExecute', pc))
    f.if(i64.eq(physical.get, i64.const(-1)), () => f.return(ZERO))
    f.if(i32.eqz(inRam(core, physical.get)), () => {
      accessFault(f, CAUSE.fetchAccess, pc)
      f.return(ZERO)
    })
    const at = f.keep(ramAddress(core, physical.get))
    const slot = f.keep(
      i32.add(
        i32.add(i32.const(layout.pageCode), i32.mul(readControl('mode'), i32.const(layout.pageCount * 4))),
        i32.shl(pageIndex(core, at.get), i32.const(2)),
      ),
    )
    const table = f.keep(i32.load(slot.get))
    f.if(i32.eqz(table.get), () => {
      f.if(
        i32.eq(readControl('codeTablesUsed'), i32.const(CODE_TABLES_MAX)),
        () => core.do(f, 'dropCode'),
        undefined,
        'unlikely',
      )
      const used = f.keep(readControl('codeTablesUsed'))
      f.set(table, i32.add(i32.const(layout.codeTables), i32.mul(used.get, i32.const(CODE_TABLE_BYTES))))
      writeControl(f, 'codeTablesUsed', i32.add(used.get, i32.const(1)))
      f.store('i32', slot.get, table.get)
    })
    const entry = f.keep(fastEntry(pc, 'execute'))
    fillFast(f, entry.get, pc, at.get)
    f.store('i32', entry.get, table.get, 12)
    f.return(at.get)
  })
}

/** Forgets all translated code and all heat: the bounded pool of code tables is used up. The driver then frees the compiled functions. */
function defineDropCode(core: CoreFunctions): void {
  const { layout } = core
  core.define('dropCode', (f) => {
    const clear = (base: number, bytes: number): void => f.memoryFill(i32.const(base), ZERO, i32.const(bytes))
    clear(layout.codeLines, layout.pageCount * 8)
    clear(layout.pageCode, layout.pageCount * 4 * MODE_COUNT)
    clear(layout.codeTables, CODE_TABLES_MAX * CODE_TABLE_BYTES)
    // Fast fetch entries hold the addresses of code tables.
    for (let mode = 0; mode < MODE_COUNT; mode++)
      f.memoryFill(i32.const(fastTlb(mode, 'execute')), i32.const(0xff), i32.const(TLB_MODE_STRIDE / 3))
    writeControl(f, 'codeTablesUsed', ZERO)
    writeControl(f, 'queueLength', ZERO)
    writeControl(f, 'invalidatedLength', ZERO)
    writeControl(f, 'codeDropped', i32.const(1))
    writeControl(f, 'attention', i32.const(1))
  })
}

function defineFlushes(core: CoreFunctions): void {
  const empty = (f: FunctionBuilder, base: number, bytes: number): void =>
    f.memoryFill(i32.const(base), i32.const(0xff), i32.const(bytes))
  core.define('flushTlbs', (f) => {
    empty(f, FAST_TLB_BASE, TLB_ALL_BYTES)
    empty(f, TLB_BASE, TLB_ALL_BYTES)
  })
  core.define('flushFastTlbs', (f) => {
    empty(f, FAST_TLB_BASE, TLB_ALL_BYTES)
  })
  core.define('flushFastWrites', (f) => {
    for (let mode = 0; mode < MODE_COUNT; mode++) empty(f, fastTlb(mode, 'write'), TLB_MODE_STRIDE / 3)
  })
  core.define('flushPage', (f, address) => {
    const offset = f.keep(tlbOffset(address))
    for (let mode = 0; mode < MODE_COUNT; mode++) {
      for (const access of ['read', 'write', 'execute'] as const) {
        f.store('i64', offset.get, i64.const(-1), fastTlb(mode, access))
        f.store('i64', offset.get, i64.const(-1), tlb(mode, access))
      }
    }
  })
}

/** With an address, translations of that page; superpages and the kernel's half are not told apart by page, so they flush all. */
function defineFence(core: CoreFunctions): void {
  core.define('fence', (f, address, byAddress) => {
    f.if(
      i32.and(byAddress, i32.and(i64.geS(address, i64.const(0)), i64.eqz(readField('userSuperpages')))),
      () => core.do(f, 'flushPage', address),
      () => {
        core.do(f, 'flushTlbs')
        writeField(f, 'userSuperpages', i64.const(0))
      },
    )
  })
}

function defineSetMode(core: CoreFunctions): void {
  core.define('setMode', (f) => {
    const status = f.keep(i32.wrap(readField('mstatus')))
    const privilege = f.keep(i32.wrap(readField('privilege')))
    const has = (bits: number): Expr => i32.ne(i32.and(status.get, i32.const(bits)), ZERO)
    const mode = f.keep(
      select(
        has(STATUS.mprv | STATUS.mxr),
        i32.const(MODE.other),
        select(
          i32.eq(privilege.get, i32.const(1)),
          select(has(STATUS.sum), i32.const(MODE.supervisorUserMemory), i32.const(MODE.supervisor)),
          select(privilege.get, i32.const(MODE.machine), i32.const(MODE.user)),
        ),
      ),
    )
    f.if(i32.eq(mode.get, i32.const(MODE.other)), () => {
      const offset = MODE.other * TLB_MODE_STRIDE
      f.memoryFill(i32.const(FAST_TLB_BASE + offset), i32.const(0xff), i32.const(TLB_MODE_STRIDE))
      f.memoryFill(i32.const(TLB_BASE + offset), i32.const(0xff), i32.const(TLB_MODE_STRIDE))
    })
    writeControl(f, 'mode', mode.get)
  })
}
