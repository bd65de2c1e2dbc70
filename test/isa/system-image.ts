/** The image around one system program: trap handler, page tables, frames, and the log that both sides must agree on. */
import { Assembler } from '../../src/machine/cpu/isa-test/assembler.ts'
import { writeElf } from '../../src/machine/cpu/isa-test/elf.ts'
import { type Environment, emitExit } from '../../src/machine/cpu/isa-test/exit.ts'
import { encode } from '../../src/machine/cpu/isa-test/instructions.ts'
import { CAUSE, CSR, PTE, SATP_SV39, STATUS } from '../../src/machine/cpu/isa-test/privileged.ts'
import { Random } from '../../src/machine/cpu/isa-test/random.ts'
import type { Program } from './program.ts'
import { emitProgram, emitSlot, type ProgramResult, readSlot, SLOT_PAGE_OFFSET } from './program-code.ts'
import {
  ENTRY_ADDRESS,
  ENTRY_VALUE,
  FRAMES,
  leafEntry,
  OUTER_LINK,
  PAGE_BYTES,
  SLOT_CODE_BYTES,
  SLOT_LINK,
  SLOTS,
  SLOTS_OFFSET,
  SMALL_PAGES_BYTES,
  SYSTEM_LAYOUT,
  SYSTEM_ROLES,
  TRAMPOLINE_OFFSET,
  WINDOW,
  WINDOW_PAGES,
} from './system-layout.ts'
import type { Flavour } from './system-program.ts'

/** A program that traps more often than fits goes on unlogged; its registers are still compared. */
const LOG_RECORDS = 8192
const RECORD_BYTES = 32
const PASSES = 3
const CLINT_MTIMECMP = 0x0200_4000

/** Offsets in the handler's data. */
const SAVED_X6 = 0
const SAVED_X7 = 8
const LOG_END = 16
const PASSES_LEFT = 24
const RECORDS_LEFT = 32

export interface SystemImage {
  readonly elf: Uint8Array
  readonly results: number
  readonly resultsBytes: number
  readonly instructions: number
}

export interface TrapRecord {
  readonly cause: bigint
  readonly pc: bigint
  readonly value: bigint
  readonly status: bigint
}

export interface SystemResult {
  readonly log: readonly TrapRecord[]
  readonly program: ProgramResult
}

const pointer = (table: number) => (BigInt(table / PAGE_BYTES) << 10n) | BigInt(PTE.v)
const leaf = (page: number) => pointer(page) | BigInt(PTE.r | PTE.w | PTE.x | PTE.a | PTE.d)
const GIGAPAGE = leaf(SYSTEM_LAYOUT.code)
const SATP = SATP_SV39 | BigInt(SYSTEM_LAYOUT.rootTable / PAGE_BYTES)

/** Every other program has no superpage, under which a fence of one address may drop just that page. */
function usesSmallPages(program: Program): boolean {
  return program.seed % 2 === 1
}
/** The log holds MPP and MPIE, moved down so that an immediate can mask them. */
const STATUS_SHIFT = 7
/**
 * Causes whose value is logged as zero: the manual lets it be zero or not for illegal instructions and breakpoints,
 * and QEMU gives the aligned address for misaligned accesses to where nothing is.
 */
const VALUES_UNCHECKED =
  (1 << CAUSE.illegal) | (1 << CAUSE.breakpoint) | (1 << CAUSE.loadAccess) | (1 << CAUSE.storeAccess)

