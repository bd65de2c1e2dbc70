/** Services of the kernel that change translations and time. */
import type { Assembler } from '../../../src/machine/cpu/isa-test/assembler.ts'
import { CSR } from '../../../src/machine/cpu/isa-test/privileged.ts'
import { A, AREA, B, C, CLINT_MTIMECMP, D, E, SHARED, type Side, shared } from './kernel-state.ts'
import { EDIT_BYTES, EDITS, FENCE, PAGE, PAGE_BYTES, REGISTER } from './layout.ts'

/** Makes the edit of a table that the operand names, and the fence that belongs to it. */
export function emitEdit(asm: Assembler, side: Side): void {
  asm.emit('ld', A, AREA, shared(side, SHARED.region))
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
}

/** Goes over to the other address space. */
export function emitSwitchSpace(asm: Assembler, side: Side): void {
  asm.emit('ld', A, AREA, shared(side, SHARED.space))
  asm.emit('xori', A, A, 1)
  asm.emit('sd', A, AREA, shared(side, SHARED.space))
  asm.emit('sh3add', A, A, AREA)
  asm.emit('ld', A, A, shared(side, SHARED.satp))
  asm.emit('csrrw', 0, CSR.satp, A)
}

/** A timer interrupt some ticks ahead. */
export function emitTimer(asm: Assembler, side: Side): void {
  asm.emit('andi', A, REGISTER.value, 15)
  asm.emit('csrrs', B, CSR.time, 0)
  asm.emit('add', A, A, B)
  if (side.name === 'machine') {
    asm.li(B, CLINT_MTIMECMP)
    asm.emit('sd', A, B, 0)
  } else asm.emit('csrrw', 0, CSR.stimecmp, A)
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
