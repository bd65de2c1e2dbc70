import { hostFmaIsFused } from './fp/host-fma.ts'
import { bitInstructions } from './instructions-bits.ts'
import { floatInstructionsFor } from './instructions-float.ts'
import { atomicInstructions, integerInstructions } from './instructions-integer.ts'
import type { ImmediateFormat, Instruction } from './semantics.ts'

/** Every instruction the hart executes. */
export const instructionSet: readonly Instruction[] = [
  ...integerInstructions,
  ...atomicInstructions,
  ...bitInstructions,
  // The bits are the same either way; a fused instruction of the host is quicker.
  ...floatInstructionsFor(hostFmaIsFused()),
]

const byMajor = new Map<number, Instruction[]>()
for (const one of instructionSet) {
  const major = one.match & 0x7f
  const list = byMajor.get(major)
  if (list === undefined) byMajor.set(major, [one])
  else list.push(one)
}

/** The instruction a 32-bit word encodes, or null when it is illegal. */
export function decode(word: number): Instruction | null {
  const candidates = byMajor.get(word & 0x7f)
  if (candidates === undefined) return null
  for (const one of candidates) if ((word & one.mask) === one.match) return one
  return null
}

/** The sign-extended immediate of an instruction word. */
export function immediateOf(word: number, format: ImmediateFormat): number {
  switch (format) {
    case 'none':
      return 0
    case 'I':
      return word >> 20
    case 'S':
      return ((word >> 25) << 5) | ((word >>> 7) & 31)
    case 'B':
      return ((word >> 31) << 12) | ((word << 4) & 0x800) | ((word >>> 20) & 0x7e0) | ((word >>> 7) & 0x1e)
    case 'U':
      return word & 0xfffff000
    case 'J':
      return ((word >> 31) << 20) | (word & 0xff000) | ((word >>> 9) & 0x800) | ((word >>> 20) & 0x7fe)
    case 'shamt6':
      return (word >>> 20) & 63
    case 'shamt5':
      return (word >>> 20) & 31
    case 'zimm':
      return (word >>> 15) & 31
  }
}