export function buildSystemImage(program: Program, flavour: Flavour, environment: Environment): SystemImage {
  const asm = new Assembler(SYSTEM_LAYOUT.code)
  const results = asm.label('results')
  const slot = asm.label('slot')
  const tohost = asm.label('tohost')
  const start = asm.label('start')
  const log = asm.label('log')
  asm.emitTo(start, 'jal', 0)
  asm.align(4)
  const handler = asm.here('handler')
  const small = usesSmallPages(program)
  emitHandler(asm, flavour, small)
  emitRemappers(asm)
  emitTables(asm, program.seed, small)

  asm.bind(start)
  asm.li(5, SYSTEM_LAYOUT.handlerData)
  asm.emit('csrrw', 0, CSR.mscratch, 5)
  asm.loadAddress(6, log)
  asm.emit('sd', 6, 5, LOG_END)
  asm.loadAddress(6, handler)
  asm.emit('csrrw', 0, CSR.mtvec, 6)
  asm.li(6, -1)
  asm.emit('csrrw', 0, CSR.pmpaddr0, 6)
  asm.li(6, 0x1f)
  asm.emit('csrrw', 0, CSR.pmpcfg0, 6)
  asm.li(6, SATP)
  asm.emit('csrrw', 0, CSR.satp, 6)
  asm.emit('sfence.vma', 0, 0)
  asm.li(6, STATUS.fs)
  asm.emit('csrrs', 0, CSR.mstatus, 6)
  // The supervisor software interrupt, and where time is comparable the machine timer.
  asm.li(6, flavour === 'engines' ? (1 << 1) | (1 << 7) : 1 << 1)
  asm.emit('csrrw', 0, CSR.mie, 6)
  asm.li(6, flavour === 'engines' ? 7 : 0)
  asm.emit('csrrw', 0, CSR.mcounteren, 6)
  asm.emit('csrrw', 0, CSR.scounteren, 6)

  const pass = asm.here('pass')
  const instructions = emitProgram(asm, program, slot, () => {
    asm.li(SYSTEM_ROLES.scratch, 3)
    asm.emit('ecall')
    asm.emit('csrrci', 0, CSR.mstatus, Number(STATUS.mie))
  })
  const done = asm.label()
  asm.li(5, SYSTEM_LAYOUT.handlerData)
  asm.emit('ld', 6, 5, PASSES_LEFT)
  asm.emit('addi', 6, 6, -1)
  asm.emit('sd', 6, 5, PASSES_LEFT)
  asm.emitTo(done, 'beq', 6, 0)
  asm.loadAddress(6, pass)
  asm.emit('jalr', 0, 6, 0)
  asm.bind(done)
  const resultsBytes = 2 * PAGE_BYTES + LOG_RECORDS * RECORD_BYTES
  emitExit(asm, environment, { results, resultsBytes, tohost })

  asm.align(PAGE_BYTES)
  asm.bind(results)
  asm.advanceTo(asm.address + SLOT_PAGE_OFFSET)
  asm.bind(slot)
  emitSlot(asm, program)
  asm.align(PAGE_BYTES)
  asm.bind(log)
  asm.advanceTo(asm.address + LOG_RECORDS * RECORD_BYTES)
  asm.bind(tohost)
  asm.double(0n)
  const elf = writeElf({
    base: SYSTEM_LAYOUT.code,
    bytes: asm.finish(),
    symbols: { tohost: asm.addressOf(tohost) },
  })
  return { elf, results: asm.addressOf(results), resultsBytes, instructions }
}

export function readSystemResult(bytes: Uint8Array): SystemResult {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const log: TrapRecord[] = []
  for (let offset = 2 * PAGE_BYTES; offset < bytes.length; offset += RECORD_BYTES) {
    const word = (n: number) => view.getBigUint64(offset + 8 * n, true)
    const record = { cause: word(0), pc: word(1), value: word(2), status: word(3) }
    if (record.cause === 0n && record.pc === 0n && record.status === 0n) break
    log.push(record)
  }
  return { log, program: readSlot(bytes, SLOT_PAGE_OFFSET) }
}

function emitRemappers(asm: Assembler): void {
  for (const address of [SYSTEM_LAYOUT.remapper, SYSTEM_LAYOUT.remapperUnfenced]) {
    asm.advanceTo(address)
    asm.emit('sd', ENTRY_VALUE, ENTRY_ADDRESS, 0)
    if (address === SYSTEM_LAYOUT.remapper) asm.emit('sfence.vma', 0, 0)
    asm.emit('jalr', 0, SLOT_LINK, 0)
  }
}

