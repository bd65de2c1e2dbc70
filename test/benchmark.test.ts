/** What the benchmarks stand on: times taken between lines, ratios within a round, and what is drawn of them. */
import { PassThrough } from 'node:stream'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type BenchmarkReport, benchmarkJson, formatBenchmark } from '../bench/benchmark-report.ts'
import { drawChart } from '../bench/chart.ts'
import { compare, geometricMean, timingOf } from '../bench/comparisons.ts'
import { GuestConsole } from '../bench/guest-console.ts'
import { askFor, type Sample } from '../bench/samples.ts'
import type { RunningSide } from '../bench/sides.ts'
import { WORKLOADS } from '../bench/workloads.ts'

const TRANSCRIPT =
  'boot\r\n@ready\r\n@begin core\r\nnoise\r\n@end core 00ff\r\n@begin fork\r\n@end fork 12\r\n'

function sample(side: string, round: number, wallSeconds: number, more: Partial<Sample> = {}): Sample {
  const rest = { workload: 'core', session: 'live', cpuSeconds: wallSeconds / 2, retired: null, result: 'ff' }
  return { ...(rest as Sample), side, round, wallSeconds, ...more }
}

function pipe() {
  const output = new PassThrough()
  const input = new PassThrough()
  const guest = new GuestConsole('a guest', output, input, () => 'out of memory')
  return { output, input, guest }
}

describe('the console of a guest', () => {
  it('finds lines however they arrive in pieces', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 30 }), async (lengths) => {
        const { output, guest } = pipe()
        let at = 0
        for (const length of lengths) {
          output.write(TRANSCRIPT.slice(at, at + length))
          at += length
        }
        output.write(TRANSCRIPT.slice(at))
        const ready = await guest.marker('@ready', 0)
        const begin = await guest.marker('@begin ', ready.end)
        const end = await guest.marker('@end ', begin.end)
        expect(end.line).toBe('@end core 00ff')
        guest.forget(end.end)
        expect((await guest.marker('@begin ', end.end)).line).toBe('@begin fork')
        expect(guest.has('@ready', 0)).toBe(false)
        expect(TRANSCRIPT.slice(0, end.end).endsWith('00ff\r\n')).toBe(true)
      }),
    )
  })

  it('gives a line the time at which it arrived, however late it is asked for', async () => {
    const { output, guest } = pipe()
    output.write('\n@begin core\n')
    await guest.marker('@begin ', 0)
    const beforeMs = performance.now()
    output.write('@end core 1\n')
    await new Promise(setImmediate)
    const afterMs = performance.now()
    output.write('@ready\n')
    await guest.marker('@ready', 0)
    const { atMs } = await guest.marker('@end ', 0)
    expect(atMs).toBeGreaterThanOrEqual(beforeMs)
    expect(atMs).toBeLessThanOrEqual(afterMs)
  })

  it('says what the machine complained of when it ends', async () => {
    const { output, guest } = pipe()
    output.end('\nhalf a li')
    await expect(guest.marker('@ready', 0)).rejects.toThrow(/a guest: no @ready.*half a li\nout of memory/s)
  })
})

describe('a workload', () => {
  const core = WORKLOADS.find(({ name }) => name === 'core')!

  it.each([
    ['of another name', '\n@begin fork\n@end fork 1\n', /did fork instead of core/],
    ['that failed', '\n@begin core\n@end core failed: no space\n', /core on toy: failed: no space/],
  ])('%s is no measurement', async (_, answer, complaint) => {
    const { output, input, guest } = pipe()
    const running: RunningSide = {
      console: guest,
      pids: [process.pid],
      retired: async () => null,
      close: async () => undefined,
    }
    input.once('data', (typed: Buffer) => {
      expect(typed.toString()).toBe('core 7\n')
      output.write(answer)
    })
    const turn = { side: 'toy', workload: core, round: 1, session: 'live' } as const
    await expect(askFor({ running, position: 0 }, turn, 7)).rejects.toThrow(complaint)
  })

  it('has a name of its own', () => {
    expect(new Set(WORKLOADS.map(({ name }) => name)).size).toBe(WORKLOADS.length)
  })
})

describe('ratios', () => {
  it('are of samples of the same round and session', () => {
    const samples = [
      ...[sample('plain', 1, 2), sample('qemu', 1, 3), sample('plain', 2, 1), sample('qemu', 2, 4)],
      ...[sample('record', 1, 2, { session: 'replay' }), sample('replay', 1, 1, { session: 'replay' })],
    ]
    const [plain, replay, ...rest] = compare(samples, ['core'])
    expect(plain).toMatchObject({ side: 'plain', reference: 'qemu', meanWall: 2.75 })
    expect(plain.ratios[0].wall).toEqual({ count: 2, median: 2.75, least: 1.5, greatest: 4 })
    expect(replay).toMatchObject({ side: 'replay', reference: 'record', meanWall: 2, meanCpu: 2 })
    expect(rest).toEqual([])
  })

  it('by CPU time leave out what is below its resolution', () => {
    const samples = [sample('plain', 1, 1, { cpuSeconds: 0 }), sample('qemu', 1, 1)]
    expect(compare(samples, ['core'])[0]).toMatchObject({ meanWall: 1, meanCpu: null })
  })

  it('are averaged as factors', () => {
    expect(geometricMean([0.5, 2])).toBeCloseTo(1)
    expect(() => geometricMean([])).toThrow('nothing was measured')
  })

  it('of instructions and time take the count from whoever counts', () => {
    const samples = [sample('plain', 1, 2, { retired: 1e9 }), sample('qemu', 1, 4)]
    expect(timingOf(samples, 'core', 'qemu')).toEqual({ wallSeconds: 4, cpuSeconds: 2, mips: 250 })
    expect(timingOf(samples, 'fork', 'qemu')).toBeNull()
  })
})

describe('what is left', () => {
  const samples = [sample('plain', 1, 1, { retired: 2e9 }), sample('qemu', 1, 1.5)]
  const report: BenchmarkReport = {
    circumstances: {
      cpu: 'a <CPU>',
      cores: 2,
      loadBefore: 0.1,
      node: 'v26',
      date: '2026-01-02T',
      commit: 'abc',
    },
    versions: { QEMU: '7.2', Linux: '6.12' },
    ...{ quick: false, rounds: 1, sides: ['plain', 'qemu'], workloads: ['core'], notes: [], samples },
    comparisons: compare(samples, ['core']),
  }

  it('has times, guest MIPS and ratios in tables', () => {
    const text = formatBenchmark(report)
    expect(text).toMatch(/core +1 +1\.50\n/)
    expect(text).toMatch(/core +2000 +1333\n/)
    expect(text).toMatch(/core +1\.50 \(1\.50-1\.50\)/)
    expect(text).toMatch(/aim, at least +1\.3, each 0\.7/)
  })

  it('is JSON with every sample', () => {
    expect(JSON.parse(benchmarkJson(report))).toEqual(report)
  })

  it('is drawn with machine, date and commit, well formed', () => {
    const drawn = drawChart(report)
    for (const word of ['a &lt;CPU>', '2026-01-02', 'commit abc', 'geometric mean 1.50'])
      expect(drawn).toContain(word)
    expect(drawn).not.toMatch(/NaN|undefined|Infinity/)
    const open = [...drawn.matchAll(/<([a-z]+)[^>]*?(\/?)>/g)].filter(([, , closed]) => closed === '')
    const close = [...drawn.matchAll(/<\/([a-z]+)>/g)]
    expect(open.map(([, name]) => name).sort()).toEqual(close.map(([, name]) => name).sort())
  })
})
