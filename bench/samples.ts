/** One workload on one side once: asked for, timed from outside, its result read. */

import type { ReplaySide } from './process-sides.ts'
import { cpuSeconds } from './process-usage.ts'
import type { RunningSide } from './sides.ts'
import type { Workload } from './workloads.ts'

export interface Sample {
  readonly workload: string
  readonly side: string
  /** Samples of the same round and session were taken one after the other and may be compared. */
  readonly round: number
  readonly session: 'live' | 'replay'
  /** Host time between the guest's lines that it begins and ends. */
  readonly wallSeconds: number
  /** CPU time of the side's processes in between, user and system, all threads; to 10 ms. Of a pair, the primary's. */
  readonly cpuSeconds: number
  /** Instructions retired by the guest, of sides that tell; the few around the work included. */
  readonly retired: number | null
  /** What the work computed: the same on every side. */
  readonly result: string
}

/** The FIFO of a 16550. QEMU, when it records, loses what is typed beyond it at once. */
const LINE_CHARACTERS_MAX = 16

export interface Turn {
  readonly side: string
  readonly workload: Workload
  readonly round: number
  readonly session: Sample['session']
}

/** A guest that waits to be asked, at a position of its console. */
export interface Guest {
  readonly running: RunningSide
  position: number
}

/** Resolves when the guest has booted and waits. */
export async function guestReady(running: RunningSide): Promise<Guest> {
  return { running, position: (await running.console.marker('@ready', 0)).end }
}

/** Throws an Error when the guest fails. */
export async function askFor(guest: Guest, turn: Turn, repeats: number): Promise<Sample> {
  const { running } = guest
  const before = await running.retired()
  const line = `${turn.workload.name} ${repeats}\n`
  if (line.length > LINE_CHARACTERS_MAX) throw new RangeError(`${line} is too long to be typed at once`)
  running.console.type(line)
  const timed = await timeBetweenMarkers(guest, turn)
  const after = await running.retired()
  return { ...timed, retired: before === null || after === null ? null : after - before }
}

/** Lets a replay go on up to the end of its next workload. Null if it did not stand still before that began. */
export async function replayNext(guest: Guest, replay: ReplaySide, turn: Turn): Promise<Sample | null> {
  const early = replay.console.has('@begin ', guest.position)
  replay.goOn()
  const timed = await timeBetweenMarkers(guest, turn)
  await replay.hold()
  return early ? null : { ...timed, retired: null }
}

async function timeBetweenMarkers(guest: Guest, turn: Turn): Promise<Omit<Sample, 'retired'>> {
  const { side, workload, round, session } = turn
  const { console, pids } = guest.running
  const cpu = () => pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0)
  const begin = await console.marker('@begin ', guest.position)
  const cpuBefore = cpu()
  const end = await console.marker('@end ', begin.end)
  const cpuAfter = cpu()
  console.forget(end.end)
  guest.position = end.end
  const [, done, ...words] = end.line.split(' ')
  const result = words.join(' ')
  if (done !== workload.name) throw new Error(`${side} did ${done} instead of ${workload.name}`)
  if (!/^[0-9a-f]+$/.test(result)) throw new Error(`${workload.name} on ${side}: ${result || 'no result'}`)
  return {
    ...{ workload: workload.name, side, round, session, result },
    wallSeconds: (end.atMs - begin.atMs) / 1000,
    cpuSeconds: cpuAfter - cpuBefore,
  }
}
