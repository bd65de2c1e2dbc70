/**
 * The order of things: boots first, each in fresh processes; then all sides up at once, for each round and workload
 * one after the other; then the recording replayed, in turns with a fresh machine that records.
 */
import { mkdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { buildImage } from '../src/image/build.ts'
import { type GuestImage, guestOf, prepareGuestImage } from './guest-image.ts'
import { replayOf } from './process-sides.ts'
import { cpuSeconds, memoryBytesBeside } from './process-usage.ts'
import { formatFigure, progress } from './report.ts'
import { askFor, type Guest, guestReady, replayNext, type Sample } from './samples.ts'
import { REPLAY, type RunningSide, recordingIn, type Side } from './sides.ts'
import { QUICK_SHARE, type Workload } from './workloads.ts'

export interface Plan {
  readonly workloads: readonly Workload[]
  /** Whether boots are measured, too. */
  readonly boot: boolean
  readonly sides: readonly Side[]
  /** Whether the recording is replayed; only with the side `record`. */
  readonly replay: boolean
  readonly rounds: number
  readonly quick: boolean
  /** For what the sides write. */
  readonly directory: string
  /** Ends the measurement after the sample that is being taken. */
  readonly stop: AbortSignal
}

/** Filled as the measurement goes on, so that something is left of one that fails. */
export interface Measured {
  readonly samples: Sample[]
  readonly notes: string[]
}

interface Entry {
  readonly side: Side
  readonly guest: Guest
}

/** Lines of the image `tiny`. */
const BOOT_MILESTONES = [
  { workload: 'boot-init', line: 'understudy: init' },
  { workload: 'boot-ready', line: 'understudy: ready' },
] as const

/** Throws an Error when a guest fails or computes something else than the others. */
export async function measure(plan: Plan, into: Measured): Promise<void> {
  if (plan.boot) await measureBoots(plan, into)
  if (plan.workloads.length === 0) return
  const guest = await prepareGuestImage()
  await withMachines(plan.sides, guest, plan.directory, async (entries) => {
    await liveSession(plan, entries, into)
    noteMemory(guest, entries, into)
  })
  if (!plan.replay) return
  // A fresh one: the replay begins cold, too.
  const again = join(plan.directory, 'again')
  await mkdir(again)
  const recording = plan.sides.filter(({ name }) => name === 'record')
  await withMachines(recording, guest, again, (entries) => replaySession(plan, entries[0], into))
}

async function withMachines(
  sides: readonly Side[],
  guest: GuestImage,
  directory: string,
  work: (entries: readonly Entry[]) => Promise<void>,
): Promise<void> {
  const running: RunningSide[] = []
  try {
    const entries: Entry[] = []
    for (const side of sides) {
      progress(`${side.name}: booting`)
      running.push(await side.start(guest, directory))
      entries.push({ side, guest: await guestReady(running.at(-1)!) })
    }
    await work(entries)
  } finally {
    await Promise.all(running.map((machine) => machine.close()))
  }
}

async function measureBoots(plan: Plan, into: Measured): Promise<void> {
  const guest = guestOf(await buildImage('tiny'))
  for (let round = 1; round <= plan.rounds; round++) {
    const taken: Sample[] = []
    for (const side of plan.sides.filter(({ boots }) => boots)) {
      plan.stop.throwIfAborted()
      const startedMs = performance.now()
      const running = await side.start(guest, plan.directory)
      try {
        for (const { workload, line } of BOOT_MILESTONES) {
          const { atMs } = await running.console.marker(line, 0)
          const cpu = running.pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0)
          taken.push({
            ...{ workload, side: side.name, round, session: 'live', result: '', cpuSeconds: cpu },
            ...{ wallSeconds: (atMs - startedMs) / 1000, retired: await running.retired() },
          })
        }
      } finally {
        await running.close()
      }
    }
    into.samples.push(...taken)
    for (const { workload } of BOOT_MILESTONES) tell(taken.filter((sample) => sample.workload === workload))
  }
}

async function liveSession(plan: Plan, entries: readonly Entry[], into: Measured): Promise<void> {
  for (let round = 1; round <= plan.rounds; round++) {
    // Whoever is first after another workload finds other caches than the rest.
    const turn = (round - 1) % entries.length
    const inOrder = [...entries.slice(turn), ...entries.slice(0, turn)]
    for (const workload of plan.workloads) {
      const taken: Sample[] = []
      for (const { side, guest } of inOrder) {
        plan.stop.throwIfAborted()
        taken.push(
          await askFor(
            guest,
            { side: side.name, workload, round, session: 'live' },
            repeatsOf(plan, workload),
          ),
        )
      }
      into.samples.push(...taken)
      tell(taken)
      checkResults(taken)
    }
  }
}

async function replaySession(plan: Plan, { side, guest }: Entry, into: Measured): Promise<void> {
  const log = recordingIn(plan.directory)
  const megabytes = (await stat(log)).size / 1e6
  into.notes.push(`The recording has ${megabytes.toFixed(0)} MB with kernel and initial file system in it.`)
  progress(`${REPLAY.name}: booting`)
  const replay = replayOf(REPLAY.name, log)
  try {
    const replayed = await guestReady(replay)
    await replay.hold()
    for (let round = 1; round <= plan.rounds; round++) {
      for (const workload of plan.workloads) {
        plan.stop.throwIfAborted()
        const common = { workload, round, session: 'replay' } as const
        const live = await askFor(guest, { ...common, side: side.name }, repeatsOf(plan, workload))
        const again = await replayNext(replayed, replay, { ...common, side: REPLAY.name })
        if (again === null) {
          into.notes.push(
            `${workload.name}, round ${round}: the replay was not held in time and does not count.`,
          )
          continue
        }
        into.samples.push(live, again)
        tell([live, again])
        checkResults([live, again])
      }
    }
  } finally {
    await replay.close()
  }
}

function repeatsOf({ quick }: Plan, { repeats }: Workload): number {
  return quick ? Math.ceil(repeats * QUICK_SHARE) : repeats
}

function noteMemory({ memoryMiB }: GuestImage, entries: readonly Entry[], into: Measured): void {
  const own = entries.filter(({ side }) => !side.name.startsWith('qemu'))
  const parts = own.map(({ side, guest: { running } }) => {
    const bytes = memoryBytesBeside(running.pids[0], memoryMiB * 1024 * 1024)
    return `${side.name} ${(bytes / 1e6).toFixed(0)} MB`
  })
  if (parts.length > 0) into.notes.push(`Memory beside the guest's, in the end: ${parts.join(', ')}.`)
}

function tell(samples: readonly Sample[]): void {
  const parts = samples.map(
    ({ side, wallSeconds, cpuSeconds }) =>
      `${side} ${formatFigure(wallSeconds)} s (CPU ${formatFigure(cpuSeconds)})`,
  )
  progress(`${samples[0].round} ${samples[0].workload}: ${parts.join(', ')}`)
}

/** A wrong result is no measurement. */
function checkResults(samples: readonly Sample[]): void {
  if (new Set(samples.map(({ result }) => result)).size === 1) return
  const said = samples.map(({ side, result }) => `${side}: ${result}`).join(', ')
  throw new Error(`${samples[0].workload} came out differently: ${said}`)
}
