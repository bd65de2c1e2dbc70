/**
 * Traps and returns from them (The RISC-V Instruction Set Manual, Volume II, 3.1.6 to 3.3 and 10.1).
 */
import { type Expr, i32, i64, select } from '../../wasm/expr.ts'
import type { FunctionBuilder } from '../../wasm/function.ts'
import { readField, writeControl, writeField, ZERO } from './access.ts'
import type { CoreFunctions } from './core-functions.ts'
import { STATUS } from './status.ts'

const status = (bits: number): Expr => i64.and(readField('mstatus'), i64.const(bits))

export function defineTraps(core: CoreFunctions): void {
  defineReturnFromSupervisor(core)
  core.define('trap', (f, cause, value, pc) => {
    const privilege = f.keep(readField('privilege'))
    const isInterrupt = f.keep(i64.ltS(cause, i64.const(0)))
    const delegation = f.keep(select(isInterrupt.get, readField('mideleg'), readField('medeleg')))
    const delegated = i32.wrap(i64.and(i64.shrU(delegation.get, i64.and(cause, i64.const(63))), i64.const(1)))
    const vector = f.temp('i64')
    f.if(
      i32.and(i64.leU(privilege.get, i64.const(1)), delegated),
      () => {
        writeField(f, 'scause', cause)
        writeField(f, 'stval', value)
        writeField(f, 'sepc', pc)
        // SPIE takes SIE, SIE is cleared, SPP tells where we came from.
        const kept = i64.and(readField('mstatus'), i64.const(~(STATUS.sie | STATUS.spie | STATUS.spp)))
        const spie = i64.shl(status(STATUS.sie), i64.const(4))
        writeField(f, 'mstatus', i64.or(i64.or(kept, spie), i64.shl(privilege.get, i64.const(8))))
        writeField(f, 'privilege', i64.const(1))
        f.set(vector, readField('stvec'))
      },
      () => {
        writeField(f, 'mcause', cause)
        writeField(f, 'mtval', value)
        writeField(f, 'mepc', pc)
        const kept = i64.and(readField('mstatus'), i64.const(~(STATUS.mie | STATUS.mpie | STATUS.mpp)))
        const mpie = i64.shl(status(STATUS.mie), i64.const(4))
        writeField(f, 'mstatus', i64.or(i64.or(kept, mpie), i64.shl(privilege.get, i64.const(11))))
        writeField(f, 'privilege', i64.const(3))
        f.set(vector, readField('mtvec'))
      },
    )
    core.do(f, 'setMode')
    // Vectored mode: interrupts go to base + 4 × cause.
    const base = f.keep(i64.and(vector.get, i64.const(-4)))
    f.if(i32.and(isInterrupt.get, i32.wrap(i64.and(vector.get, i64.const(1)))), () =>
      f.set(base, i64.add(base.get, i64.shl(i64.and(cause, i64.const(63)), i64.const(2)))),
    )
    f.return(base.get)
  })
}

/** SRET: back to SPP; the next SPP is U. */
function defineReturnFromSupervisor(core: CoreFunctions): void {
  core.define('returnFromSupervisor', (f, budget) => {
    const spp = f.keep(i64.shrU(status(STATUS.spp), i64.const(8)))
    const kept = i64.and(
      readField('mstatus'),
      i64.const(~(STATUS.sie | STATUS.spie | STATUS.spp | STATUS.mprv)),
    )
    const sie = i64.shrU(status(STATUS.spie), i64.const(4))
    writeField(f, 'mstatus', i64.or(i64.or(kept, sie), i64.const(STATUS.spie)))
    writeField(f, 'privilege', spp.get)
    core.do(f, 'setMode')
    attendToInterrupts(f, core, budget)
    f.return(readField('sepc'))
  })
}

/**
 * Asks for attention if an interrupt is pending that is now enabled. `budget` is what is left after the instruction
 * that enabled it: a timer that falls due later in the chunk is the run loop's, which ends the chunk there.
 */
export function attendToInterrupts(f: FunctionBuilder, core: CoreFunctions, budget: Expr): void {
  const ready = f.keep(i64.and(core.call('pending', budget), readField('mie')))
  f.if(i64.ne(ready.get, i64.const(0)), () => {
    const forMachine = i64.and(ready.get, i64.xor(readField('mideleg'), i64.const(-1)))
    const masked = i64.eqz(i64.or(status(STATUS.sie), forMachine))
    f.if(i32.eqz(i32.and(masked, i64.eq(readField('privilege'), i64.const(1)))), () =>
      writeControl(f, 'attention', i32.const(1)),
    )
  })
}

/** MRET: back to MPP; the next MPP is U; MPRV is cleared unless M returns to itself. */
export function returnFromMachine(f: FunctionBuilder, core: CoreFunctions): void {
  const mpp = f.keep(i64.shrU(status(STATUS.mpp), i64.const(11)))
  const kept = f.keep(i64.and(readField('mstatus'), i64.const(~(STATUS.mie | STATUS.mpie | STATUS.mpp))))
  const mie = i64.shrU(status(STATUS.mpie), i64.const(4))
  f.if(i64.ne(mpp.get, i64.const(3)), () => f.set(kept, i64.and(kept.get, i64.const(~STATUS.mprv))))
  writeField(f, 'mstatus', i64.or(i64.or(kept.get, mie), i64.const(STATUS.mpie)))
  writeField(f, 'privilege', mpp.get)
  core.do(f, 'setMode')
}

/** i32: whether SRET (or WFI, SFENCE.VMA by `bit`) is refused here. `least` is the least privilege that may execute it. */
export function refused(least: number, bit: number): Expr {
  const tooLow = i64.ltU(readField('privilege'), i64.const(least))
  const trapped = i32.and(i64.eq(readField('privilege'), i64.const(1)), i32.ne(i32.wrap(status(bit)), ZERO))
  return i32.or(tooLow, trapped)
}
