/**
 * At least a million random instructions over all extensions, on both engines, against QEMU. `ISA_SEED` repeats a
 * run; the seed is printed with every failure.
 */
import { beforeAll, expect, test } from 'vitest'
import { ENGINES } from '../../src/machine/cpu/isa-test/engine.ts'
import {
  engineRunner,
  firstDifference,
  type Outcome,
  QEMU,
  report,
  runPrograms,
  shrink,
} from './differential.ts'
import { qemuVersion } from './qemu.ts'
import { EVEN_MIX, type Mix, randomProgram } from './random-program.ts'

const SEED = Number(process.env.ISA_SEED ?? Math.floor(Math.random() * 2 ** 31))
const PROGRAMS_PER_BATCH = 300
const ITEMS_PER_PROGRAM = 120
/** Static instructions of the programs, without those that load and dump registers. */
const INSTRUCTIONS_MIN = 1_000_000

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
  let instructions = 0
  const retired = new Map<string, bigint>()
  const mixes = Object.values(MIXES)
  for (let batch = 0; instructions < INSTRUCTIONS_MIN; batch++) {
    const mix = mixes[batch % mixes.length]!
    const programs = Array.from({ length: PROGRAMS_PER_BATCH }, (_, n) =>
      randomProgram((SEED + batch * PROGRAMS_PER_BATCH + n) >>> 0, ITEMS_PER_PROGRAM, { mix }),
    )
    const oracle = await runPrograms(QEMU, programs)
    expect(oracle.result.trap, 'the generator makes programs that never trap').toBeNull()
    instructions += oracle.batch.instructions
    for (const engine of ENGINES) {
      const runner = engineRunner(engine)
      const subject: Outcome = await runPrograms(runner, programs)
      const index = firstDifference(subject, oracle)
      if (index >= 0) {
        const smallest = await shrink(runner, QEMU, programs[index]!)
        expect.fail(`ISA_SEED=${SEED}\n${await report(runner, QEMU, smallest)}`)
      }
      retired.set(engine, (retired.get(engine) ?? 0n) + (subject.retired ?? 0n))
    }
  }
  expect(instructions).toBeGreaterThanOrEqual(INSTRUCTIONS_MIN)
  expect(retired.get('regions')).toBe(retired.get('interpreter'))
}, 120_000)
