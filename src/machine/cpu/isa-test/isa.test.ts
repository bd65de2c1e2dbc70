/** Every instruction, on both engines, against the references. */
import { beforeAll, describe, expect, test } from 'vitest'
import { buildCaseImage, type CaseFailure, caseFailures } from './case-program.ts'
import { allCaseGroups } from './cases.ts'
import { ENGINES, runEngine } from './engine.ts'
import { listing, MNEMONICS, type Mnemonic } from './instructions.ts'

/** These trap, or need what a program of cases does not set up; the scenarios test them. */
const IN_SCENARIOS: readonly Mnemonic[] = [
  'ecall',
  'ebreak',
  'c.ebreak',
  'mret',
  'sret',
  'wfi',
  'sfence.vma',
  'cbo.inval',
  'cbo.clean',
  'cbo.flush',
  'cbo.zero',
]

const groups = allCaseGroups()
const covered = [...new Set(groups.map(({ mnemonic }) => mnemonic))]

test('every instruction has a case or a scenario', () => {
  expect(new Set([...covered, ...IN_SCENARIOS])).toEqual(new Set(MNEMONICS))
})

describe.each(ENGINES)('%s', (engine) => {
  let failures: CaseFailure[][] = []

  beforeAll(() => {
    const image = buildCaseImage(groups, 'tohost')
    failures = caseFailures(groups, runEngine(engine, image.elf, image.results, image.resultsBytes).results)
  })

  test.each(covered)('%s', (mnemonic) => {
    const wrong = groups.flatMap((group, n) =>
      group.mnemonic !== mnemonic
        ? []
        : failures[n]!.map(({ vector, lines }) => {
            const code = group.code
              .map((instruction) => listing(instruction.mnemonic, instruction.operands))
              .join('; ')
            return `${group.name}, vector ${vector}: ${code}\n  ${lines.join('\n  ')}`
          }),
    )
    expect(wrong.slice(0, 3)).toEqual([])
  })
})
