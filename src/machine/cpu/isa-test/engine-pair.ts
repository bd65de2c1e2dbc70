/**
 * Two machines with one image, stepped side by side: whatever engine runs and however its run is divided, the
 * digests must be equal at every checkpoint. This compares everything a guest could ever see, which a program's own
 * results do not.
 */
import type { Computer } from '../../computer.ts'
import { createMachine } from '../../create.ts'
import { CLOCK_RATE, type Engine, HOT_THRESHOLD, MEMORY_BYTES } from './engine.ts'
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
}

/** A checkpoint every so many instructions: short against a program, long against a region. */
const CHECKPOINT_INSTRUCTIONS = 997
/** How often the machine under test is looked at between two pieces. */
const LOOK_PERCENT = 5
/** How often a checkpoint begins a new slice. */
const SLICE_PERCENT = 20
const RETIRED_MAX = 5_000_000n

function machine(engine: Engine, elf: Uint8Array, hotThreshold: number): Computer {
  const created = createMachine(
    {
      memoryBytes: MEMORY_BYTES,
      boot: { kind: 'bare', elf },
      nics: [],
      disks: [],
      rngSeed: new Uint8Array(32),
    },
    { engine, hotThreshold },
  )
  created.beginSlice({ clock: 0n, clockRate: CLOCK_RATE, inputs: [] })
  return created
}

/**
 * Runs exactly to `count`, in pieces that `random` chooses, or in one. A wait ends when the timer is due. Ends early
 * when the machine halts or waits for ever.
 */
function runTo(subject: Computer, count: bigint, random: Random | null): void {
  while (!subject.halted && subject.retired < count) {
    const left = Number(count - subject.retired)
    const piece = random === null ? left : Math.min(left, 1 + random.below(random.chance(30) ? 10 : 600))
    const { reason } = subject.run(piece)
    if (reason === 'idle') {
      const deadline = subject.timerDeadline()
      if (deadline === null) return
      subject.beginSlice({ clock: deadline, clockRate: CLOCK_RATE, inputs: [] })
    }
    // Looking at the machine empties some of its caches, which must show nowhere.
    if (random?.chance(LOOK_PERCENT)) subject.fullDigest()
  }
}

/**
 * Compares the interpreter, run from checkpoint to checkpoint, with regions run in random pieces. `hotThreshold`
 * changes which code is compiled when, which must change nothing.
 */
export function compareEngines(elf: Uint8Array, random: Random, hotThreshold = HOT_THRESHOLD): PairRun {
  const oracle = machine('interpreter', elf, hotThreshold)
  const subject = machine('regions', elf, hotThreshold)
  let lastEqual = 0n
  for (let count = BigInt(CHECKPOINT_INSTRUCTIONS); ; count += BigInt(CHECKPOINT_INSTRUCTIONS)) {
    runTo(oracle, count, null)
    runTo(subject, count, random)
    const ended = oracle.halted || oracle.retired < count || oracle.retired > RETIRED_MAX
    const equal =
      oracle.retired === subject.retired &&
      oracle.halted === subject.halted &&
      oracle.digest() === subject.digest() &&
      (!ended || oracle.fullDigest() === subject.fullDigest())
    if (!equal)
      return {
        retired: count,
        halted: oracle.halted,
        divergence: { retired: count, lastEqual, lines: differences(oracle, subject) },
      }
    if (ended) return { retired: oracle.retired, halted: oracle.halted, divergence: null }
    lastEqual = count
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
]

function differences(oracle: Computer, subject: Computer): string[] {
  const lines = REGISTERS.flatMap((name) => {
    const [wanted, got] = [oracle.debug.readRegister(0, name), subject.debug.readRegister(0, name)]
    return got === wanted
      ? []
      : [`${name}: regions 0x${got.toString(16)}, interpreter 0x${wanted.toString(16)}`]
  })
  if (oracle.retired !== subject.retired)
    lines.push(`retired: regions ${subject.retired}, interpreter ${oracle.retired}`)
  if (oracle.halted !== subject.halted)
    lines.push(`halted: regions ${subject.halted}, interpreter ${oracle.halted}`)
  return lines.length > 0 ? lines : ['only memory or state beyond the registers differs']
}
