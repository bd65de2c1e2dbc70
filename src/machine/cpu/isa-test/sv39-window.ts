/** What scenarios about Sv39 share: a window of pages at WINDOW whose leaf entries each scenario chooses. */
import { CSR, PTE, SATP_SV39 } from './privileged.ts'
import type { Story } from './scenario.ts'
import { LAYOUT, WINDOW } from './scenario-layout.ts'

export const PAGE = 4096
export const READ_WRITE = PTE.v | PTE.r | PTE.w | PTE.a | PTE.d
export const ALL = READ_WRITE | PTE.x
export const SATP = SATP_SV39 | BigInt(LAYOUT.rootTable / PAGE)
export const page = (n: number) => LAYOUT.pages + n * PAGE
export const window = (n: number, offset = 0) => WINDOW + n * PAGE + offset
/** RET through x1, to end code that scenarios write into pages. */
export const RETURN = 0x8082

export function turnOn(story: Story): void {
  story.setCsr(CSR.satp, SATP)
  story.asm.emit('sfence.vma', 0, 0)
}

/** Changes a leaf entry at run time, from M-mode or S-mode, and fences. */
export function remap(story: Story, index: number, physical: number, flags: number): void {
  const { asm } = story
  asm.li(5, LAYOUT.leafTable + 8 * index)
  asm.li(6, ((BigInt(physical) >> 12n) << 10n) | BigInt(flags))
  asm.emit('sd', 6, 5, 0)
  asm.emit('sfence.vma', 0, 0)
}
