/**
 * A restored machine goes on bit for bit as the one that was saved, wherever it is cut and whichever engine goes on.
 * The programs are those that look for state which other machines keep to themselves: stale translations,
 * reservations, pending interrupts, code that changes.
 */
import { describe, expect, it } from 'vitest'
import { ENGINES, HOT_THRESHOLD } from '../machine/cpu/isa-test/engine.ts'
import { Random } from '../machine/cpu/isa-test/random.ts'
import { buildScenario, scenarioFailures } from '../machine/cpu/isa-test/scenario.ts'
import { SCENARIOS } from '../machine/cpu/isa-test/scenarios.ts'
import { restored, runTo, saved, started } from './testing/saved.ts'

/** Only ends a program that a broken CPU keeps in a loop. */
const RETIRED_MAX = 50_000_000n
const SEED = 20_261_122

describe(`scenarios cut at random, seed ${SEED}`, () => {
  const random = new Random(SEED)

  it.each(SCENARIOS)('$name', (scenario) => {
    const image = buildScenario(scenario, 'tohost')
    const whole = started(image.elf, 'regions')
    runTo(whole, RETIRED_MAX)
    const length = Number(whole.retired)

    const count = BigInt(random.below(length))
    const engines = { original: random.pick(ENGINES), copy: random.pick(ENGINES) }
    const where = `saved at ${count} of ${length}, ${JSON.stringify(engines)}`
    const original = started(image.elf, engines.original)
    runTo(original, count)
    original.takeOutputs()
    const copy = restored(saved(original), { engine: engines.copy, hotThreshold: HOT_THRESHOLD })
    expect(copy.fullDigest(), where).toBe(original.fullDigest())
    const between = count + BigInt(random.below(length))
    for (const end of [between, RETIRED_MAX]) {
      runTo(original, end)
      runTo(copy, end)
      expect(copy.retired, where).toBe(original.retired)
      expect(copy.fullDigest(), where).toBe(original.fullDigest())
      expect(copy.takeOutputs(), where).toEqual(original.takeOutputs())
    }
    expect(copy.halted, where).toBe(true)
    const log = copy.debug.readPhysical(image.log, image.logBytes).slice()
    expect(scenarioFailures(image, log), where).toEqual([])
  })
})
