/**
 * Random programs with traps, page tables, modes, interrupts and changing code: both engines against QEMU, and
 * against each other under random division into runs. `ISA_SEED` repeats a run.
 */
import { expect, test } from 'vitest'
import { ENGINES } from '../../src/machine/cpu/isa-test/engine.ts'
import { shrinkOneByOne } from './reductions.ts'
import { compareBothEngines, compareWithQemu, systemOracle, systemReport } from './system-differential.ts'
import { systemProgram } from './system-program.ts'

const SEED = Number(process.env.ISA_SEED ?? Math.floor(Math.random() * 2 ** 31))
const PROGRAMS = 16
const ITEMS = 150
const SHRINK_ATTEMPTS_MAX = 300

test(`random system programs agree with QEMU on both engines (ISA_SEED=${SEED})`, async () => {
  let traps = 0
  for (let n = 0; n < PROGRAMS; n++) {
    const program = systemProgram((SEED + n) >>> 0, ITEMS, 'qemu')
    const oracle = await systemOracle(program)
    traps += oracle.log.length
    for (const engine of ENGINES) {
      if (compareWithQemu(engine, program, oracle).lines.length === 0) continue
      const differs = async (candidate: typeof program) =>
        compareWithQemu(engine, candidate, await systemOracle(candidate)).lines.length > 0
      const smallest = await shrinkOneByOne(program, differs, SHRINK_ATTEMPTS_MAX)
      const { lines } = compareWithQemu(engine, smallest, await systemOracle(smallest))
      expect.fail(systemReport(`${engine} differs from QEMU, ISA_SEED=${SEED}`, smallest, lines))
    }
  }
  // Not a measure of quality, but a program without traps would test nothing here.
  expect(traps).toBeGreaterThan(PROGRAMS)
})

test(`regions and interpreter reach equal digests however they are run (ISA_SEED=${SEED})`, async () => {
  for (let n = 0; n < PROGRAMS; n++) {
    const program = systemProgram((SEED + n) >>> 0, ITEMS, 'engines')
    if (compareBothEngines(program).lines.length === 0) continue
    const differs = async (candidate: typeof program) => compareBothEngines(candidate).lines.length > 0
    const smallest = await shrinkOneByOne(program, differs, SHRINK_ATTEMPTS_MAX)
    const { lines } = compareBothEngines(smallest)
    expect.fail(systemReport(`regions differ from the interpreter, ISA_SEED=${SEED}`, smallest, lines))
  }
})
