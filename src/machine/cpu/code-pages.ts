/**
 * Which memory holds translated code: the fetch side of translation with its code tables, and what a write must do
 * when it hits such memory.
 */
import { type Expr, i32, i64 } from '../../wasm/expr.ts'
import type { FunctionBuilder } from '../../wasm/function.ts'
import { CAUSE, raise, readControl, writeControl, ZERO } from './access.ts'
import type { CoreFunctions } from './core-functions.ts'
import {
  CODE_LINE_BYTES,
  CODE_TABLE_BYTES,
  EXIT,
  INVALIDATED_MAX,
  type Layout,
  MODE_COUNT,
  PAGE_BYTES,
} from './layout.ts'
import { inRam, pageIndex, ramAddress } from './physical.ts'
import { fastEntry, fillFast } from './tlb.ts'

/** `watch` is a memory address whose line reports every store, or null. */
export function defineCodePages(core: CoreFunctions, watch: number | null): void {
  defineWroteRam(core, watch)
  defineFetchPage(core)
}

/** The bit of its page's code mask that stands for a memory address. */
export function watchLine(address: number): bigint {
  return 1n << BigInt(Math.floor((address % PAGE_BYTES) / CODE_LINE_BYTES))
}

/** Number of the page of RAM at a memory address. */
export function pageOf(core: { readonly layout: Layout }, address: number): number {
  return Math.floor((address - core.layout.ram) / PAGE_BYTES)
}

/** The watched line survives whatever forgets the code on its page: it stands for no code. */
export function setWatchLine(f: FunctionBuilder, core: CoreFunctions, watch: number): void {
  f.store('i64', i32.const(8 * pageOf(core, watch)), i64.const(watchLine(watch)), core.layout.codeLines)
}

/** To be asked before a write to RAM at a memory address: the page may be captured as it is. */
export function keepIfCaptured(f: FunctionBuilder, core: CoreFunctions, at: Expr): void {
  const page = f.keep(pageIndex(core, at))
  f.if(
    i32.load8U(page.get, core.layout.captured),
    () => f.call(core.functionIndex('keepPage'), page.get),
    undefined,
    'unlikely',
  )
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
      f.if(i32.eq(page.get, i32.const(pageOf(core, watch))), () => {
        setWatchLine(f, core, watch)
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
      raise(f, i64.const(CAUSE.fetchAccess), pc)
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
    f.if(i32.eqz(table.get), () => f.set(table, core.call('takeCodeTable', slot.get)))
    const entry = f.keep(fastEntry(pc, 'execute'))
    fillFast(f, entry.get, pc, at.get)
    f.store('i32', entry.get, table.get, 12)
    f.return(at.get)
  })
}
