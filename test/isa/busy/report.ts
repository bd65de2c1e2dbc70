/** Busy programs for people, and cases as text that repeats them. */
import { listing } from '../../../src/machine/cpu/isa-test/instructions.ts'
import type { Instruction } from '../program.ts'
import type { BusyCase, BusyFailure } from './differential.ts'
import { busyProgram } from './generator.ts'
import type { BusyProgram, Flavour, Step } from './program.ts'

/** What `--repeat` takes: flavour, seed and slot of each program, threshold, seed of the pair. */
export function caseName({ programs, hotThreshold, pairSeed }: BusyCase): string {
  const which = programs.map(({ seed, slot }) => `${seed}@${slot}`).join('+')
  return `${programs[0]!.flavour}:${which}:${hotThreshold}:${pairSeed}`
}

/** Throws a RangeError for text that `caseName` does not make. */
export function caseNamed(name: string): BusyCase {
  const [flavour, which, hotThreshold, pairSeed] = name.split(':')
  if ((flavour !== 'qemu' && flavour !== 'engines') || which === undefined || !/^\d+$/.test(pairSeed ?? '')) {
    throw new RangeError(`${name} names no case`)
  }
  const kind: Flavour = flavour
  return {
    programs: which.split('+').map((one) => {
      const [seed, slot] = one.split('@').map(Number)
      return busyProgram(seed!, slot!, kind)
    }),
    hotThreshold: Number(hotThreshold),
    pairSeed: Number(pairSeed),
  }
}

export function busyReport(which: BusyCase, smallest: BusyProgram, failure: BusyFailure): string {
  return [
    ...failure.lines,
    `repeat with: npm run fuzz -- --repeat ${caseName(which)}`,
    busyListing(smallest),
  ].join('\n')
}

function busyListing(program: BusyProgram): string {
  const heads = program.functions.flatMap(({ kind, offset, steps, link, skewed, tail }, n) => {
    if (steps.length === 0 && n > 0) return []
    const marks = [`link x${link}`, ...(skewed ? ['skewed'] : []), ...(tail === null ? [] : [`tail ${tail}`])]
    const head = `function ${n} (${kind}, offset 0x${offset.toString(16)}, ${marks.join(', ')}):`
    return [head, stepListing(steps, '  ')]
  })
  const privileges = `medeleg 0x${program.medeleg.toString(16)} mideleg 0x${program.mideleg.toString(16)} status 0x${program.status.toString(16)}`
  const start = `seed ${program.seed}, slot ${program.slot}, ${program.iterations} iterations, alias ${program.alias}, ${privileges}`
  return [start, ...heads].join('\n')
}

function stepListing(steps: readonly Step[], indent: string): string {
  return steps.map((step) => oneStep(step, indent)).join('\n')
}

function oneStep(step: Step, indent: string): string {
  const inside = (head: string, steps: readonly Step[]) =>
    `${indent}${head} {\n${stepListing(steps, `${indent}  `)}\n${indent}}`
  const instruction = ({ mnemonic, operands }: Instruction) => listing(mnemonic, operands)
  const hex = (word: number) => `0x${word.toString(16)}`
  switch (step.kind) {
    case 'run':
      return step.instructions.map((one) => `${indent}${instruction(one)}`).join('\n')
    case 'word':
      return `${indent}.word ${hex(step.word)}`
    case 'skip':
      return inside(`${step.branch.mnemonic} ${step.branch.operands.join(', ')} over`, step.steps)
    case 'loop':
      return inside(`loop ${step.times} times on x${step.counter}`, step.steps)
    case 'sometimes':
      return inside(`once in ${2 ** step.bits}`, step.steps)
    case 'choice':
      return step.cases.map((steps, n) => inside(`case ${n}`, steps)).join('\n')
    case 'catch':
      return inside('catch', step.steps)
    case 'point':
      return `${indent}point ${step.point}: ${step.words.map(hex).join(' or ')}`
    case 'patch':
      return `${indent}patch point ${step.point} with ${hex(step.word)}${step.varies ? ', varying' : ''}${step.fenced ? ', fenced' : ''}`
    case 'edit':
      return `${indent}edit ${hex(step.edit.entry)} to 0x${step.edit.value.toString(16)}, fence ${step.edit.fence} of 0x${step.edit.address.toString(16)}`
    default:
      return `${indent}${Object.entries(step)
        .map(([name, value]) => (name === 'kind' ? value : `${name} ${value}`))
        .join(', ')}`
  }
}
