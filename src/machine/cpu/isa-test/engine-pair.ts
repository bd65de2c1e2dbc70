/**
 * Two machines with one image, stepped side by side: whatever engine runs and however its run is divided, the
 * digests must be equal at every checkpoint. This compares everything a guest could ever see, which a program's own
 * results do not.
 */
import type { Computer, EngineOptions } from '../../computer.ts'
import { createMachine } from '../../create.ts'
import { CLOCK_RATE, HOT_THRESHOLD, MEMORY_BYTES } from './engine.ts'
import { LateCompiler } from './late-compiler.ts'
import type { Random } from './random.ts'

export interface Divergence {
  /** Retired count at the first checkpoint that differs, and at the one before. */
  readonly retired: bigint
  readonly lastEqual: bigint
  readonly lines: readonly string[]
}

export interface PairRun {
  readonly retired: bigint
  /** False when the program did not end by itself within the limit. */
  readonly halted: boolean
  readonly divergence: Divergence | null
  /** Compiled entry points at the checkpoint that found most; copies begin with none. */
  readonly compiledEntries: number
  /** The interpreter's machine at the end, to read results from. */
  readonly oracle: Computer
}

export interface PairOptions {
  /** Visits to a place before it is compiled, which must change nothing. */
  readonly hotThreshold?: number
  /** Ends a pair that runs on and on. */
  readonly retiredMax?: bigint
  /** Makes another machine in the state of one, which then goes on in its stead. */
  readonly copy?: (original: Computer, options: EngineOptions) => Computer
}

/** Instructions between two checkpoints, and in one piece of a run between them: any order of magnitude up to these. */
const CHECKPOINT_DECADES = 5
const PIECE_DECADES = 5
/** The interpreter forgets its fast translations that often, so that a wrong one of the regions finds no equal. */
const ORACLE_PIECE_DECADES = 3
/** How often the machine under test is looked at between two pieces. */
const LOOK_PERCENT = 5
/** How often a checkpoint compares all memory and device state. */
const FULL_PERCENT = 25
/** How often regions are compiled with chance timing, and not at once. */
const LATE_PERCENT = 50
/** How often the code cache is so small that it forgets all the time, and the room it has then for a few regions. */
const SMALL_CACHE_PERCENT = 10
const SMALL_CACHE_BYTES = 50_000
/** How often a checkpoint replaces the machine under test by a copy. */
const COPY_PERCENT = 3
/** How often a checkpoint begins a new slice. */
const SLICE_PERCENT = 20
const RETIRED_MAX = 5_000_000n

function machine(elf: Uint8Array, options: EngineOptions): Computer {
  const created = createMachine(
    {
      memoryBytes: MEMORY_BYTES,
      boot: { kind: 'bare', elf },
      nics: [],
      disks: [],
      rngSeed: new Uint8Array(32),
    },
    options,
  )
  created.beginSlice({ clock: 0n, clockRate: CLOCK_RATE, inputs: [] })
  return created
}

/** 1 to 10^decades, every order of magnitude as likely as the others. */
function anyMagnitude(random: Random, decades: number): number {
  return Math.ceil(10 ** ((random.u32() / 0x1_0000_0000) * decades))
}

function late(random: Random): EngineOptions {
  return { compiler: (setup) => new LateCompiler(setup, random) }
}

/**
 * Runs exactly to `count`, in pieces that `random` chooses. A wait ends when the timer is due. Ends early when the
 * machine halts or waits for ever. `between` comes between two pieces.
 */
function runTo(subject: Computer, count: bigint, random: Random, decades: number, between: () => void): void {
  while (!subject.halted && subject.retired < count) {
    const left = Number(count - subject.retired)
    const { reason } = subject.run(Math.min(left, anyMagnitude(random, decades)))
    if (reason === 'idle') {
      const deadline = subject.timerDeadline()
      if (deadline === null) return
      subject.beginSlice({ clock: deadline, clockRate: CLOCK_RATE, inputs: [] })
    }
    between()
  }
}

/** Compares the interpreter with regions, both run in random pieces. */
export function compareEngines(
  elf: Uint8Array,
  random: Random,
  { hotThreshold = HOT_THRESHOLD, retiredMax = RETIRED_MAX, copy }: PairOptions = {},
): PairRun {
  const oracle = machine(elf, { engine: 'interpreter' })
  const options: EngineOptions = {
    hotThreshold,
    ...(random.chance(LATE_PERCENT) ? late(random) : {}),
    ...(random.chance(SMALL_CACHE_PERCENT) ? { codeBytesMax: SMALL_CACHE_BYTES } : {}),
  }
  let subject = machine(elf, options)
  let lastEqual = 0n
  let compiledEntries = 0
  for (;;) {
    const count = lastEqual + BigInt(anyMagnitude(random, CHECKPOINT_DECADES))
    runTo(oracle, count, random, ORACLE_PIECE_DECADES, () => oracle.debug.dropFastTranslations())
    runTo(subject, count, random, PIECE_DECADES, () => {
      // Looking at the machine empties some of its caches, which must show nowhere.
      if (random.chance(LOOK_PERCENT)) subject.fullDigest()
    })
    compiledEntries = Math.max(compiledEntries, subject.debug.compiledEntries())
    const ended = oracle.halted || oracle.retired < count || oracle.retired > retiredMax
    const lines = differences(oracle, subject, ended || random.chance(FULL_PERCENT))
    if (lines.length > 0 || ended) {
      return {
        retired: oracle.retired,
        halted: oracle.halted,
        divergence: lines.length === 0 ? null : { retired: count, lastEqual, lines },
        compiledEntries,
        oracle,
      }
    }
    lastEqual = count
    if (copy !== undefined && random.chance(COPY_PERCENT)) subject = copy(subject, options)
    if (!random.chance(SLICE_PERCENT)) continue
    // A new slice, in which time has jumped, passes at another rate, or stands still.
    const start = {
      clock: oracle.guestClock() + BigInt(random.below(1000)),
      clockRate: random.pick([0, CLOCK_RATE, 0xffff_ffff]),
      inputs: [],
    }
    oracle.beginSlice(start)
    subject.beginSlice(start)
  }
}

const REGISTERS = [
  'pc',
  ...Array.from({ length: 32 }, (_, n) => `x${n}`),
  ...Array.from({ length: 32 }, (_, n) => `f${n}`),
  'fcsr',
  'privilege',
  'mstatus',
  'mepc',
  'mcause',
  'mtval',
  'mip',
  'sepc',
  'scause',
  'stval',
  'satp',
  'reservation',
]

/** What differs, one line each; memory and devices only if all is to be compared. */
function differences(oracle: Computer, subject: Computer, all: boolean): string[] {
  const lines: string[] = []
  const compare = (what: string, of: (machine: Computer) => bigint | boolean): void => {
    const [wanted, got] = [of(oracle), of(subject)]
    if (got !== wanted) lines.push(`${what}: regions ${shown(got)}, interpreter ${shown(wanted)}`)
  }
  compare('retired', ({ retired }) => retired)
  compare('halted', ({ halted }) => halted)
  compare('digest of the registers', (machine) => machine.digest())
  compare('digest of the TLBs', ({ debug }) => debug.translationDigest())
  if (all) compare('digest of everything', (machine) => machine.fullDigest())
  if (lines.length > 0)
    for (const name of REGISTERS) compare(name, ({ debug }) => debug.readRegister(0, name))
  return lines
}

function shown(value: bigint | boolean): string {
  return typeof value === 'bigint' ? `0x${value.toString(16)}` : String(value)
}
