/**
 * At least a million random instructions over all extensions, on both engines, against QEMU. `ISA_SEED` repeats a
 * run; the seed is printed with every failure.
 */
import { beforeAll, expect, test } from 'vitest'
import { ENGINES } from '../../src/machine/cpu/isa-test/engine.ts'
import { engineRunner, firstDifference, QEMU, report, runPrograms, shrink } from './differential.ts'
import { MIXES } from './mixes.ts'
import { qemuVersion } from './qemu.ts'
import { randomProgram } from './random-program.ts'

const SEED = Number(process.env.ISA_SEED ?? Math.floor(Math.random() * 2 ** 31))
const PROGRAMS_PER_BATCH = 80
const ITEMS_PER_PROGRAM = 120
/** Instructions that each engine must retire; a fifth of them are distinct, the others repeat in loops and passes. */
const RETIRED_MIN = 2_500_000n

beforeAll(async () => {
  expect(
    await qemuVersion(),
    'qemu-system-riscv64 (Debian package qemu-system-misc) is needed',
  ).not.toBeNull()
})

test(`random programs agree with QEMU on both engines (ISA_SEED=${SEED})`, async () => {
  const retired = { interpreter: 0n, regions: 0n }
  const mixes = Object.values(MIXES)
  for (let batch = 0; retired.regions < RETIRED_MIN || batch < mixes.length; batch++) {
    const mix = mixes[batch % mixes.length]!
    const programs = Array.from({ length: PROGRAMS_PER_BATCH }, (_, n) =>
      randomProgram((SEED + batch * PROGRAMS_PER_BATCH + n) >>> 0, ITEMS_PER_PROGRAM, { mix }),
    )
    const oracle = await runPrograms(QEMU, programs)
    expect(oracle.result.trap, 'the generator makes programs that never trap').toBeNull()
    for (const engine of ENGINES) {
      const runner = engineRunner(engine)
      const subject = await runPrograms(runner, programs)
      const index = firstDifference(subject, oracle)
      if (index >= 0) {
        const smallest = await shrink(runner, QEMU, programs[index]!)
        expect.fail(`ISA_SEED=${SEED}\n${await report(runner, QEMU, smallest)}`)
      }
      // Each program has at least its own entry: if nothing is compiled, nothing of the compiler was tested.
      expect(subject.compiledEntries > PROGRAMS_PER_BATCH).toBe(engine === 'regions')
      retired[engine] += subject.retired
    }
  }
  expect(retired.regions).toBe(retired.interpreter)
  expect(retired.interpreter).toBeGreaterThanOrEqual(RETIRED_MIN)
})
