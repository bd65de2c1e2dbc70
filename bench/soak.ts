/**
 * Does a busy guest make its host's process grow? A virtual machine compiles, forks, starts programs and loads new code
 * without a pause, and the memory beside its own is read after each workload.
 */
import { clusterMachine } from './cluster-sides.ts'
import { prepareGuestImage } from './guest-image.ts'
import { memoryBytesBeside } from './process-usage.ts'
import { progress, type Report, type Row } from './report.ts'
import { askFor, guestReady } from './samples.ts'
import { summarize } from './statistics.ts'
import { WORKLOADS } from './workloads.ts'

/** Of one round. */
const ROUND_MS = 10 * 60_000
/** What makes processes, pages of code and compiled code come and go. */
const BUSY = [
  'build',
  'fork',
  'exec',
  'python',
  'compile',
  'shell',
  'perl',
  'lua',
  'sqlite',
  'pagefault',
  'text',
]
const MEGABYTE = 1e6
/** Of a round: growth is told by the median of each end, not by single readings. */
const END_SHARE = 0.2

interface Round {
  /** After each workload, in MB. */
  readonly megabytes: readonly number[]
}

export async function measureSoak(rounds: number): Promise<Report> {
  const image = await prepareGuestImage()
  const workloads = BUSY.map((name) => WORKLOADS.find((workload) => workload.name === name)!)
  const machine = await clusterMachine('soak', image, 1)
  const measured: Round[] = []
  try {
    const guest = await guestReady(machine)
    for (let round = 1; round <= rounds; round++) {
      const megabytes: number[] = []
      const untilMs = performance.now() + ROUND_MS
      while (performance.now() < untilMs) {
        for (const workload of workloads) {
          await askFor(guest, { side: 'soak', workload, round, session: 'live' }, workload.repeats)
          megabytes.push(memoryBytesBeside(machine.pids[0], image.memoryMiB * 1024 * 1024) / MEGABYTE)
        }
      }
      measured.push({ megabytes })
      const { median, greatest } = summarize(megabytes)
      progress(
        `soak, round ${round} of ${rounds}: ${median.toFixed(0)} MB, at most ${greatest.toFixed(0)} MB`,
      )
    }
  } finally {
    await machine.close()
  }
  const all = measured.flatMap(({ megabytes }) => megabytes)
  const end = Math.ceil(all.length * END_SHARE)
  const row = (figure: string, values: readonly number[]): Row => ({
    ...{ figure, unit: 'MB', aim: 'under 150' },
    value: summarize(values),
  })
  return {
    subject: 'soak',
    rows: [
      row('memory beside guest RAM', all),
      row('the same, the first fifth', all.slice(0, end)),
      row('the same, the last fifth', all.slice(-end)),
    ],
    notes: [
      `${all.length} workloads in ${(rounds * ROUND_MS) / 60_000} minutes: ${BUSY.join(', ')}. The guest has ${image.memoryMiB} MiB.`,
    ],
  }
}
