/**
 * Busy programs: loops that get hot while their code, tables and modes change under them. Regions against the
 * interpreter at random checkpoints, and against QEMU. `ISA_SEED` repeats a run.
 */
import { expect, test } from 'vitest'
import { busyCase, runBusyCase } from './differential.ts'
import { investigateBusy } from './investigate.ts'
import type { Flavour } from './program.ts'

const SEED = Number(process.env.ISA_SEED ?? Math.floor(Math.random() * 2 ** 31))
const BATCHES = 2
const PROGRAMS = 8
const SHRINK_ATTEMPTS_MAX = 200

test.each<Flavour>(['qemu', 'engines'])(`busy programs of flavour %s (ISA_SEED=${SEED})`, async (flavour) => {
  for (let batch = 0; batch < BATCHES; batch++) {
    const which = busyCase((SEED + 100 * batch) >>> 0, PROGRAMS, flavour)
    const { failure, traps, compiledEntries, retired } = await runBusyCase(which)
    if (failure !== null) expect.fail(await investigateBusy(which, failure, SHRINK_ATTEMPTS_MAX))
    // Not a measure of quality, but without these nothing would be tested.
    expect(traps).toBeGreaterThan(PROGRAMS)
    expect(compiledEntries).toBeGreaterThan(PROGRAMS)
    expect(retired).toBeGreaterThan(BigInt(PROGRAMS * 1000))
  }
})
