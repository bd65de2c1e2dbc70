/**
 * Loads, stores and atomics that the fast TLBs do not cover: first touches, accesses across pages, pages with
 * translated code, devices, faults.
 */
import { type Expr, i32, i64, select } from '../../wasm/expr.ts'
import type { FunctionBuilder, Local } from '../../wasm/function.ts'
import { CAUSE, FAULT, raise, writeControl, ZERO } from './access.ts'
import { keepIfCaptured } from './code-pages.ts'
import type { CoreFunctions } from './core-functions.ts'
import { control, PAGE_BYTES } from './layout.ts'
import { inRam, pageIndex, ramAddress } from './physical.ts'
import { fastEntry, fillFast } from './tlb.ts'

const PAGE_MASK = i64.const(-PAGE_BYTES)

export function defineSlowAccess(core: CoreFunctions): void {
  defineLoadSlow(core)
  defineStoreSlow(core)
  defineAtomicAddress(core)
}

function isCrossing(address: Expr, bytes: Expr): Expr {
  return i32.gtU(i32.add(i32.and(i32.wrap(address), i32.const(PAGE_BYTES - 1)), bytes), i32.const(PAGE_BYTES))
}

/** Leaves a device access for the interpreter; misaligned ones fault. */
function deviceAccess(f: FunctionBuilder, physical: Expr, address: Expr, bytes: Expr, cause: number): void {
  f.if(
    i32.or(
      i32.and(i32.wrap(address), i32.sub(bytes, i32.const(1))),
      i32.eqz(i64.eqz(i64.shrU(physical, i64.const(32)))),
    ),
    () => raiseAt(f, cause, address),
    () => {
      f.store('i64', ZERO, physical, control.ioAddress)
      // If there turns out to be no device, this is the trap to take.
      raiseAt(f, cause, address)
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
        raiseAt(f, CAUSE.loadAccess, address)
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
        raiseAt(f, CAUSE.storeAccess, address)
        f.return()
      })
      keepIfCaptured(f, core, ramAddress(core, physical.get))
      keepIfCaptured(f, core, ramAddress(core, second.get))
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
    keepIfCaptured(f, core, at.get)
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
    fillFastWrite(f, core, address, at.get)
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
    const at = f.keep(ramAddress(core, physical.get))
    // Compiled code leaves for each atomic that has no fast entry; locks may lie on pages that nothing else touches.
    f.if(
      isStore,
      () => {
        keepIfCaptured(f, core, at.get)
        fillFastWrite(f, core, address, at.get)
      },
      () => fillFast(f, f.keep(fastEntry(address, 'read')).get, address, at.get),
    )
    f.return(at.get)
  })
}

/** A page that holds translated code gets no fast entry: each store to it must be seen. The others count as written from now on. */
function fillFastWrite(f: FunctionBuilder, core: CoreFunctions, address: Expr, at: Expr): void {
  const page = f.keep(pageIndex(core, at))
  f.if(i64.eqz(i64.load(i32.shl(page.get, i32.const(3)), core.layout.codeLines)), () => {
    f.store('i32_8', page.get, i32.const(1), core.layout.dirty)
    fillFast(f, f.keep(fastEntry(address, 'write')).get, address, at)
  })
}

function raiseAt(f: FunctionBuilder, cause: number, address: Expr): void {
  raise(f, i64.const(cause), address)
}
