/** The page-table walk (The RISC-V Instruction Set Manual, Volume II, 11.3.2 and 11.4: Sv39; Svade: it writes nothing). */
import { type Expr, i32, i64, select } from '../../wasm/expr.ts'
import { CAUSE, raise, readField, writeField, ZERO } from './access.ts'
import type { CoreFunctions } from './core-functions.ts'
import { ACCESS_NUMBER } from './layout.ts'
import { inRam, ramAddress } from './physical.ts'
import { STATUS } from './status.ts'

/** Bits of a page table entry. */
const PTE = { valid: 1, read: 2, write: 4, execute: 8, user: 16, accessed: 64, dirty: 128 } as const
const PTE_PHYSICAL_PAGE = 0x3ffffffffffc00n
/** Bits 63:54 belong to extensions that this hart does not have. */
const PTE_RESERVED = 0xffc0000000000000n

export function defineWalk(core: CoreFunctions): void {
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
