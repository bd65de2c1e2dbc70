/** Many busy programs in one bare-metal image: the kernel, then a region for each, run one after the other. */
import { Assembler } from '../../../src/machine/cpu/isa-test/assembler.ts'
import { writeElf } from '../../../src/machine/cpu/isa-test/elf.ts'
import { type Environment, emitExit } from '../../../src/machine/cpu/isa-test/exit.ts'
import { CSR, MACHINE, STATUS } from '../../../src/machine/cpu/isa-test/privileged.ts'
import { Random } from '../../../src/machine/cpu/isa-test/random.ts'
import { DATA_HALF_BYTES } from '../program.ts'
import { emitSlot, INITIAL_OFFSET, SLOT_PAGE_OFFSET } from '../program-code.ts'
import { emitCode } from './functions.ts'
import { emitKernel } from './kernel.ts'
import { CONTEXTS_ADDRESS, MACHINE_AREA, SHARED, SHARED_ADDRESS, SUPERVISOR_AREA } from './kernel-state.ts'
import {
  ALIAS_BYTES,
  ALIASES,
  ALIASES_OFFSET,
  EDIT_BYTES,
  KERNEL_CODE,
  KERNEL_DATA,
  KERNEL_DATA_PAGES,
  LOG_RECORDS,
  OTHER_WINDOW_PAGES,
  PAGE,
  PAGE_BYTES,
  PROGRAMS_MAX,
  REGION_BYTES,
  REGIONS,
  REGISTER,
  RESULT,
  regionOf,
  SIBLING,
  STACK_PAGES,
  WINDOW_PAGES,
} from './layout.ts'
import type { BusyProgram } from './program.ts'
import { firstTables, satp } from './tables.ts'

export interface BusyImage {
  readonly elf: Uint8Array
  /** The regions of all programs, up to the last one. */
  readonly results: number
  readonly resultsBytes: number
}

const T0 = 5
const T1 = 6
const STCE = 1n << 63n

/** All programs must be of one flavour, each in a slot of its own, in ascending order. */
export function buildBusyImage(programs: readonly BusyProgram[], environment: Environment): BusyImage {
  const { flavour } = programs[0]!
  const asm = new Assembler(KERNEL_CODE)
  const start = asm.label('start')
  const exit = asm.label('exit')
  const tohost = asm.label('tohost')
  const results = asm.label('results')
  const resultsBytes = (programs.at(-1)!.slot + 1) * REGION_BYTES
  asm.emitTo(start, 'jal', 0)
  const { machineHandler, supervisorHandler } = emitKernel(asm, flavour)
  asm.bind(start)
  for (const [csr, handler] of [
    [CSR.mtvec, machineHandler],
    [CSR.stvec, supervisorHandler],
  ] as const) {
    asm.loadAddress(T0, handler)
    asm.emit('csrrw', 0, csr, T0)
  }
  setCsr(asm, CSR.mscratch, MACHINE_AREA)
  setCsr(asm, CSR.sscratch, SUPERVISOR_AREA)
  setCsr(asm, CSR.pmpaddr0, -1)
  setCsr(asm, CSR.pmpcfg0, 0x1f)
  setCsr(asm, CSR.menvcfg, flavour === 'engines' ? STCE : 0)
  setCsr(asm, CSR.mcounteren, flavour === 'engines' ? 7 : 0)
  setCsr(asm, CSR.scounteren, flavour === 'engines' ? 7 : 0)
  const starts = programs.map(() => asm.label())
  programs.forEach((program, n) => {
    asm.bind(starts[n]!)
    emitStart(asm, program, starts[n + 1] ?? exit)
  })
  asm.bind(exit)
  // The programs' status must not reach into the end: no interrupt, no other rights.
  asm.emit('csrrwi', 0, CSR.mie, 0)
  asm.li(T0, STATUS.mprv)
  asm.emit('csrrc', 0, CSR.mstatus, T0)
  emitExit(asm, environment, { results, resultsBytes, tohost })
  asm.advanceTo(KERNEL_DATA + KERNEL_DATA_PAGES * PAGE_BYTES)
  asm.bind(tohost)
  asm.double(0n)
  asm.advanceTo(REGIONS)
  asm.bind(results)
  for (const program of programs) {
    asm.advanceTo(regionOf(program.slot))
    emitRegion(asm, program)
  }
  asm.advanceTo(REGIONS + resultsBytes)
  const elf = writeElf({
    base: KERNEL_CODE,
    bytes: asm.finish(),
    symbols: { tohost: KERNEL_DATA + KERNEL_DATA_PAGES * PAGE_BYTES },
  })
  return { elf, results: REGIONS, resultsBytes }
}

function setCsr(asm: Assembler, csr: number, value: bigint | number): void {
  asm.li(T0, value)
  asm.emit('csrrw', 0, csr, T0)
}

