/** Traps, privilege, translation, interrupts and changing code, on both engines. */
import { describe, expect, test } from 'vitest'
import { ENGINES, runEngine } from './engine.ts'
import { buildScenario, scenarioFailures } from './scenario.ts'
import { SCENARIOS } from './scenarios.ts'

describe.each(ENGINES)('%s', (engine) => {
  test.each(SCENARIOS)('$name', (scenario) => {
    const image = buildScenario(scenario, 'tohost')
    const { results } = runEngine(engine, image.elf, image.log, image.logBytes)
    expect(scenarioFailures(image, results)).toEqual([])
  })
})
