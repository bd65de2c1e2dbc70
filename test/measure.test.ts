/** What the measurements stand on: programs that compute what they claim, and sums over runs. */
import { describe, expect, it } from 'vitest'
import { bareProgram, type Kernel } from '../bench/bare-program.ts'
import { INTEGER_KERNELS } from '../bench/kernels-integer.ts'
import { MIXED_KERNELS } from '../bench/kernels-mixed.ts'
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
