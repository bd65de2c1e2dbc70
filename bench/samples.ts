/** One workload on one side once, and what many of them come to. */
import { cpuSeconds } from './process-usage.ts'
import type { RunningSide } from './sides.ts'
import { type Summary, summarize } from './statistics.ts'
import type { Workload } from './workloads.ts'

export interface Sample {
  readonly workload: string
  readonly side: string
  readonly round: number
  /** Host time between the guest's lines that it begins and ends. */
  readonly wallSeconds: number
  /** CPU time of the side's processes in between, user and system, all threads; to 10 ms. */
  readonly cpuSeconds: number
  /** Instructions retired by the guest, of sides that tell; the harness's own few included. */
  readonly retired: number | null
  /** What the work computed: the same on every side. */
  readonly result: string
}

/** Has a side do a workload. Throws an Error when the guest fails. */
export async function runWorkload(
  side: string,
  running: RunningSide,
  workload: Workload,
  repeats: number,
  round: number,
  from: number,
): Promise<{ readonly sample: Sample; readonly end: number }> {
  const { console, pids } = running
  const cpu = () => pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0)
  const retiredBefore = await running.retired()
  console.type(`${workload.command} ${repeats}\n`)
  const begin = await console.marker('@begin ', from)
  const cpuBefore = cpu()
  const end = await console.marker('@end ', begin.end)
  const cpuAfter = cpu()
  const retiredAfter = await running.retired()
  console.forget(end.end)
  const result = end.line.split(' ').slice(2).join(' ')
  if (!/^[0-9a-f]+$/.test(result)) throw new Error(`${workload.name} on ${side}: ${result || 'no result'}`)
  const sample = {
    workload: workload.name,
    side,
    round,
    wallSeconds: (end.atMs - begin.atMs) / 1000,
    cpuSeconds: cpuAfter - cpuBefore,
    retired: retiredBefore === null || retiredAfter === null ? null : retiredAfter - retiredBefore,
    result,
  }
  return { sample, end: end.end }
}

/** How many times as fast as `reference` a side was, from runs of the same round, which had the same neighbours. */
export function speedRatios(
  samples: readonly Sample[],
  workload: string,
  side: string,
  reference: string,
  seconds: 'wallSeconds' | 'cpuSeconds',
): Summary | null {
  const ofSide = samples.filter((sample) => sample.workload === workload && sample.side === side)
  const ratios = ofSide.flatMap((sample) => {
    const other = samples.find(
      ({ workload: name, side, round }) => name === workload && side === reference && round === sample.round,
    )
    return other === undefined || sample[seconds] === 0 ? [] : [other[seconds] / sample[seconds]]
  })
  return ratios.length === 0 ? null : summarize(ratios)
}

/** Of what should be compared as factors. Throws a RangeError when there is nothing. */
export function geometricMean(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError('nothing was measured')
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length)
}
