/**
 * A restored machine goes on bit for bit as the one that was saved, wherever it is cut and whichever engine goes on.
 * The programs are those that look for state which other machines keep to themselves: stale translations,
 * reservations, pending interrupts, code that changes.
 */
import { describe, expect, it } from 'vitest'
import type { Computer } from '../machine/computer.ts'
import { CLOCK_RATE, ENGINES, type Engine, HOT_THRESHOLD } from '../machine/cpu/isa-test/engine.ts'
import { Random } from '../machine/cpu/isa-test/random.ts'
import { buildScenario, scenarioFailures } from '../machine/cpu/isa-test/scenario.ts'
import { SCENARIOS } from '../machine/cpu/isa-test/scenarios.ts'
import { createMachine } from '../machine/create.ts'
import { bareConfig, restored, saved } from './testing/saved.ts'

/** Only ends a program that a broken CPU keeps in a loop. */
const RETIRED_MAX = 50_000_000n
const SEED = 20_261_122

/** Runs to a count, or to the end; a wait ends when the timer is due. */
function runTo(machine: Computer, count: bigint): void {
  while (!machine.halted && machine.retired < count) {
    const { reason } = machine.run(Number(count - machine.retired))
    if (reason !== 'idle') continue
    const deadline = machine.timerDeadline()
    if (deadline === null) return
    machine.beginSlice({ clock: deadline, clockRate: CLOCK_RATE, inputs: [] })
  }
}

function started(elf: Uint8Array, engine: Engine): Computer {
  const machine = createMachine(bareConfig(elf), { engine, hotThreshold: HOT_THRESHOLD })
  machine.beginSlice({ clock: 0n, clockRate: CLOCK_RATE, inputs: [] })
  return machine
}

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
