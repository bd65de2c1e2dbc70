/** Calls through the kernel into another mode or alias, and returns from them: in M-mode, on a stack of contexts. */
import type { Assembler, Label } from '../../../src/machine/cpu/isa-test/assembler.ts'
import { CSR, STATUS } from '../../../src/machine/cpu/isa-test/privileged.ts'
import { A, AREA, B, C, CONTEXT, D, E, F, MACHINE_SIDE, SHARED, shared } from './kernel-state.ts'
import {
  ALIAS_BYTES,
  ALIAS_SHIFT,
  ALIASES_OFFSET,
  CATCH_OFFSET,
  PAGE,
  PAGE_BYTES,
  REGISTER,
  SIBLING,
} from './layout.ts'

/**
 * A is zero for a return. `forward` is where the S-mode handler passes calls on; `retry` goes on at mepc without
 * passing over an instruction.
 */
export function emitCallOrReturn(asm: Assembler, forward: Label, retry: Label): void {
  // Who called: the program, or the S-mode handler for it. The pc behind the call in C, the mode's MPP in D.
  const direct = asm.label()
  asm.emit('csrrs', C, CSR.mepc, 0)
  asm.emit('csrrs', D, CSR.mstatus, 0)
  asm.loadAddress(B, forward)
  asm.emitTo(direct, 'bne', B, C)
  asm.emit('csrrs', C, CSR.sepc, 0)
  asm.emit('srli', D, D, 8)
  asm.emit('andi', D, D, 1)
  asm.emit('slli', D, D, 11)
  asm.bind(direct)
  asm.emit('addi', C, C, 4)
  asm.li(B, STATUS.mpp)
  asm.emit('and', D, D, B)
  asm.emit('ld', B, AREA, shared(MACHINE_SIDE, SHARED.contexts))
  asm.emit('ld', F, AREA, shared(MACHINE_SIDE, SHARED.region))
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
  asm.emit('sd', B, AREA, shared(MACHINE_SIDE, SHARED.contexts))
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
  asm.emitTo(retry, 'jal', 0)

  asm.bind(back)
  asm.emit('addi', B, B, -CONTEXT.bytes)
  asm.emit('sd', B, AREA, shared(MACHINE_SIDE, SHARED.contexts))
  asm.emit('ld', A, B, CONTEXT.catch)
  asm.emit('sd', A, E, 0)
  asm.emit('ld', REGISTER.return, B, CONTEXT.link)
  asm.emit('ld', C, B, CONTEXT.pc)
  asm.emit('ld', D, B, CONTEXT.status)
  asm.emit('ld', E, B, CONTEXT.span)
  asm.emitTo(enter, 'jal', 0)
}
