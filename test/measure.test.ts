/** What the measurements stand on: programs that compute what they claim, and sums over runs. */
import { describe, expect, it } from 'vitest'
import { bareProgram, type Kernel } from '../bench/bare-program.ts'
import { INTEGER_KERNELS } from '../bench/kernels-integer.ts'
import { MIXED_KERNELS } from '../bench/kernels-mixed.ts'
import { drawLagChart } from '../bench/lag-chart.ts'
import { formatFigure } from '../bench/report.ts'
import { quantile, summarize } from '../bench/statistics.ts'
import type { Engine } from '../src/machine/computer.ts'
import { createMachine } from '../src/machine/create.ts'

const KERNELS = [...INTEGER_KERNELS, ...MIXED_KERNELS]
const ENGINES: readonly Engine[] = ['interpreter', 'regions']
const REPEATS = 2
const INSTRUCTIONS_MAX = 50_000_000

/** Runs a program to its end and returns its exit status. */
function exitStatus(kernel: Kernel, engine: Engine): number {
  const boot = { kind: 'bare', elf: bareProgram(kernel, REPEATS) } as const
  const memoryBytes = 64 * 1024 * 1024
  const machine = createMachine(
    { memoryBytes, boot, nics: [], disks: [], rngSeed: new Uint8Array(32) },
    { engine, hotThreshold: 1 },
  )
  machine.beginSlice({ clock: 0n, clockRate: 0, inputs: [] })
  machine.run(INSTRUCTIONS_MAX)
  const power = machine.takeOutputs().find((output) => output.kind === 'power')
  if (power === undefined) throw new Error(`${kernel.name} has not ended`)
  return power.exitStatus
}

describe.each(KERNELS)('the kernel $name', (kernel) => {
  it.each(ENGINES)('computes what it claims (%s)', (engine) => {
    expect(exitStatus(kernel, engine)).toBe(0)
  })

  it('notices a wrong result', () => {
    expect(
      exitStatus({ ...kernel, expected: kernel.expected ^ 1n, emit: (asm) => kernel.emit(asm) }, 'regions'),
    ).toBe(1)
  })
})

describe('the chart of the lag', () => {
  const moment = (atMs: number, lagMs: number, share: number) => ({
    atMs,
    lagMs,
    share,
    retired: 0,
    requests: 0,
  })

  it('has every moment in its place, and an axis as high as the lag', () => {
    const moments = [moment(-1_000, 0, 1), moment(0, 500, 0.5), moment(3_000, 2_600, 0.25)]
    const svg = drawLagChart([{ load: 'cpu', moments, freedAtMs: 2_000 }], 0.25)
    const points = [...svg.matchAll(/points="([^"]+)"/g)].map((match) =>
      match[1].split(' ').map((at) => at.split(',')),
    )
    expect(points.map((line) => line.length)).toEqual([3, 3])
    const [lags, shares] = points.map((line) => line.map(([, y]) => Number(y)))
    expect(lags[0] - lags[1]).toBeCloseTo((lags[0] - lags[2]) * (500 / 2_600), 0)
    expect(shares[2] - shares[0]).toBeCloseTo((shares[1] - shares[0]) * 1.5, 0)
    expect(svg).toContain('>3000<')
  })

  it('needs something to show', () => {
    expect(() => drawLagChart([], 0.25)).toThrow(RangeError)
  })
})

describe('figures', () => {
  it('are medians with their spread', () => {
    expect(summarize([5, 1, 4])).toEqual({ count: 3, median: 4, least: 1, greatest: 5 })
    expect(summarize([4, 1]).median).toBe(2.5)
    expect(quantile([0, 10, 20, 30, 40], 0.9)).toBeCloseTo(36)
    expect(() => summarize([])).toThrow('nothing was measured')
  })

  it('are printed with three digits, whole numbers whole', () => {
    expect([0, 7, 1234, 1234.5, 12.345, 0.12345, 0.00001].map(formatFigure)).toEqual([
      ...['0', '7', '1234', '1235', '12.3', '0.123', '0.000'],
    ])
  })
})
