/**
 * The kernel of busy programs: one trap handler for M-mode and one for S-mode, made by the same code, and the
 * services that programs ask for.
 *
 * Faults are treated as a kernel treats them. Entries that lack A or D get them, unlogged, since QEMU sets them by
 * itself. Entries that were made invalid are made valid again. What is mapped so that code cannot run or reach its
 * own data is put back as it was. Other faults are skipped with their instruction, which takes four bytes then.
 */
import type { Assembler, Label } from '../../../src/machine/cpu/isa-test/assembler.ts'
import { CAUSE, CSR, PTE, STATUS } from '../../../src/machine/cpu/isa-test/privileged.ts'
import {
  ALIAS_BYTES,
  ALIAS_SHIFT,
  ALIASES_OFFSET,
  CATCH_OFFSET,
  EDIT_BYTES,
  EDITS,
  FENCE,
  GOOD_OFFSET_BYTES,
  KERNEL_DATA,
  LOG_RECORD_BYTES,
  LOG_RECORDS,
  PAGE,
  PAGE_BYTES,
  REGISTER,
  RESULT,
  SERVICE,
  SIBLING,
  SPAN_PAGES,
} from './layout.ts'
import type { Flavour } from './program.ts'

/** Software bits of an entry: invalid only until it is used; and must map what it maps, or code would go astray. */
export const PTE_LAZY = 1 << 8
export const PTE_MANDATORY = 1 << 9

const CLINT_MTIMECMP = 0x0200_4000
const VALUES_UNCHECKED =
  (1 << CAUSE.illegal) | (1 << CAUSE.breakpoint) | (1 << CAUSE.loadAccess) | (1 << CAUSE.storeAccess)
/** The log holds MPP and MPIE, or SPP and SPIE. */
const STATUS_LOGGED = { machine: STATUS.mpp | STATUS.mpie, supervisor: STATUS.spp | STATUS.spie }

/** Kernel data: what each handler saves, then what they share, then the contexts of calls through the kernel. */
const SAVED = { supervisor: KERNEL_DATA, machine: KERNEL_DATA + 256 } as const
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
const CONTEXT = { pc: 0, status: 8, span: 16, link: 24, catch: 32, bytes: 64 } as const

const HANDLED = [6, 7, 28, 29, 30, 31] as const
const [A, B, C, D, E, F] = HANDLED
const AREA = 5
/** Behind the registers, and behind two more that the log saves. */
const SAVED_MPRV = 8 * (HANDLED.length + 2)

export const MACHINE_AREA = SAVED.machine
export const SUPERVISOR_AREA = SAVED.supervisor

interface Side {
  readonly name: 'machine' | 'supervisor'
  readonly epc: number
  readonly cause: number
  readonly tval: number
  readonly status: number
  readonly scratch: number
  readonly pending: number
  readonly back: 'mret' | 'sret'
}
const MACHINE_SIDE: Side = {
  name: 'machine',
  epc: CSR.mepc,
  cause: CSR.mcause,
  tval: CSR.mtval,
  status: CSR.mstatus,
  scratch: CSR.mscratch,
  pending: CSR.mip,
  back: 'mret',
}
const SUPERVISOR_SIDE: Side = {
  name: 'supervisor',
  epc: CSR.sepc,
  cause: CSR.scause,
  tval: CSR.stval,
  status: CSR.sstatus,
  scratch: CSR.sscratch,
  pending: CSR.sip,
  back: 'sret',
}

export interface Kernel {
  readonly machineHandler: Label
  readonly supervisorHandler: Label
}

export function emitKernel(asm: Assembler, flavour: Flavour): Kernel {
  const forward = asm.label('forward')
  const supervisorHandler = new Handler(asm, flavour, SUPERVISOR_SIDE, forward).emit()
  const machineHandler = new Handler(asm, flavour, MACHINE_SIDE, forward).emit()
  return { machineHandler, supervisorHandler }
}

class Handler {
  readonly #asm: Assembler
  readonly #flavour: Flavour
  readonly #side: Side
  /** Where the S-mode handler passes a call on to M-mode. */
  readonly #forward: Label
  readonly #retry: Label
  readonly #skip: Label
  readonly #log: Label

