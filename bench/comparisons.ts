/** What samples come to: medians for each workload and side, and how many times as fast one side is as another. */
import type { Sample } from './samples.ts'
import { type Summary, summarize } from './statistics.ts'

export interface Pair {
  readonly side: string
  readonly reference: string
  /** What the geometric mean of the ratios shall be, and what no workload's shall be below. */
  readonly aim: { readonly mean: number; readonly each: number | null } | null
}

/** What is asked about; a pair of which a side did not take part is left out. */
export const PAIRS: readonly Pair[] = [
  { side: 'plain', reference: 'qemu', aim: { mean: 1.3, each: 0.7 } },
  { side: 'record', reference: 'plain', aim: { mean: 0.98, each: null } },
  { side: 'replay', reference: 'record', aim: { mean: 1, each: null } },
  { side: 'protected', reference: 'unprotected', aim: { mean: 0.95, each: null } },
  { side: 'unprotected', reference: 'plain', aim: null },
  { side: 'record', reference: 'qemu-record', aim: null },
  { side: 'qemu-record', reference: 'qemu', aim: null },
  { side: 'interpreter', reference: 'plain', aim: null },
]

export interface Ratio {
  readonly workload: string
  /** Times as fast, by host time. */
  readonly wall: Summary
  /** The same by CPU time: what remains comparable on a machine with other work. Null below its resolution. */
  readonly cpu: Summary | null
}

export interface Comparison extends Pair {
  readonly ratios: readonly Ratio[]
  /** Geometric means of the medians. */
  readonly meanWall: number
  readonly meanCpu: number | null
}

export function compare(samples: readonly Sample[], workloads: readonly string[]): Comparison[] {
  return PAIRS.flatMap((pair) => {
    const ratios = workloads.flatMap((workload) => ratioOf(samples, workload, pair) ?? [])
    if (ratios.length === 0) return []
    const byCpu = ratios.flatMap(({ cpu }) => cpu?.median ?? [])
    return {
      ...pair,
      ratios,
      meanWall: geometricMean(ratios.map(({ wall }) => wall.median)),
      meanCpu: byCpu.length === 0 ? null : geometricMean(byCpu),
    }
  })
}

/** Of runs of the same round and session, which had the same neighbours. */
function ratioOf(samples: readonly Sample[], workload: string, { side, reference }: Pair): Ratio | null {
  const here = samples.filter((sample) => sample.workload === workload)
  const pairs = here
    .filter((sample) => sample.side === side)
    .flatMap((own) => {
      const other = here.find(
        (sample) => sample.side === reference && sample.round === own.round && sample.session === own.session,
      )
      return other === undefined ? [] : [{ own, other }]
    })
  if (pairs.length === 0) return null
  const measurable = pairs.filter(({ own, other }) => own.cpuSeconds > 0 && other.cpuSeconds > 0)
  return {
    workload,
    wall: summarize(pairs.map(({ own, other }) => other.wallSeconds / own.wallSeconds)),
    cpu:
      measurable.length === 0
        ? null
        : summarize(measurable.map(({ own, other }) => other.cpuSeconds / own.cpuSeconds)),
  }
}

/** Of what should be compared as factors. Throws a RangeError when there is nothing. */
export function geometricMean(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError('nothing was measured')
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length)
}

export interface Timing {
  readonly wallSeconds: number
  readonly cpuSeconds: number
  /** Million guest instructions a second of host time. */
  readonly mips: number | null
}

/** Medians over rounds and sessions. Null if that side did not do that workload. */
export function timingOf(samples: readonly Sample[], workload: string, side: string): Timing | null {
  const here = samples.filter((sample) => sample.workload === workload)
  const own = here.filter((sample) => sample.side === side)
  if (own.length === 0) return null
  const median = (values: readonly number[]) => summarize(values).median
  const wallSeconds = median(own.map((sample) => sample.wallSeconds))
  // They are the same on every side but for the timer interrupts met, and the sides that count are right about them.
  const retired = here.flatMap((sample) => sample.retired ?? [])
  return {
    wallSeconds,
    cpuSeconds: median(own.map((sample) => sample.cpuSeconds)),
    mips: retired.length === 0 ? null : median(retired) / wallSeconds / 1e6,
  }
}
