/**
 * The trap handlers of scenarios: they log and go on. Conventions: x26 points at the end of the log, x27 says where to
 * go on after an exception, x17 asks for M-mode, and x28-x31 are theirs.
 */
import type { Assembler } from './assembler.ts'
import { CAUSE, CSR, STATUS } from './privileged.ts'

export const LOG_POINTER = 26
export const RESUME = 27
export const CALL_REGISTER = 17
export const TO_MACHINE = 0x4d4d
const T0 = 28
const T1 = 29
export const FROM_MACHINE_HANDLER = 0x4d
export const FROM_SUPERVISOR_HANDLER = 0x53
const MACHINE_STATUS_LOGGED = STATUS.mie | STATUS.mpie | STATUS.mpp
const SUPERVISOR_STATUS_LOGGED = STATUS.sie | STATUS.spie | STATUS.spp

interface TrapCsrs {
  readonly epc: number
  readonly tval: number
  readonly status: number
}
const MACHINE_CSRS: TrapCsrs = { epc: CSR.mepc, tval: CSR.mtval, status: CSR.mstatus }
const SUPERVISOR_CSRS: TrapCsrs = { epc: CSR.sepc, tval: CSR.stval, status: CSR.sstatus }

/** Emits the machine-mode handler and returns its address. */
export function emitMachineHandler(asm: Assembler): number {
  asm.align(4)
  const address = asm.address
  const logIt = asm.label()
  const interrupt = asm.label()
  asm.emit('csrrs', T0, CSR.mcause, 0)
  asm.emitTo(interrupt, 'blt', T0, 0)
  // Any exception with the magic number is the way back to M-mode.
  asm.li(T1, TO_MACHINE)
  asm.emitTo(logIt, 'bne', CALL_REGISTER, T1)
  asm.li(T1, STATUS.mpp)
  asm.emit('csrrs', 0, CSR.mstatus, T1)
  asm.emit('addi', CALL_REGISTER, 0, 0)
  asm.emit('csrrw', 0, CSR.mepc, RESUME)
  asm.emit('mret')
  asm.bind(logIt)
  emitLog(asm, FROM_MACHINE_HANDLER, MACHINE_CSRS, MACHINE_STATUS_LOGGED)
  asm.emit('csrrw', 0, CSR.mepc, RESUME)
  asm.emit('mret')
  asm.bind(interrupt)
  emitLog(asm, FROM_MACHINE_HANDLER, MACHINE_CSRS, MACHINE_STATUS_LOGGED)
  emitMask(asm, CSR.mie)
  asm.emit('mret')
  return address
}

/** Emits the supervisor-mode handler and returns its address. */
export function emitSupervisorHandler(asm: Assembler): number {
  asm.align(4)
  const address = asm.address
  const interrupt = asm.label()
  asm.emit('csrrs', T0, CSR.scause, 0)
  emitLog(asm, FROM_SUPERVISOR_HANDLER, SUPERVISOR_CSRS, SUPERVISOR_STATUS_LOGGED)
  asm.emitTo(interrupt, 'blt', T0, 0)
  asm.emit('csrrw', 0, CSR.sepc, RESUME)
  asm.emit('sret')
  asm.bind(interrupt)
  emitMask(asm, CSR.sie)
  asm.emit('sret')
  return address
}

/** The cause is in T0. The value is not logged where the manual lets it be zero or not. */
function emitLog(asm: Assembler, marker: number, { epc, tval, status }: TrapCsrs, mask: bigint): void {
  const fields = [
    () => asm.li(T1, marker),
    () => asm.emit('addi', T1, T0, 0),
    () => asm.emit('csrrs', T1, epc, 0),
    () => {
      const checked = asm.label()
      asm.emit('addi', T1, T0, -CAUSE.illegal)
      asm.emit('sltiu', T1, T1, CAUSE.breakpoint - CAUSE.illegal + 1)
      asm.emit('addi', 30, 0, 0)
      asm.emitTo(checked, 'bne', T1, 0)
      asm.emit('csrrs', 30, tval, 0)
      asm.bind(checked)
      asm.emit('addi', T1, 30, 0)
    },
    () => {
      asm.emit('csrrs', T1, status, 0)
      asm.li(30, mask)
      asm.emit('and', T1, T1, 30)
    },
  ]
  fields.forEach((load, n) => {
    load()
    asm.emit('sd', T1, LOG_POINTER, 8 * n)
  })
  asm.emit('addi', LOG_POINTER, LOG_POINTER, 8 * fields.length)
}

/** Clears the bit of the interrupt in T0, so that it is taken once. */
function emitMask(asm: Assembler, enables: number): void {
  asm.emit('addi', T1, 0, 1)
  asm.emit('sll', T1, T1, T0)
  asm.emit('csrrc', 0, enables, T1)
}
