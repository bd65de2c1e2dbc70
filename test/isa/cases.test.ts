/** The references that the engines are held to are themselves held to QEMU. */
import { expect, test } from 'vitest'
import { buildCaseImage, caseFailures } from '../../src/machine/cpu/isa-test/case-program.ts'
import { allCaseGroups } from '../../src/machine/cpu/isa-test/cases.ts'
import { formOf } from '../../src/machine/cpu/isa-test/instructions.ts'
import { NOT_IN_QEMU, WRONG_IN_QEMU } from './item-generator.ts'
import { runQemu } from './qemu.ts'

test('QEMU agrees with the references on every case', async () => {
  const groups = allCaseGroups().filter(
    ({ mnemonic }) => !WRONG_IN_QEMU.has(mnemonic) && !NOT_IN_QEMU.has(formOf(mnemonic).extension),
  )
  const image = buildCaseImage(groups, 'qemu')
  const failures = caseFailures(groups, await runQemu(image.elf))
  const wrong = groups.flatMap(({ mnemonic, name }, n) =>
    failures[n]!.map(({ lines }) => `${mnemonic}, ${name}: ${lines.join('; ')}`),
  )
  expect(wrong.slice(0, 5)).toEqual([])
})
