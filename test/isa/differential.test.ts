/**
 * At least a million random instructions over all extensions, on both engines, against QEMU. `ISA_SEED` repeats a
 * run; the seed is printed with every failure.
 */
import { beforeAll, expect, test } from 'vitest'
import { ENGINES } from '../../src/machine/cpu/isa-test/engine.ts'
import { engineRunner, firstDifference, QEMU, report, runPrograms, shrink } from './differential.ts'
import { qemuVersion } from './qemu.ts'
import { EVEN_MIX, type Mix, randomProgram } from './random-program.ts'

const SEED = Number(process.env.ISA_SEED ?? Math.floor(Math.random() * 2 ** 31))
const PROGRAMS_PER_BATCH = 80
const ITEMS_PER_PROGRAM = 120
/** Instructions that each engine must retire; a fifth of them are distinct, the others repeat in loops and passes. */
const RETIRED_MIN = 1_500_000n

const MIXES: { readonly [name: string]: Mix } = {
  even: EVEN_MIX,
  'integer and compressed': {
    integer: 50,
    compressed: 30,
    floating: 0,
    memory: 10,
    atomic: 2,
    csr: 0,
    control: 8,
  },
  'floating point': { integer: 5, compressed: 3, floating: 80, memory: 4, atomic: 0, csr: 5, control: 3 },
  'memory and atomics': {
    integer: 10,
    compressed: 5,
    floating: 3,
    memory: 50,
    atomic: 25,
    csr: 0,
    control: 7,
  },
  'control flow': { integer: 25, compressed: 20, floating: 10, memory: 10, atomic: 3, csr: 2, control: 30 },
}

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
}, 120_000)
