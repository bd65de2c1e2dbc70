/**
 * Compares busy programs: regions with the interpreter at every checkpoint, and what is left in memory with QEMU.
 */
import { ProgramStuckError } from '../../../src/machine/cpu/isa-test/engine.ts'
import { compareEngines } from '../../../src/machine/cpu/isa-test/engine-pair.ts'
import { PTE } from '../../../src/machine/cpu/isa-test/privileged.ts'
import { Random } from '../../../src/machine/cpu/isa-test/random.ts'
import { restored, saved } from '../../../src/snapshot/testing/saved.ts'
import { runQemu } from '../qemu.ts'
import { busyProgram } from './generator.ts'
import { buildBusyImage } from './image.ts'
import { SHARED, SHARED_ADDRESS } from './kernel-state.ts'
import { LOG_RECORD_BYTES, LOG_RECORDS, PAGE, PAGE_BYTES, REGION_BYTES, REGIONS, RESULT } from './layout.ts'
import type { BusyProgram, Flavour } from './program.ts'

/** Everything that decides a run: repeating it repeats the result. */
export interface BusyCase {
  readonly programs: readonly BusyProgram[]
  readonly hotThreshold: number
  /** Seeds checkpoints, pieces and slices. */
  readonly pairSeed: number
}

export interface BusyOutcome {
  readonly retired: bigint
  readonly traps: number
  readonly compiledEntries: number
  readonly failure: BusyFailure | null
}

export interface BusyFailure {
  /** What went wrong: the engines differ, an engine and QEMU differ, the program does not end. */
  readonly kind: 'engines' | 'qemu' | 'stuck'
  /** The program that ran when the difference showed. */
  readonly program: BusyProgram
  readonly lines: readonly string[]
}

/** A batch takes a second; one that was shrunk into an endless loop should not hold up the others. */
const QEMU_TIMEOUT_MS = 10_000
/** Ten times what a program is made to take. */
const PROGRAM_RETIRED_MAX = 1_000_000n
/**
 * Regions must be compiled while a program runs, some early, some after its tables and code have changed. With one
 * visit most of the time would go into compiling what the next patch throws away.
 */
const THRESHOLDS = [2, 3, 5, 8, 8, 20, 20, 50] as const
const LINES_MAX = 20

/** A batch of programs with successive seeds, and how it is run. */
export function busyCase(seed: number, count: number, flavour: Flavour): BusyCase {
  const random = new Random(seed ^ 0xb05e)
  return {
    programs: Array.from({ length: count }, (_, slot) => busyProgram((seed + slot) >>> 0, slot, flavour)),
    hotThreshold: random.pick(THRESHOLDS),
    pairSeed: random.u32(),
  }
}

export async function runBusyCase({ programs, hotThreshold, pairSeed }: BusyCase): Promise<BusyOutcome> {
  const image = buildBusyImage(programs, 'tohost')
  const { retired, halted, divergence, compiledEntries, oracle } = compareEngines(
    image.elf,
    new Random(pairSeed),
    {
      hotThreshold,
      retiredMax: PROGRAM_RETIRED_MAX * BigInt(programs.length),
      copy: (original, options) => restored(saved(original), options),
    },
  )
  const ours = oracle.debug.readPhysical(image.results, image.resultsBytes)
  const traps = programs.reduce((sum, { slot }) => sum + Number(resultsOf(ours, slot).u64(RESULT.traps)), 0)
  const outcome = { retired, traps, compiledEntries }
  const running = () => {
    const shared = oracle.debug.readPhysical(SHARED_ADDRESS, 64)
    const region = new DataView(shared.buffer, shared.byteOffset).getBigUint64(SHARED.region, true)
    const slot = (Number(region) - REGIONS) / REGION_BYTES
    return programs.find((program) => program.slot === slot) ?? programs[0]!
  }
  if (divergence !== null) {
    const where = `regions differ from the interpreter between ${divergence.lastEqual} and ${divergence.retired} retired instructions:`
    return {
      ...outcome,
      failure: { kind: 'engines', program: running(), lines: [where, ...divergence.lines] },
    }
  }
  if (!halted) {
    const { message } = new ProgramStuckError(
      'interpreter',
      retired,
      oracle.debug.readRegister(0, 'pc'),
      ours,
    )
    return { ...outcome, failure: { kind: 'stuck', program: running(), lines: [message] } }
  }
  if (programs[0]!.flavour === 'engines') return { ...outcome, failure: null }
  const theirs = await runQemu(buildBusyImage(programs, 'qemu').elf, { timeoutMs: QEMU_TIMEOUT_MS })
  for (const program of programs) {
    const lines = regionDifferences(ours, theirs, program.slot)
    if (lines.length > 0) return { ...outcome, failure: { kind: 'qemu', program, lines } }
  }
  return { ...outcome, failure: null }
}

interface Results {
  u64(offset: number): bigint
}

function resultsOf(regions: Uint8Array, slot: number): Results {
  const offset = slot * REGION_BYTES + PAGE.results * PAGE_BYTES
  const view = new DataView(regions.buffer, regions.byteOffset + offset)
  return { u64: (at) => view.getBigUint64(at, true) }
}

/** QEMU sets A and D where our kernel may set D later or not at all. */
const ENTRY_IGNORED = PTE.a | PTE.d

function regionDifferences(ours: Uint8Array, theirs: Uint8Array, slot: number): string[] {
  const lines: string[] = []
  const start = slot * REGION_BYTES
  for (let offset = 0; offset < REGION_BYTES; offset++) {
    const different = ours[start + offset]! ^ theirs[start + offset]!
    if (different === 0) continue
    const page = Math.floor(offset / PAGE_BYTES)
    const isTable = page >= PAGE.tables && page < PAGE.goodTables
    if (isTable && offset % 8 === 0 && (different & ~ENTRY_IGNORED) === 0) continue
    lines.push(
      `page ${page} of the region, offset 0x${(offset % PAGE_BYTES).toString(16)}: got ${ours[start + offset]}, QEMU has ${theirs[start + offset]}`,
    )
  }
  if (lines.length === 0) return lines
  return [...trapDifferences(resultsOf(ours, slot), resultsOf(theirs, slot)), ...lines].slice(0, LINES_MAX)
}

function trapDifferences(ours: Results, theirs: Results): string[] {
  const lines = [`traps: got ${ours.u64(RESULT.traps)}, QEMU has ${theirs.u64(RESULT.traps)}`]
  for (let n = 0; n < LOG_RECORDS; n++) {
    const [got, wanted] = [ours, theirs].map((results) => {
      const at = RESULT.log + n * LOG_RECORD_BYTES
      const [cause, pc, value, status] = [0, 8, 16, 24].map((field) => results.u64(at + field).toString(16))
      return `cause 0x${cause} pc 0x${pc} value 0x${value} status 0x${status}`
    })
    if (got === wanted) continue
    lines.push(`trap ${n}: got ${got}, QEMU has ${wanted}`)
    break
  }
  return lines
}
