/**
 * Cache-block operations (The RISC-V Instruction Set Manual, Volume I, chapter 19: Zicbom and Zicboz). Nothing is
 * cached between the hart and its memory, so the management instructions only check that they are allowed; zeroing
 * a block is what kernels clear pages with.
 */
import { type Expr, i32, i64 } from '../../wasm/expr.ts'
import type { FunctionBuilder } from '../../wasm/function.ts'
import { CAUSE, raise, readField, writeControl, ZERO } from './access.ts'
import { keepIfCaptured } from './code-pages.ts'
import type { CoreFunctions } from './core-functions.ts'
import { CODE_LINE_BYTES, control } from './layout.ts'
import { inRam, pageIndex, ramAddress } from './physical.ts'
import { fastEntry, fillFast } from './tlb.ts'

/** What Zicbom's instructions act on; with nothing cached, any size would do. */
export const CACHE_BLOCK_BYTES = 64
/** What CBO.ZERO clears. */
export const ZERO_BLOCK_BYTES = 64

/** Bits of menvcfg and senvcfg that allow the instructions in the next lower modes (Volume II, 3.1.18). */
export const BLOCK_ENABLE = {
  /** CBO.INVAL; two bits, which say whether it may also discard. */
  invalidate: 3 << 4,
  cleanOrFlush: 1 << 6,
  zero: 1 << 7,
} as const

/** i32: whether an instruction that needs a bit of `enable` is refused in the mode the hart is in: menvcfg rules S-mode, both rule U-mode. */
export function isBlockRefused(enable: number): Expr {
  const lacks = (name: 'menvcfg' | 'senvcfg'): Expr => i64.eqz(i64.and(readField(name), i64.const(enable)))
  const belowMachine = i64.ne(readField('privilege'), i64.const(3))
  const inUser = i64.eqz(readField('privilege'))
  return i32.and(belowMachine, i32.or(lacks('menvcfg'), i32.and(inUser, lacks('senvcfg'))))
}

/** Clears the block that holds a memory address. */
export function zeroBlock(f: FunctionBuilder, memoryAddress: Expr): void {
  const start = i32.and(memoryAddress, i32.const(-ZERO_BLOCK_BYTES))
  if (ZERO_BLOCK_BYTES > INLINE_BYTES_MAX) {
    f.memoryFill(start, ZERO, i32.const(ZERO_BLOCK_BYTES))
    return
  }
  const at = f.keep(start)
  for (let offset = 0; offset < ZERO_BLOCK_BYTES; offset += 8) f.store('i64', at.get, i64.const(0), offset)
}

/** A bulk fill is a call out of the compiled code: a short block is cleared by stores instead. */
const INLINE_BYTES_MAX = 64

export function defineCacheBlocks(core: CoreFunctions): void {
  defineZeroSlow(core)
  defineCheckBlock(core)
}

/** CBO.ZERO where the fast TLB has no entry: it faults like a store. */
function defineZeroSlow(core: CoreFunctions): void {
  core.define('zeroSlow', (f, address) => {
    writeControl(f, 'fault', ZERO)
    const physical = f.keep(core.call('translateWrite', address))
    f.if(i64.eq(physical.get, i64.const(-1)), () => f.return())
    f.if(i32.eqz(inRam(core, physical.get)), () => {
      raise(f, i64.const(CAUSE.storeAccess), address)
      f.return()
    })
    const at = f.keep(ramAddress(core, physical.get))
    keepIfCaptured(f, core, at.get)
    zeroBlock(f, at.get)
    const start = f.keep(i32.and(at.get, i32.const(-ZERO_BLOCK_BYTES)))
    const codeLines = (): Expr =>
      i64.load(i32.shl(pageIndex(core, at.get), i32.const(3)), core.layout.codeLines)
    f.if(
      i64.eqz(codeLines()),
      () => {
        core.do(f, 'wroteRam', start.get, i32.const(1))
        fillFast(f, f.keep(fastEntry(address, 'write')).get, address, at.get)
      },
      () => {
        // A write is looked up by its first and last line of code.
        for (let offset = 0; offset < ZERO_BLOCK_BYTES; offset += CODE_LINE_BYTES)
          core.do(f, 'wroteRam', i32.add(start.get, i32.const(offset)), i32.const(CODE_LINE_BYTES))
      },
    )
  })
}

/** Management instructions are allowed where a load is, and fault as stores do. */
function defineCheckBlock(core: CoreFunctions): void {
  core.define('checkBlock', (f, address) => {
    writeControl(f, 'fault', ZERO)
    const physical = f.keep(core.call('translateRead', address))
    f.if(i64.eq(physical.get, i64.const(-1)), () => {
      // From a load's page fault or access fault to a store's.
      const cause = i64.add(i64.load(ZERO, control.trapCause), i64.const(CAUSE.storePage - CAUSE.loadPage))
      f.store('i64', ZERO, cause, control.trapCause)
      f.return()
    })
    f.if(i32.eqz(inRam(core, physical.get)), () => raise(f, i64.const(CAUSE.storeAccess), address))
  })
}