/** In M-mode: the kernel's fields, the control registers, the program's registers, and into main. */
function emitStart(asm: Assembler, program: BusyProgram, next: ReturnType<Assembler['label']>): void {
  const region = regionOf(program.slot)
  const setShared = (field: number, value: bigint | number): void => {
    asm.li(T1, value)
    asm.emit('sd', T1, T0, field)
  }
  asm.li(T0, SHARED_ADDRESS)
  setShared(SHARED.region, region)
  setShared(SHARED.results, region + PAGE.results * PAGE_BYTES)
  setShared(SHARED.log, region + PAGE.results * PAGE_BYTES + RESULT.log)
  setShared(SHARED.recordsLeft, LOG_RECORDS)
  setShared(SHARED.contexts, CONTEXTS_ADDRESS)
  asm.loadAddress(T1, next)
  asm.emit('sd', T1, T0, SHARED.next)
  setShared(SHARED.space, 0)
  setShared(SHARED.satp, satp(region, 0))
  setShared(SHARED.satp + 8, satp(region, 1))
  asm.emit('csrrw', 0, CSR.mip, 0)
  setCsr(asm, CSR.satp, satp(region, 0))
  asm.emit('sfence.vma', 0, 0)
  setCsr(asm, CSR.medeleg, program.medeleg)
  setCsr(asm, CSR.mideleg, program.mideleg)
  setCsr(asm, CSR.mie, program.flavour === 'engines' ? 0xa2 : 2)
  asm.li(T0, STATUS.sie | STATUS.spie | STATUS.mie | STATUS.mpp | STATUS.sum | STATUS.mxr | STATUS.spp)
  asm.emit('csrrc', 0, CSR.mstatus, T0)
  const alias = ALIASES[program.alias]!
  // MIE as the program wants it comes through MPIE, when main is entered.
  asm.li(T0, (program.status & ~STATUS.mie) | (BigInt(alias.mode) << 11n))
  asm.emit('csrrs', 0, CSR.mstatus, T0)
  const span = alias.base(region)
  asm.li(T0, span + BigInt(program.functions[0]!.offset))
  asm.emit('csrrw', 0, CSR.mepc, T0)

  const { base } = REGISTER
  asm.li(base, region + PAGE.base * PAGE_BYTES - DATA_HALF_BYTES + INITIAL_OFFSET)
  for (let f = 0; f < 32; f++) asm.emit('fld', f, base, 8 * (32 + f))
  asm.emit('lw', T0, base, 8 * 64)
  asm.emit('csrrw', 0, CSR.fcsr, T0)
  for (let x = 1; x < 32; x++) if (x !== base) asm.emit('ld', x, base, 8 * x)
  asm.li(base, span + BigInt(PAGE.base * PAGE_BYTES))
  asm.li(REGISTER.span, span)
  asm.li(REGISTER.sibling, alias.mode === MACHINE ? 0 : SIBLING)
  asm.li(REGISTER.stack, span + BigInt((PAGE.stack + STACK_PAGES) * PAGE_BYTES))
  asm.emit('addi', REGISTER.recursion, 0, 0)
  asm.emit('mret')
}

function emitRegion(asm: Assembler, program: BusyProgram): void {
  const region = regionOf(program.slot)
  const random = new Random(program.memorySeed)
  const fill = (pages: number): void => {
    for (let n = 0; n < (pages * PAGE_BYTES) / 8; n++) asm.double(random.u64())
  }
  const at = (page: number) => asm.advanceTo(region + page * PAGE_BYTES)
  asm.bytes(emitCode(program, region, 0))
  asm.advanceTo(region + PAGE.data * PAGE_BYTES + SLOT_PAGE_OFFSET)
  emitSlot(asm, { ...program, baseRegister: REGISTER.base, items: [] })
  at(PAGE.window)
  fill(WINDOW_PAGES)
  at(PAGE.otherCode)
  asm.bytes(emitCode(program, region, 1))
  at(PAGE.otherWindow)
  fill(OTHER_WINDOW_PAGES)
  const tables = firstTables(region)
  for (const page of [PAGE.tables, PAGE.goodTables]) {
    at(page)
    asm.bytes(new Uint8Array(tables.buffer))
  }
  at(PAGE.edits)
  for (const { entry, value, address, fence, space } of program.edits) {
    const start = asm.address
    asm.double(BigInt(entry))
    asm.double(value)
    asm.double(address)
    asm.byte(fence)
    asm.byte(space)
    asm.advanceTo(start + EDIT_BYTES)
  }
  asm.advanceTo(region + PAGE.edits * PAGE_BYTES + ALIASES_OFFSET)
  for (const { mode, base } of ALIASES) {
    const start = asm.address
    asm.double(base(region))
    asm.double(BigInt(mode) << 11n)
    asm.advanceTo(start + ALIAS_BYTES)
  }
}

/** Which of the programs an address of a region belongs to, or null. */
export function slotOf(address: number): number | null {
  const slot = Math.floor((address - REGIONS) / REGION_BYTES)
  return slot >= 0 && slot < PROGRAMS_MAX ? slot : null
}