/** Tables at their places, then the frames with their slots, all of which end in the jump back. */
function emitTables(asm: Assembler, seed: number, small: boolean): void {
  const random = new Random(seed ^ 0x7ab1e)
  asm.advanceTo(SYSTEM_LAYOUT.rootTable)
  asm.double(pointer(SYSTEM_LAYOUT.middleTable))
  asm.advanceTo(SYSTEM_LAYOUT.rootTable + 16)
  asm.double(small ? pointer(SYSTEM_LAYOUT.ramMiddleTables) : GIGAPAGE)
  asm.advanceTo(SYSTEM_LAYOUT.middleTable + (WINDOW / 0x20_0000) * 8)
  asm.double(pointer(SYSTEM_LAYOUT.leafTable))
  for (const page of WINDOW_PAGES) {
    asm.advanceTo(SYSTEM_LAYOUT.leafTable + 8 * page)
    asm.double(BigInt(leafEntry(random)))
  }
  asm.advanceTo(SYSTEM_LAYOUT.handlerData + PASSES_LEFT)
  asm.double(BigInt(PASSES))
  asm.double(BigInt(LOG_RECORDS - 1))
  for (let frame = 0; frame < FRAMES; frame++) {
    const base = SYSTEM_LAYOUT.frames + PAGE_BYTES * frame
    for (let n = 0; n < SLOTS; n++) {
      asm.advanceTo(base + SLOTS_OFFSET + SLOT_CODE_BYTES * n)
      for (let word = 0; word < SLOT_CODE_BYTES / 4 - 1; word++) asm.emit('addi', 0, 0, 0)
      asm.word(encode('jalr', 0, SLOT_LINK, 0))
    }
    asm.advanceTo(base + TRAMPOLINE_OFFSET)
    asm.emit('addi', OUTER_LINK, SLOT_LINK, 0)
    asm.emit('jalr', SLOT_LINK, SYSTEM_ROLES.scratch, 0)
    asm.emit('addi', SYSTEM_ROLES.hash, SYSTEM_ROLES.hash, frame + 1)
    asm.emit('jalr', 0, OUTER_LINK, 0)
    asm.advanceTo(base + PAGE_BYTES / 2)
    for (let n = 0; n < PAGE_BYTES / 2; n += 8) asm.double(random.u64())
  }
  if (small) emitSmallPages(asm)
  asm.advanceTo(SYSTEM_LAYOUT.programs)
}

/** The root for U-mode, then for each root a middle table, then for each a leaf table of all of RAM that is used. */
function emitSmallPages(asm: Assembler): void {
  asm.advanceTo(SYSTEM_LAYOUT.userRootTable)
  asm.double(pointer(SYSTEM_LAYOUT.middleTable))
  asm.advanceTo(SYSTEM_LAYOUT.userRootTable + 16)
  asm.double(pointer(SYSTEM_LAYOUT.ramMiddleTables + PAGE_BYTES))
  for (const table of [0, PAGE_BYTES]) {
    asm.advanceTo(SYSTEM_LAYOUT.ramMiddleTables + table)
    asm.double(pointer(SYSTEM_LAYOUT.ramLeafTables + table))
  }
  for (const flags of [0, PTE.u]) {
    asm.align(PAGE_BYTES)
    for (let offset = 0; offset < SMALL_PAGES_BYTES; offset += PAGE_BYTES) {
      asm.double(leaf(SYSTEM_LAYOUT.code + offset) | BigInt(flags))
    }
  }
}

/**
 * Logs the trap and goes on: behind the instruction, or at the return address of the call that went astray. An
 * environment call changes the mode to the one in the scratch register; what maps RAM is for the user exactly while
 * U-mode runs. Keeps every register.
 */
