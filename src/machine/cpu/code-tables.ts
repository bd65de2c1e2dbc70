/**
 * The pool of code tables. A page that control reaches gets one for each mode it runs in, to count visits in and, when
 * some of it is compiled, to find that by. The pool is bounded: when it is used up, the table of a page without
 * compiled code is taken back, which forgets no more than how often that page was visited.
 *
 * If all pages with a table have compiled code, the driver is asked to forget it all between two runs, when no
 * region is on the stack. Until then a page that finds no table has the spare one, which no page owns: nothing is
 * installed there.
 */
import { type Expr, i32, i64 } from '../../wasm/expr.ts'
import type { FunctionBuilder } from '../../wasm/function.ts'
import { readControl, writeControl, ZERO } from './access.ts'
import { setWatchLine } from './code-pages.ts'
import type { CoreFunctions } from './core-functions.ts'
import { CODE_TABLE_BYTES, CODE_TABLES_MAX, fastTlb, MODE_COUNT, TLB_MODE_STRIDE } from './layout.ts'

/** `watch` is a memory address whose line reports every store, or null. */
export function defineCodeTables(core: CoreFunctions, watch: number | null): void {
  defineTakeCodeTable(core)
  defineDropCode(core, watch)
}

function defineTakeCodeTable(core: CoreFunctions): void {
  const { layout } = core
  core.define('takeCodeTable', (f, owner) => {
    const number = f.keep(readControl('codeTablesUsed'))
    const table = f.temp('i32')
    f.if(
      i32.ltU(number.get, i32.const(CODE_TABLES_MAX)),
      () => {
        writeControl(f, 'codeTablesUsed', i32.add(number.get, i32.const(1)))
        f.set(table, tableAt(core, number.get))
      },
      () => {
        f.block((found) => {
          f.if(i32.eqz(readControl('codeDropped')), () => {
            const left = f.keep(i32.const(CODE_TABLES_MAX))
            f.loop((next) => {
              // Round in turn, so that what was taken back comes last again.
              const after = i32.add(readControl('codeTableHand'), i32.const(1))
              f.set(number, i32.and(after, i32.const(CODE_TABLES_MAX - 1)))
              writeControl(f, 'codeTableHand', number.get)
              const page = i32.remU(
                i32.shrU(i32.sub(ownerOf(core, number.get), i32.const(layout.pageCode)), i32.const(2)),
                i32.const(layout.pageCount),
              )
              f.brIf(found, i64.eqz(i64.load(i32.shl(page, i32.const(3)), layout.codeLines)))
              f.set(left, i32.sub(left.get, i32.const(1)))
              f.brIf(next, left.get)
            })
            writeControl(f, 'codeDropped', i32.const(1))
          })
          f.return(tableAt(core, i32.const(CODE_TABLES_MAX)))
        })
        f.set(table, tableAt(core, number.get))
        f.store('i32', ownerOf(core, number.get), ZERO)
        f.memoryFill(table.get, ZERO, i32.const(CODE_TABLE_BYTES))
        forgetFetches(f)
      },
      'likely',
    )
    f.store('i32', i32.shl(number.get, i32.const(2)), owner, layout.codeTableOwners)
    f.store('i32', owner, table.get)
    f.return(table.get)
  })
}

/** Forgets all translated code and all heat. The driver then frees the compiled functions. */
function defineDropCode(core: CoreFunctions, watch: number | null): void {
  const { layout } = core
  core.define('dropCode', (f) => {
    const clear = (base: number, bytes: number): void => f.memoryFill(i32.const(base), ZERO, i32.const(bytes))
    clear(layout.codeLines, layout.pageCount * 8)
    if (watch !== null) setWatchLine(f, core, watch)
    clear(layout.pageCode, layout.pageCount * 4 * MODE_COUNT)
    clear(layout.codeTables, (CODE_TABLES_MAX + 1) * CODE_TABLE_BYTES)
    forgetFetches(f)
    writeControl(f, 'codeTablesUsed', ZERO)
    writeControl(f, 'queueLength', ZERO)
    writeControl(f, 'invalidatedLength', ZERO)
    writeControl(f, 'codeDropped', i32.const(1))
    writeControl(f, 'attention', i32.const(1))
  })
}

/** Fast fetch entries hold the addresses of code tables. */
function forgetFetches(f: FunctionBuilder): void {
  for (let mode = 0; mode < MODE_COUNT; mode++)
    f.memoryFill(i32.const(fastTlb(mode, 'execute')), i32.const(0xff), i32.const(TLB_MODE_STRIDE / 3))
}

function tableAt({ layout }: CoreFunctions, number: Expr): Expr {
  return i32.add(i32.const(layout.codeTables), i32.mul(number, i32.const(CODE_TABLE_BYTES)))
}

/** The word of `pageCode` that names a table. */
function ownerOf({ layout }: CoreFunctions, number: Expr): Expr {
  return i32.load(i32.shl(number, i32.const(2)), layout.codeTableOwners)
}