  constructor(asm: Assembler, flavour: Flavour, side: Side, forward: Label) {
    this.#asm = asm
    this.#flavour = flavour
    this.#side = side
    this.#forward = forward
    this.#retry = asm.label('retry')
    this.#skip = asm.label('skip')
    this.#log = asm.label('log')
  }

  emit(): Label {
    const asm = this.#asm
    const { scratch, cause, epc, back, status } = this.#side
    asm.align(4)
    const entry = asm.here(this.#side.name)
    const interrupt = asm.label()
    const service = asm.label()
    const fetch = asm.label()
    const data = asm.label()
    asm.emit('csrrw', AREA, scratch, AREA)
    for (const [n, x] of HANDLED.entries()) asm.emit('sd', x, AREA, 8 * n)
    if (this.#isMachine) {
      asm.li(A, STATUS.mprv)
      asm.emit('csrrc', B, status, A)
      asm.emit('and', B, B, A)
      asm.emit('sd', B, AREA, SAVED_MPRV)
    }
    asm.emit('csrrs', A, cause, 0)
    asm.emitTo(interrupt, 'blt', A, 0)
    const targets: [number, Label][] = [
      [CAUSE.userCall, service],
      [CAUSE.fetchPage, fetch],
      [CAUSE.loadPage, data],
      [CAUSE.storePage, data],
    ]
    if (this.#isMachine) targets.push([CAUSE.supervisorCall, service], [CAUSE.machineCall, service])
    for (const [number, target] of targets) {
      asm.li(B, number)
      asm.emitTo(target, 'beq', A, B)
    }
    this.#refused()

    asm.bind(this.#skip)
    asm.emit('csrrs', A, epc, 0)
    asm.emit('addi', A, A, 4)
    asm.emit('csrrw', 0, epc, A)
    const out = asm.here()
    this.#restore()
    asm.emit(back)
    asm.bind(this.#retry)
    if (this.#isMachine) {
      // What is tried again needs the rights it had.
      asm.emit('ld', A, AREA, SAVED_MPRV)
      asm.emit('csrrs', 0, status, A)
    }
    asm.emitTo(out, 'jal', 0)

    asm.bind(interrupt)
    this.#interrupt()
    asm.bind(fetch)
    this.#fault(true)
    asm.bind(data)
    this.#fault(false)
    asm.bind(service)
    this.#service()
    asm.bind(this.#log)
    this.#logTrap()
    return entry
  }

  get #isMachine(): boolean {
    return this.#side.name === 'machine'
  }

  /** Offset of a shared field from the area that AREA points at. */
  #shared(field: number): number {
    return SHARED_ADDRESS + field - SAVED[this.#side.name]
  }

  #restore(): void {
    for (const [n, x] of HANDLED.entries()) this.#asm.emit('ld', x, AREA, 8 * n)
    this.#asm.emit('csrrw', AREA, this.#side.scratch, AREA)
  }

  #callLog(): void {
    this.#asm.emitTo(this.#log, 'jal', F)
  }

  /** Illegal instructions, breakpoints, access faults. The unit may be off: then it is turned on and the instruction tried again. */
  #refused(): void {
    const asm = this.#asm
    const other = asm.label()
    const on = asm.label()
    this.#callLog()
    asm.emit('csrrs', A, this.#side.cause, 0)
    asm.li(B, CAUSE.illegal)
    asm.emitTo(other, 'bne', A, B)
    // A fence refused in U-mode would leave QEMU and us with different stale translations.
    if (this.#flavour === 'qemu') asm.emit('sfence.vma', 0, 0)
    asm.li(A, STATUS.fs)
    asm.emit('csrrs', B, this.#side.status, 0)
    asm.emit('and', B, B, A)
    asm.emitTo(on, 'bne', B, 0)
    // Initial, not dirty: what makes it dirty is the program.
    asm.li(A, STATUS.fs & -STATUS.fs)
    asm.emit('csrrs', 0, this.#side.status, A)
    asm.emitTo(this.#retry, 'jal', 0)
    asm.bind(on)
    asm.bind(other)
  }

  #interrupt(): void {
    const asm = this.#asm
    this.#callLog()
    asm.emit('csrrci', 0, this.#side.pending, 2)
    asm.li(A, -1)
    if (this.#flavour === 'engines') {
      if (this.#isMachine) {
        asm.li(B, CLINT_MTIMECMP)
        asm.emit('sd', A, B, 0)
      }
      asm.emit('csrrw', 0, CSR.stimecmp, A)
    }
    asm.emitTo(this.#retry, 'jal', 0)
  }

  /** A page fault. Finds the entry: its address in A, its value in B; the faulting address in C. */
  #fault(isFetch: boolean): void {
    const asm = this.#asm
    const { cause, tval } = this.#side
    const found = asm.label()
    const leaf = asm.label()
    const put = asm.label()
    const putSilently = asm.label()
    const valid = asm.label()
    const accessed = asm.label()
    const giveUp = asm.label()
    const isPointer = asm.label()
    asm.emit('csrrs', C, tval, 0)
    asm.emit('ld', F, AREA, this.#shared(SHARED.region))
    // The root of the running space, then down.
    asm.emit('csrrs', A, CSR.satp, 0)
    asm.emit('slli', A, A, 20)
    asm.emit('srli', A, A, 8)
    asm.li(D, 30)
    const walk = asm.here()
    asm.emit('srl', E, C, D)
    asm.emit('andi', E, E, 511)
    asm.emit('sh3add', A, E, A)
    asm.emit('ld', B, A, 0)
    asm.emit('andi', E, B, PTE.r | PTE.w | PTE.x)
    asm.emitTo(leaf, 'bne', E, 0)
    asm.emit('andi', E, B, PTE.v)
    asm.emitTo(isPointer, 'bne', E, 0)
    asm.emitTo(found, 'jal', 0)
    asm.bind(isPointer)
    asm.emit('addi', D, D, -9)
    asm.emit('slti', E, D, 12)
    asm.emitTo(found, 'bne', E, 0)
    asm.emit('srli', A, B, 10)
    asm.emit('slli', A, A, 12)
    asm.emitTo(walk, 'jal', 0)

    asm.bind(leaf)
    asm.bind(found)
    asm.emit('andi', E, B, PTE.v)
    asm.emitTo(valid, 'bne', E, 0)
    asm.emit('andi', E, B, PTE_LAZY)
    const invalid = asm.label()
    asm.emitTo(invalid, 'beq', E, 0)
    asm.emit('ori', B, B, PTE.v)
    asm.emitTo(put, 'jal', 0)

    asm.bind(valid)
    asm.emit('andi', E, B, PTE.a)
    asm.emitTo(accessed, 'bne', E, 0)
    asm.emit('ori', B, B, PTE.a)
    asm.emitTo(putSilently, 'jal', 0)
    asm.bind(accessed)
    if (!isFetch) {
      const notDirty = asm.label()
      asm.emit('csrrs', E, cause, 0)
      asm.emit('addi', E, E, -CAUSE.storePage)
      asm.emitTo(notDirty, 'bne', E, 0)
      asm.emit('andi', E, B, PTE.w | PTE.d)
      asm.emit('addi', E, E, -PTE.w)
      asm.emitTo(notDirty, 'bne', E, 0)
      asm.emit('ori', B, B, PTE.d)
      asm.emitTo(putSilently, 'jal', 0)
      asm.bind(notDirty)
    }
    asm.bind(invalid)
    if (!isFetch) this.#giveUpElsewhere(giveUp)
    // Only entries in this region's tables have a copy of what they were at first.
    asm.emit('sub', E, A, F)
    asm.emit('srli', E, E, 12)
    asm.emit('addi', E, E, -PAGE.tables)
    asm.emit('sltiu', E, E, PAGE.goodTables - PAGE.tables)
    asm.emitTo(giveUp, 'beq', E, 0)
    asm.li(E, GOOD_OFFSET_BYTES)
    asm.emit('add', E, E, A)
    asm.emit('ld', B, E, 0)
    asm.emit('andi', E, B, PTE_MANDATORY)
    asm.emitTo(giveUp, 'beq', E, 0)

    asm.bind(put)
    asm.emit('sd', B, A, 0)
    asm.emit('sfence.vma', 0, 0)
    this.#callLog()
    asm.emitTo(this.#retry, 'jal', 0)
    asm.bind(putSilently)
    asm.emit('sd', B, A, 0)
    asm.emit('sfence.vma', C, 0)
    asm.emitTo(this.#retry, 'jal', 0)

    asm.bind(giveUp)
    this.#callLog()
    if (!isFetch) asm.emitTo(this.#skip, 'jal', 0)
    else if (this.#isMachine) this.#end()
    else this.#pass(SERVICE.end)
  }

  /** What the program reaches beyond its span and the sibling's may stay out of its reach. C has the address. */
  #giveUpElsewhere(giveUp: Label): void {
    const asm = this.#asm
    const own = asm.label()
    asm.li(D, SPAN_PAGES * PAGE_BYTES)
    asm.emit('sub', E, C, REGISTER.span)
    asm.emitTo(own, 'bltu', E, D)
    asm.emit('xor', E, C, REGISTER.sibling)
    asm.emit('sub', E, E, REGISTER.span)
    asm.emitTo(giveUp, 'bgeu', E, D)
    asm.bind(own)
  }

  /** From S-mode to M-mode, which finds in sepc and SPP where the call came from. */
  #pass(service: number | null): void {
    const asm = this.#asm
    this.#restore()
    if (service === null) {
      asm.bind(this.#forward)
      asm.emit('ecall')
    } else {
      asm.li(REGISTER.scratch, service)
      asm.emitTo(this.#forward, 'jal', 0)
    }
  }

  #service(): void {
    const asm = this.#asm
    const served = (number: number, body: () => void): void => {
      const other = asm.label()
      asm.li(B, number)
      asm.emitTo(other, 'bne', A, B)
      body()
      asm.bind(other)
    }
    asm.emit('andi', A, REGISTER.scratch, (1 << ALIAS_SHIFT) - 1)
    served(SERVICE.edit, () => this.#edit())
    served(SERVICE.interrupt, () => {
      asm.emit('csrrsi', 0, this.#side.pending, 2)
      asm.emitTo(this.#skip, 'jal', 0)
    })
    served(SERVICE.switchSpace, () => this.#switchSpace())
    for (const service of [SERVICE.setStatus, SERVICE.clearStatus]) {
      served(service, () => {
        asm.li(A, STATUS.sum | STATUS.mxr)
        asm.emit('and', A, A, REGISTER.value)
        asm.emit(service === SERVICE.setStatus ? 'csrrs' : 'csrrc', 0, this.#side.status, A)
        asm.emitTo(this.#skip, 'jal', 0)
      })
    }
    if (this.#flavour === 'engines') served(SERVICE.timer, () => this.#timer())
    if (!this.#isMachine) {
      this.#pass(null)
      return
    }
    served(SERVICE.end, () => this.#end())
    // Who called: the program, or the S-mode handler for it. The pc behind the call in C, the mode's MPP in D.
    const direct = asm.label()
    asm.emit('csrrs', C, CSR.mepc, 0)
    asm.emit('csrrs', D, CSR.mstatus, 0)
    asm.loadAddress(B, this.#forward)
    asm.emitTo(direct, 'bne', B, C)
    asm.emit('csrrs', C, CSR.sepc, 0)
    asm.emit('srli', D, D, 8)
    asm.emit('andi', D, D, 1)
    asm.emit('slli', D, D, 11)
    asm.bind(direct)
    asm.emit('addi', C, C, 4)
    asm.li(B, STATUS.mpp)
    asm.emit('and', D, D, B)
    asm.emit('ld', B, AREA, this.#shared(SHARED.contexts))
    asm.emit('ld', F, AREA, this.#shared(SHARED.region))
    asm.li(E, PAGE.base * PAGE_BYTES + CATCH_OFFSET)
    asm.emit('add', E, E, F)
    const back = asm.label()
    asm.emitTo(back, 'beq', A, 0)

    // A call: the caller is remembered, and nothing it catches may be thrown to from another mode.
    asm.emit('sd', C, B, CONTEXT.pc)
    asm.emit('sd', D, B, CONTEXT.status)
    asm.emit('sd', REGISTER.span, B, CONTEXT.span)
    asm.emit('sd', REGISTER.return, B, CONTEXT.link)
    asm.emit('ld', A, E, 0)
    asm.emit('sd', A, B, CONTEXT.catch)
    asm.emit('sd', 0, E, 0)
    asm.emit('addi', B, B, CONTEXT.bytes)
    asm.emit('sd', B, AREA, this.#shared(SHARED.contexts))
    asm.emit('srli', A, REGISTER.scratch, ALIAS_SHIFT)
    asm.emit('slli', A, A, Math.log2(ALIAS_BYTES))
    asm.emit('add', A, A, F)
    asm.li(B, PAGE.edits * PAGE_BYTES + ALIASES_OFFSET)
    asm.emit('add', A, A, B)
    asm.emit('ld', E, A, 0)
    asm.emit('ld', D, A, 8)
    asm.emit('add', C, E, REGISTER.value)
    asm.emit('addi', REGISTER.return, E, 0)
    const enter = asm.here()
    // The caller's addresses become those of the new alias: E its span, C the pc, D the mode.
    asm.emit('sub', A, E, REGISTER.span)
    asm.emit('add', REGISTER.span, REGISTER.span, A)
    asm.emit('add', REGISTER.base, REGISTER.base, A)
    asm.emit('add', REGISTER.stack, REGISTER.stack, A)
    // No sibling in M-mode, the only one with the upper bit of MPP.
    asm.emit('srli', A, D, 12)
    asm.emit('addi', A, A, -1)
    asm.li(REGISTER.sibling, SIBLING)
    asm.emit('and', REGISTER.sibling, REGISTER.sibling, A)
    asm.li(A, STATUS.mpp)
    asm.emit('csrrc', 0, CSR.mstatus, A)
    asm.emit('csrrs', 0, CSR.mstatus, D)
    asm.emit('csrrw', 0, CSR.mepc, C)
    asm.emitTo(this.#retry, 'jal', 0)

    asm.bind(back)
    asm.emit('addi', B, B, -CONTEXT.bytes)
    asm.emit('sd', B, AREA, this.#shared(SHARED.contexts))
    asm.emit('ld', A, B, CONTEXT.catch)
    asm.emit('sd', A, E, 0)
    asm.emit('ld', REGISTER.return, B, CONTEXT.link)
    asm.emit('ld', C, B, CONTEXT.pc)
    asm.emit('ld', D, B, CONTEXT.status)
    asm.emit('ld', E, B, CONTEXT.span)
    asm.emitTo(enter, 'jal', 0)
  }

  #edit(): void {
    const asm = this.#asm
    asm.emit('ld', A, AREA, this.#shared(SHARED.region))
    asm.li(B, PAGE.edits * PAGE_BYTES)
    asm.emit('add', A, A, B)
    asm.emit('andi', B, REGISTER.value, EDITS - 1)
    asm.emit('slli', B, B, Math.log2(EDIT_BYTES))
    asm.emit('add', A, A, B)
    asm.emit('ld', B, A, 0)
    asm.emit('ld', C, A, 8)
    asm.emit('sd', C, B, 0)
    asm.emit('ld', B, A, 16)
    asm.emit('lbu', C, A, 24)
    asm.emit('lbu', D, A, 25)
    emitFence(asm, C, B, D, E)
    asm.emitTo(this.#skip, 'jal', 0)
  }

  #switchSpace(): void {
    const asm = this.#asm
    asm.emit('ld', A, AREA, this.#shared(SHARED.space))
    asm.emit('xori', A, A, 1)
    asm.emit('sd', A, AREA, this.#shared(SHARED.space))
    asm.emit('sh3add', A, A, AREA)
    asm.emit('ld', A, A, this.#shared(SHARED.satp))
    asm.emit('csrrw', 0, CSR.satp, A)
    asm.emitTo(this.#skip, 'jal', 0)
  }

  /** A timer interrupt some ticks ahead. */
  #timer(): void {
    const asm = this.#asm
    asm.emit('andi', A, REGISTER.value, 15)
    asm.emit('csrrs', B, CSR.time, 0)
    asm.emit('add', A, A, B)
    if (this.#isMachine) {
      asm.li(B, CLINT_MTIMECMP)
      asm.emit('sd', A, B, 0)
    } else asm.emit('csrrw', 0, CSR.stimecmp, A)
    asm.emitTo(this.#skip, 'jal', 0)
  }

  /** Writes the registers into the results and goes on with the next program. */
  #end(): void {
    const asm = this.#asm
    const { scratch, status } = this.#side
    const [pointer, spare] = [AREA, A]
    asm.li(spare, STATUS.fs)
    asm.emit('csrrs', 0, status, spare)
    this.#restore()
    asm.emit('csrrw', AREA, scratch, AREA)
    asm.emit('ld', pointer, AREA, this.#shared(SHARED.results))
    for (let x = 1; x < 32; x++) if (x !== pointer) asm.emit('sd', x, pointer, RESULT.registers + 8 * x)
    for (let f = 0; f < 32; f++) asm.emit('fsd', f, pointer, RESULT.registers + 8 * (32 + f))
    asm.emit('csrrs', spare, CSR.fcsr, 0)
    asm.emit('sd', spare, pointer, RESULT.registers + 8 * 64)
    asm.emit('csrrs', spare, scratch, 0)
    asm.emit('sd', spare, pointer, RESULT.registers + 8 * pointer)
    asm.li(AREA, SAVED[this.#side.name])
    asm.emit('csrrw', 0, scratch, AREA)
    asm.emit('ld', spare, AREA, this.#shared(SHARED.next))
    asm.emit('jalr', 0, spare, 0)
  }

  /** Called through F; uses A, B, D and E. Every trap goes into the hash, the first ones into the log. */
  #logTrap(): void {
    const asm = this.#asm
    const { cause, epc, tval, status, name } = this.#side
    asm.emit('sd', A, AREA, 8 * HANDLED.length)
    asm.emit('sd', B, AREA, 8 * HANDLED.length + 8)
    const unchecked = asm.label()
    const full = asm.label()
    asm.emit('ld', D, AREA, this.#shared(SHARED.results))
    asm.emit('ld', E, D, RESULT.traps)
    asm.emit('addi', E, E, 1)
    asm.emit('sd', E, D, RESULT.traps)
    asm.emit('ld', E, D, RESULT.traps + 8)
    asm.emit('ld', D, AREA, this.#shared(SHARED.log))
    const fold = (): void => {
      asm.emit('xor', E, E, A)
      asm.emit('rori', E, E, 23)
      asm.emit('sh3add', E, E, E)
    }
    asm.emit('csrrs', A, cause, 0)
    asm.emit('sd', A, D, 0)
    fold()
    asm.li(B, VALUES_UNCHECKED)
    asm.emit('bext', B, B, A)
    asm.emit('addi', A, 0, 0)
    asm.emitTo(unchecked, 'bne', B, 0)
    asm.emit('csrrs', A, tval, 0)
    asm.bind(unchecked)
    asm.emit('sd', A, D, 16)
    fold()
    asm.emit('csrrs', A, epc, 0)
    asm.emit('sd', A, D, 8)
    fold()
    asm.emit('csrrs', A, status, 0)
    asm.li(B, STATUS_LOGGED[name])
    asm.emit('and', A, A, B)
    asm.emit('sd', A, D, 24)
    fold()
    asm.emit('ld', B, AREA, this.#shared(SHARED.results))
    asm.emit('sd', E, B, RESULT.traps + 8)
    asm.emit('ld', B, AREA, this.#shared(SHARED.recordsLeft))
    asm.emitTo(full, 'beq', B, 0)
    asm.emit('addi', B, B, -1)
    asm.emit('sd', B, AREA, this.#shared(SHARED.recordsLeft))
    asm.emit('addi', D, D, LOG_RECORD_BYTES)
    asm.emit('sd', D, AREA, this.#shared(SHARED.log))
    asm.bind(full)
    asm.emit('ld', A, AREA, 8 * HANDLED.length)
    asm.emit('ld', B, AREA, 8 * HANDLED.length + 8)
    asm.emit('jalr', 0, F, 0)
  }
}

/** A fence of the kind that register `kind` holds; clobbers `spare`. */
function emitFence(asm: Assembler, kind: number, address: number, space: number, spare: number): void {
  const done = asm.label()
  const fences: [number, number, number][] = [
    [FENCE.all, 0, 0],
    [FENCE.address, address, 0],
    [FENCE.addressInSpace, address, space],
    [FENCE.space, 0, space],
  ]
  for (const [number, rs1, rs2] of fences) {
    const other = asm.label()
    asm.li(spare, number)
    asm.emitTo(other, 'bne', kind, spare)
    asm.emit('sfence.vma', rs1, rs2)
    asm.emitTo(done, 'jal', 0)
    asm.bind(other)
  }
  asm.bind(done)
}

/** What fits the log of one program. */
export const RECORDS_LOGGED = LOG_RECORDS