function emitHandler(asm: Assembler, flavour: Flavour, small: boolean): void {
  const interrupt = asm.label()
  const call = asm.label()
  const astray = asm.label()
  const refused = asm.label()
  const behind = asm.label()
  const out = asm.label()
  asm.emit('csrrw', 5, CSR.mscratch, 5)
  asm.emit('sd', 6, 5, SAVED_X6)
  asm.emit('sd', 7, 5, SAVED_X7)
  // A trap between setting and clearing MPRV must not leave it set: what follows would run under other rights.
  asm.li(6, STATUS.mprv)
  asm.emit('csrrc', 0, CSR.mstatus, 6)
  emitLog(asm)
  asm.emit('csrrs', 6, CSR.mcause, 0)
  asm.emitTo(interrupt, 'blt', 6, 0)
  for (const [cause, target] of [
    [CAUSE.userCall, call],
    [CAUSE.supervisorCall, call],
    [CAUSE.machineCall, call],
    [CAUSE.fetchPage, astray],
    [CAUSE.fetchAccess, astray],
    [CAUSE.illegal, refused],
  ] as const) {
    asm.li(7, cause)
    asm.emitTo(target, 'beq', 6, 7)
  }
  asm.emitTo(behind, 'jal', 0)

  asm.bind(refused)
  // A fence refused in U-mode would leave QEMU and us with different stale translations.
  if (flavour === 'qemu') asm.emit('sfence.vma', 0, 0)
  asm.bind(behind)
  asm.emit('csrrs', 6, CSR.mepc, 0)
  asm.emit('addi', 6, 6, 4)
  asm.emit('csrrw', 0, CSR.mepc, 6)
  asm.bind(out)
  asm.emit('ld', 6, 5, SAVED_X6)
  asm.emit('ld', 7, 5, SAVED_X7)
  asm.emit('csrrw', 5, CSR.mscratch, 5)
  asm.emit('mret')

  asm.bind(astray)
  // A trampoline whose page is gone when its callee returns has its own return address elsewhere.
  const called = asm.label()
  asm.emit('csrrs', 6, CSR.mscratch, 0)
  asm.emit('csrrs', 7, CSR.mepc, 0)
  asm.emitTo(called, 'bne', 6, 7)
  asm.emit('addi', 6, OUTER_LINK, 0)
  asm.bind(called)
  asm.emit('csrrw', 0, CSR.mepc, 6)
  asm.emitTo(out, 'jal', 0)

  asm.bind(interrupt)
  asm.emit('csrrci', 0, CSR.mip, 2)
  asm.li(6, CLINT_MTIMECMP)
  asm.li(7, -1)
  asm.emit('sd', 7, 6, 0)
  asm.emitTo(out, 'jal', 0)

  asm.bind(call)
  asm.li(6, STATUS.mpp)
  asm.emit('csrrc', 0, CSR.mstatus, 6)
  asm.emit('andi', 6, SYSTEM_ROLES.scratch, 3)
  asm.emit('slli', 6, 6, 11)
  asm.emit('csrrs', 0, CSR.mstatus, 6)
  asm.emit('sltiu', 6, 6, 1)
  if (small) {
    // U-mode has a root table of its own, so many pages behind the other.
    asm.li(7, (SYSTEM_LAYOUT.userRootTable - SYSTEM_LAYOUT.rootTable) / PAGE_BYTES)
    asm.emit('mul', 6, 6, 7)
    asm.li(7, SATP)
    asm.emit('add', 6, 6, 7)
    asm.emit('csrrw', 0, CSR.satp, 6)
  } else {
    // U in the gigapage's entry: set when the new mode is U.
    asm.emit('slli', 6, 6, 4)
    asm.li(7, GIGAPAGE)
    asm.emit('or', 6, 6, 7)
    asm.li(7, SYSTEM_LAYOUT.rootTable)
    asm.emit('sd', 6, 7, 16)
  }
  asm.emit('sfence.vma', 0, 0)
  asm.emitTo(behind, 'jal', 0)
}

/** Uses x6 and x7; x5 points at the handler's data. */
function emitLog(asm: Assembler): void {
  const unchecked = asm.label()
  const full = asm.label()
  asm.emit('ld', 7, 5, LOG_END)
  asm.emit('csrrs', 6, CSR.mcause, 0)
  asm.emit('sd', 6, 7, 0)
  asm.emit('sd', 0, 7, 16)
  asm.li(5, VALUES_UNCHECKED)
  asm.emit('bext', 6, 5, 6)
  asm.li(5, SYSTEM_LAYOUT.handlerData)
  asm.emitTo(unchecked, 'bne', 6, 0)
  asm.emit('csrrs', 6, CSR.mtval, 0)
  asm.emit('sd', 6, 7, 16)
  asm.bind(unchecked)
  asm.emit('csrrs', 6, CSR.mepc, 0)
  asm.emit('sd', 6, 7, 8)
  asm.emit('csrrs', 6, CSR.mstatus, 0)
  asm.emit('srli', 6, 6, STATUS_SHIFT)
  asm.emit('andi', 6, 6, Number((STATUS.mpp | STATUS.mpie) >> BigInt(STATUS_SHIFT)))
  asm.emit('sd', 6, 7, 24)
  // Once the log is full its last record is overwritten again and again.
  asm.emit('ld', 6, 5, RECORDS_LEFT)
  asm.emitTo(full, 'beq', 6, 0)
  asm.emit('addi', 6, 6, -1)
  asm.emit('sd', 6, 5, RECORDS_LEFT)
  asm.emit('addi', 7, 7, RECORD_BYTES)
  asm.emit('sd', 7, 5, LOG_END)
  asm.bind(full)
}
