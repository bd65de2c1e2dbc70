/** From a batch that failed to a small program with a way to repeat it. */
import { Random } from '../../../src/machine/cpu/isa-test/random.ts'
import { type BusyCase, type BusyFailure, runBusyCase } from './differential.ts'
import type { BusyProgram } from './program.ts'
import { busyReport } from './report.ts'
import { shrinkBusy } from './shrink.ts'

/** Other divisions into pieces that a candidate is tried with: dropping instructions moves every count. */
const PAIR_SEEDS = 3
const ALONE_SEEDS = 8

/** A report with the smallest program found. What a program alone does not show is left as the batch it was. */
export async function investigateBusy(
  failed: BusyCase,
  failure: BusyFailure,
  attemptsMax: number,
): Promise<string> {
  const random = new Random(failed.pairSeed)
  const pairSeeds = [failed.pairSeed, ...Array.from({ length: ALONE_SEEDS }, () => random.u32())]
  const alone = await firstFailing(failed, failure.kind, failure.program, pairSeeds)
  if (alone === null) {
    const note = 'not repeated by the program alone; the whole batch:'
    return [note, busyReport(failed, failure.program, failure)].join('\n')
  }
  const tried = [alone.which.pairSeed, ...pairSeeds.slice(1, PAIR_SEEDS)]
  const smallest = await shrinkBusy(
    failure.program,
    async (candidate) => (await firstFailing(failed, failure.kind, candidate, tried)) !== null,
    attemptsMax,
  )
  const last = await firstFailing(failed, failure.kind, smallest, tried)
  return busyReport(alone.which, smallest, (last ?? alone).failure)
}

async function firstFailing(
  { hotThreshold }: BusyCase,
  kind: BusyFailure['kind'],
  program: BusyProgram,
  pairSeeds: readonly number[],
): Promise<{ which: BusyCase; failure: BusyFailure } | null> {
  // QEMU's side and an endless program do not depend on how the run is divided.
  for (const pairSeed of kind === 'engines' ? pairSeeds : pairSeeds.slice(0, 1)) {
    const which = { programs: [program], hotThreshold, pairSeed }
    const { failure } = await runBusyCase(which)
    if (failure?.kind === kind) return { which, failure }
  }
  return null
}
