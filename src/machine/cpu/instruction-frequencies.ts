/**
 * How often the interpreter meets its commonest instructions: parts in a thousand of what it executed while Debian's
 * kernel forked, executed and looked up files. They shape the tree of decisions that leads to the handlers, and
 * nothing else.
 */
import type { Handler } from './decode-cache.ts'

const SHORT: Readonly<Record<string, number>> = {
  ...{
    ld: 120,
    addi: 95,
    add: 90,
    sd: 90,
    jalr: 22,
    slli: 20,
    beq: 20,
    bne: 17,
    andi: 12,
    addiw: 10,
    jal: 10,
  },
  ...{ lw: 8, srli: 7, lui: 7 },
}

const LONG: Readonly<Record<string, number>> = {
  ...{ addi: 80, ld: 60, sd: 60, auipc: 40, beq: 20, bne: 18, jalr: 18, andi: 16, lw: 14, slli: 13, lbu: 12 },
  ...{ bltu: 8, add: 8, srli: 7, bgeu: 6 },
}

/** What the others have, and what all share that has no handler. */
const RARE = 1
const UNHANDLED = 20

/** Parts in a thousand; null stands for what the single step executes. */
export function frequencyOf(handler: Handler | null): number {
  if (handler === null) return UNHANDLED
  const table = handler.length === 2 ? SHORT : LONG
  return table[handler.instruction.name] ?? RARE
}
