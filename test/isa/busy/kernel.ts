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
import { emitCallOrReturn } from './kernel-contexts.ts'
import { emitEnd, emitLog } from './kernel-results.ts'
import { emitEdit, emitSwitchSpace, emitTimer } from './kernel-services.ts'
import {
  A,
  AREA,
  B,
  C,
  CLINT_MTIMECMP,
  D,
  E,
  emitRestore,
  F,
  HANDLED,
  MACHINE_SIDE,
  PTE_LAZY,
  PTE_MANDATORY,
  SAVED_MPRV,
  SHARED,
  type Side,
  SUPERVISOR_SIDE,
  shared,
} from './kernel-state.ts'
import { ALIAS_SHIFT, GOOD_OFFSET_BYTES, PAGE, PAGE_BYTES, REGISTER, SERVICE, SPAN_PAGES } from './layout.ts'
import type { Flavour } from './program.ts'

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
    emitRestore(this.#asm, this.#side)
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
    emitLog(asm, this.#side)
    return entry
  }

  get #isMachine(): boolean {
    return this.#side.name === 'machine'
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
    asm.emit('ld', F, AREA, shared(this.#side, SHARED.region))
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
    else if (this.#isMachine) emitEnd(asm, this.#side)
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
    emitRestore(this.#asm, this.#side)
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
    served(SERVICE.edit, () => {
      emitEdit(asm, this.#side)
      asm.emitTo(this.#skip, 'jal', 0)
    })
    served(SERVICE.interrupt, () => {
      asm.emit('csrrsi', 0, this.#side.pending, 2)
      asm.emitTo(this.#skip, 'jal', 0)
    })
    served(SERVICE.switchSpace, () => {
      emitSwitchSpace(asm, this.#side)
      asm.emitTo(this.#skip, 'jal', 0)
    })
    for (const service of [SERVICE.setStatus, SERVICE.clearStatus]) {
      served(service, () => {
        asm.li(A, STATUS.sum | STATUS.mxr)
        asm.emit('and', A, A, REGISTER.value)
        asm.emit(service === SERVICE.setStatus ? 'csrrs' : 'csrrc', 0, this.#side.status, A)
        asm.emitTo(this.#skip, 'jal', 0)
      })
    }
    if (this.#flavour === 'engines') {
      served(SERVICE.timer, () => {
        emitTimer(asm, this.#side)
        asm.emitTo(this.#skip, 'jal', 0)
      })
    }
    if (!this.#isMachine) {
      this.#pass(null)
      return
    }
    served(SERVICE.end, () => emitEnd(asm, this.#side))
    emitCallOrReturn(asm, this.#forward, this.#retry)
  }
}
