/** What the scenarios expect is what QEMU does, where QEMU follows the manual. */
import { expect, test } from 'vitest'
import { buildScenario, scenarioFailures } from '../../src/machine/cpu/isa-test/scenario.ts'
import { SCENARIOS } from '../../src/machine/cpu/isa-test/scenarios.ts'
import { runQemu } from './qemu.ts'

/** A scenario takes a few milliseconds of guest time; a hung one should not hold up the others. */
const TIMEOUT_MS = 10_000

test.each(SCENARIOS.filter(({ notInQemu }) => notInQemu === undefined))('QEMU: $name', async (scenario) => {
  const image = buildScenario(scenario, 'qemu')
  expect(scenarioFailures(image, await runQemu(image.elf, { timeoutMs: TIMEOUT_MS }))).toEqual([])
})
