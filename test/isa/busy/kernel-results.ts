/** What a busy program leaves behind: the log of its traps, and its registers at the end. */
import type { Assembler } from '../../../src/machine/cpu/isa-test/assembler.ts'
import { CAUSE, CSR, STATUS } from '../../../src/machine/cpu/isa-test/privileged.ts'
import {
  A,
  AREA,
  B,
  D,
  E,
  emitRestore,
  F,
  HANDLED,
  SAVED,
  SHARED,
  type Side,
  shared,
} from './kernel-state.ts'
import { LOG_RECORD_BYTES, RESULT } from './layout.ts'

const VALUES_UNCHECKED =
  (1 << CAUSE.illegal) | (1 << CAUSE.breakpoint) | (1 << CAUSE.loadAccess) | (1 << CAUSE.storeAccess)
/** The log holds MPP and MPIE, or SPP and SPIE. */
const STATUS_LOGGED = { machine: STATUS.mpp | STATUS.mpie, supervisor: STATUS.spp | STATUS.spie }

/** Writes the registers into the results and goes on with the next program. */
export function emitEnd(asm: Assembler, side: Side): void {
  const { scratch, status } = side
  const [pointer, spare] = [AREA, A]
  asm.li(spare, STATUS.fs)
  asm.emit('csrrs', 0, status, spare)
  emitRestore(asm, side)
  asm.emit('csrrw', AREA, scratch, AREA)
  asm.emit('ld', pointer, AREA, shared(side, SHARED.results))
  for (let x = 1; x < 32; x++) if (x !== pointer) asm.emit('sd', x, pointer, RESULT.registers + 8 * x)
  for (let f = 0; f < 32; f++) asm.emit('fsd', f, pointer, RESULT.registers + 8 * (32 + f))
  asm.emit('csrrs', spare, CSR.fcsr, 0)
  asm.emit('sd', spare, pointer, RESULT.registers + 8 * 64)
  asm.emit('csrrs', spare, scratch, 0)
  asm.emit('sd', spare, pointer, RESULT.registers + 8 * pointer)
  asm.li(AREA, SAVED[side.name])
  asm.emit('csrrw', 0, scratch, AREA)
  asm.emit('ld', spare, AREA, shared(side, SHARED.next))
  asm.emit('jalr', 0, spare, 0)
}

/** Called through F; uses A, B, D and E. Every trap goes into the hash, the first ones into the log. */
export function emitLog(asm: Assembler, side: Side): void {
  const { cause, epc, tval, status, name } = side
  asm.emit('sd', A, AREA, 8 * HANDLED.length)
  asm.emit('sd', B, AREA, 8 * HANDLED.length + 8)
  const unchecked = asm.label()
  const full = asm.label()
  asm.emit('ld', D, AREA, shared(side, SHARED.results))
  asm.emit('ld', E, D, RESULT.traps)
  asm.emit('addi', E, E, 1)
  asm.emit('sd', E, D, RESULT.traps)
  asm.emit('ld', E, D, RESULT.traps + 8)
  asm.emit('ld', D, AREA, shared(side, SHARED.log))
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
  asm.emit('ld', B, AREA, shared(side, SHARED.results))
  asm.emit('sd', E, B, RESULT.traps + 8)
  asm.emit('ld', B, AREA, shared(side, SHARED.recordsLeft))
  asm.emitTo(full, 'beq', B, 0)
  asm.emit('addi', B, B, -1)
  asm.emit('sd', B, AREA, shared(side, SHARED.recordsLeft))
  asm.emit('addi', D, D, LOG_RECORD_BYTES)
  asm.emit('sd', D, AREA, shared(side, SHARED.log))
  asm.bind(full)
  asm.emit('ld', A, AREA, 8 * HANDLED.length)
  asm.emit('ld', B, AREA, 8 * HANDLED.length + 8)
  asm.emit('jalr', 0, F, 0)
}
