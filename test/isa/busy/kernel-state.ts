/** What the kernel of busy programs keeps, and where: registers it saves, fields it shares between its handlers, contexts. */
import type { Assembler } from '../../../src/machine/cpu/isa-test/assembler.ts'
import { CSR } from '../../../src/machine/cpu/isa-test/privileged.ts'
import { KERNEL_DATA } from './layout.ts'

/** Software bits of an entry: invalid only until it is used; and must map what it maps, or code would go astray. */
export const PTE_LAZY = 1 << 8
export const PTE_MANDATORY = 1 << 9

export const CLINT_MTIMECMP = 0x0200_4000
/** Kernel data: what each handler saves, then what they share, then the contexts of calls through the kernel. */
export const SAVED = { supervisor: KERNEL_DATA, machine: KERNEL_DATA + 256 } as const
export const SHARED_ADDRESS = KERNEL_DATA + 512
export const SHARED = {
  region: 0,
  results: 8,
  log: 16,
  recordsLeft: 24,
  contexts: 32,
  next: 40,
  space: 48,
  satp: 56,
} as const
export const CONTEXTS_ADDRESS = KERNEL_DATA + 1024
export const CONTEXT = { pc: 0, status: 8, span: 16, link: 24, catch: 32, bytes: 64 } as const

export const HANDLED = [6, 7, 28, 29, 30, 31] as const
export const [A, B, C, D, E, F] = HANDLED
export const AREA = 5
/** Behind the registers, and behind two more that the log saves. */
export const SAVED_MPRV = 8 * (HANDLED.length + 2)

export const MACHINE_AREA = SAVED.machine
export const SUPERVISOR_AREA = SAVED.supervisor

export interface Side {
  readonly name: 'machine' | 'supervisor'
  readonly epc: number
  readonly cause: number
  readonly tval: number
  readonly status: number
  readonly scratch: number
  readonly pending: number
  readonly back: 'mret' | 'sret'
}
export const MACHINE_SIDE: Side = {
  name: 'machine',
  epc: CSR.mepc,
  cause: CSR.mcause,
  tval: CSR.mtval,
  status: CSR.mstatus,
  scratch: CSR.mscratch,
  pending: CSR.mip,
  back: 'mret',
}
export const SUPERVISOR_SIDE: Side = {
  name: 'supervisor',
  epc: CSR.sepc,
  cause: CSR.scause,
  tval: CSR.stval,
  status: CSR.sstatus,
  scratch: CSR.sscratch,
  pending: CSR.sip,
  back: 'sret',
}

/** Offset of a shared field from the area that AREA points at. */
export function shared(side: Side, field: number): number {
  return SHARED_ADDRESS + field - SAVED[side.name]
}

/** Gives back the registers that the handler saved. */
export function emitRestore(asm: Assembler, side: Side): void {
  for (const [n, x] of HANDLED.entries()) asm.emit('ld', x, AREA, 8 * n)
  asm.emit('csrrw', AREA, side.scratch, AREA)
}
