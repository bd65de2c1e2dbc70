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
import { readControl, readField, writeControl, writeField, ZERO } from './access.ts'
import type { CoreFunctions } from './core-functions.ts'
import {
  ACCESS_NUMBER,
  type Access,
  FAST_TLB_BASE,
  fastTlb,
  MODE,
  MODE_COUNT,
  PAGE_BYTES,
  TLB_BASE,
  TLB_FILLS_BASE,
  TLB_FILLS_MAX,
  TLB_MODE_STRIDE,
  tlb,
} from './layout.ts'
import { STATUS } from './status.ts'

const PAGE_MASK = i64.const(-PAGE_BYTES)

/** Byte offset of a virtual address's entry in any TLB. */
export function tlbOffset(address: Expr): Expr {
  return i32.and(i32.shrU(i32.wrap(address), i32.const(8)), i32.const(0xff0))
}

/**
 * What the tag of an access's entry must be for the access to hit. The entry is found by the first byte and holds only
 * pages of its own index, so the page of the last byte matches only if all bytes lie in the page; the access need
 * not be aligned.
 */
export function pageOfLastByte(address: Expr, bytes: number): Expr {
  return i64.and(i64.add(address, i64.const(bytes - 1)), PAGE_MASK)
}

/** Address of the fast entry for a virtual address in the current mode. */
export function fastEntry(address: Expr, access: Access): Expr {
  return i32.add(
    tlbOffset(address),
    i32.add(i32.mul(readControl('mode'), i32.const(TLB_MODE_STRIDE)), i32.const(fastTlb(0, access))),
  )
}

export function fillFast(f: FunctionBuilder, entry: Expr, address: Expr, memoryAddress: Expr): void {
  f.store('i64', entry, i64.and(address, PAGE_MASK))
  f.store('i32', entry, i32.sub(memoryAddress, i32.wrap(address)), 8)
}

export function defineTlbs(core: CoreFunctions): void {
  defineTranslate(core, 'translateRead', 'read')
  defineTranslate(core, 'translateWrite', 'write')
  defineTranslate(core, 'translateExecute', 'execute')
  defineFlushes(core)
  defineFence(core)
  defineSetMode(core)
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
        listFill(f, entry.get)
        f.store('i64', entry.get, page.get)
        f.store('i64', entry.get, physical.get, 8)
        // The fast entry in this slot stood for what was just evicted.
        f.store('i64', i32.sub(entry.get, i32.const(TLB_BASE - FAST_TLB_BASE)), i64.const(-1))
      },
    )
    f.return(i64.or(physical.get, i64.and(address, i64.const(PAGE_BYTES - 1))))
  })
}

/** Remembers what a flush must clear. M-mode's entries stand for themselves, whatever the page tables say: no flush clears them. */
function listFill(f: FunctionBuilder, entry: Expr): void {
  f.if(i32.ne(readControl('mode'), i32.const(MODE.machine)), () => {
    const fills = f.keep(readControl('tlbFills'))
    f.if(i32.ltU(fills.get, i32.const(TLB_FILLS_MAX)), () =>
      f.store('i32', i32.shl(fills.get, i32.const(2)), entry, TLB_FILLS_BASE),
    )
    f.if(i32.leU(fills.get, i32.const(TLB_FILLS_MAX)), () =>
      writeControl(f, 'tlbFills', i32.add(fills.get, i32.const(1))),
    )
  })
}

/** Leaves the entries as filling all of memory would: what is empty looks the same however it came to be. */
function clearListed(f: FunctionBuilder, fills: Local): void {
  f.loop((next) => {
    f.if(fills.get, () => {
      f.set(fills, i32.sub(fills.get, i32.const(1)))
      const entry = f.keep(i32.load(i32.shl(fills.get, i32.const(2)), TLB_FILLS_BASE))
      f.store('i64', entry.get, i64.const(-1))
      f.store('i64', entry.get, i64.const(-1), 8)
      // An entry of a fast TLB is only ever made of the architectural one in its place.
      f.store('i64', i32.sub(entry.get, i32.const(TLB_BASE - FAST_TLB_BASE)), i64.const(-1))
      f.br(next)
    })
  })
}

function defineFlushes(core: CoreFunctions): void {
  const empty = (f: FunctionBuilder, base: number, bytes: number): void =>
    f.memoryFill(i32.const(base), i32.const(0xff), i32.const(bytes))
  core.define('flushTlbs', (f) => {
    // Kernels fence right after they switch address spaces: the second time there is nothing to do.
    const fills = f.keep(readControl('tlbFills'))
    writeControl(f, 'tlbFills', ZERO)
    f.if(i32.leU(fills.get, i32.const(TLB_FILLS_MAX)), () => {
      clearListed(f, fills)
      f.return()
    })
    for (const base of [FAST_TLB_BASE, TLB_BASE]) {
      empty(f, base, TLB_MODE_STRIDE * MODE.machine)
      empty(f, base + TLB_MODE_STRIDE * MODE.other, TLB_MODE_STRIDE)
    }
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
