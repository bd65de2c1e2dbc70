/** What is known of steps without emitting them: what is inside, how many bytes they take at most, words for points. */
import { encode, formOf } from '../../../src/machine/cpu/isa-test/instructions.ts'
import { CSR } from '../../../src/machine/cpu/isa-test/privileged.ts'
import { REGISTER } from './layout.ts'
import type { Step } from './program.ts'

/** The lists of steps inside a step. */
export function innerSteps(step: Step): readonly (readonly Step[])[] {
  switch (step.kind) {
    case 'skip':
    case 'loop':
    case 'sometimes':
    case 'catch':
      return [step.steps]
    case 'choice':
      return step.cases
    default:
      return []
  }
}

/** Bytes that each kind of step takes at most, without the steps inside. */
const STEP_BYTES: { readonly [kind in Step['kind']]: number } = {
  run: 0,
  word: 4,
  skip: 16,
  loop: 20,
  sometimes: 32,
  choice: 80,
  invoke: 28,
  recurse: 36,
  far: 32,
  point: 4,
  patch: 64,
  catch: 140,
  throw: 40,
  service: 40,
  edit: 96,
  swap: 72,
  space: 36,
  window: 160,
}

/** An upper bound of the bytes that steps take, their tables included. */
export function sizeOf(steps: readonly Step[]): number {
  let bytes = 0
  for (const step of steps) {
    bytes += STEP_BYTES[step.kind]
    if (step.kind === 'run') for (const { mnemonic } of step.instructions) bytes += formOf(mnemonic).bytes
    for (const inner of innerSteps(step)) bytes += sizeOf(inner) + 4
  }
  return bytes
}

/** An upper bound of the bytes of a whole function. */
export function functionBytes(steps: readonly Step[]): number {
  return sizeOf(steps) + 96
}

export const HARMLESS: readonly ((immediate: number) => number)[] = [
  (immediate) => encode('addi', REGISTER.hash, REGISTER.hash, immediate),
  (immediate) => encode('xori', REGISTER.hash, REGISTER.hash, immediate),
]

/** Words that end a block where there was none, and go on behind it all the same. */
export const FLOW_WORDS: readonly number[] = [
  encode('jal', 0, 4),
  encode('beq', 0, 0, 4),
  encode('bne', 0, 0, 4),
  encode('ebreak'),
  encode('fence.i'),
  encode('csrrs', REGISTER.word, CSR.fcsr, 0),
  encode('sfence.vma', 0, 0),
  (encode('c.addi', REGISTER.hash, 5) | (encode('c.addi', REGISTER.hash, 9) << 16)) >>> 0,
]
