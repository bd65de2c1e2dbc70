import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { MachineInput } from '../machine/io.ts'
import { DivergenceError } from './errors.ts'
import type { LogFrame } from './frame.ts'
import { Recorder } from './recorder.ts'
import { Replayer } from './replayer.ts'
import { ToyMachine } from './testing/toy-machine.ts'

/** What the host might do in a slice: let time pass, type something, run it in pieces and cut it short. */
const host = fc.array(
  fc.record({
    clockStep: fc.bigInt({ min: 0n, max: 60n }),
    clockRate: fc.constantFrom(0, 0x2000_0000, 0xffff_ffff),
    typed: fc.option(fc.uint8Array({ maxLength: 4 })),
    budget: fc.integer({ min: 1, max: 50 }),
    runBudget: fc.integer({ min: 1, max: 20 }),
    interrupted: fc.boolean(),
    fullDigest: fc.boolean(),
  }),
  { minLength: 5, maxLength: 60 },
)

type Host = typeof host extends fc.Arbitrary<infer Steps> ? Steps : never

const HALT_AT = 400

function record(steps: Host, machine = new ToyMachine(HALT_AT)) {
  const recorder = new Recorder(machine)
  const frames: LogFrame[] = []
  const outputs: unknown[] = []
  for (const step of steps) {
    const inputs: MachineInput[] = step.typed ? [{ kind: 'console-rx', port: 'uart', data: step.typed }] : []
    const clock = machine.guestClock() + step.clockStep
    const slice = recorder.record({ ...step, clock, inputs }, () => step.interrupted)
    frames.push(slice.frame)
    outputs.push(...slice.outputs)
  }
  return { machine, frames, outputs }
}

function replay(frames: readonly LogFrame[], machine: ToyMachine, maxRunInstructions?: number) {
  const replayer = new Replayer(machine, maxRunInstructions === undefined ? {} : { maxRunInstructions })
  return frames.flatMap((frame) => replayer.replay(frame))
}

describe('recording and replaying', () => {
  it('reach the same state and make the same outputs, in run calls of any length', () => {
    fc.assert(
      fc.property(host, fc.integer({ min: 1, max: 60 }), (steps, maxRunInstructions) => {
        const { machine, frames, outputs } = record(steps)
        for (const length of [undefined, maxRunInstructions, 1]) {
          const copy = new ToyMachine(HALT_AT)
          expect(replay(frames, copy, length)).toEqual(outputs)
          expect(copy.retired).toBe(machine.retired)
          expect(copy.fullDigest()).toBe(machine.fullDigest())
          expect(copy.halted).toBe(machine.halted)
        }
      }),
    )
  })

  it('go to the power-off, whose frame says so', () => {
    const machine = new ToyMachine(50)
    const recorder = new Recorder(machine)
    const frames: LogFrame[] = []
    while (!machine.halted) {
      const clock = machine.timerDeadline() ?? machine.guestClock()
      const order = { clock, clockRate: 0, inputs: [], budget: 9, runBudget: 4, fullDigest: false }
      frames.push(recorder.record(order).frame)
    }
    expect(frames.at(-1)).toMatchObject({ reason: 'halted' })
    expect(frames.reduce((sum, frame) => sum + frame.retired, 0)).toBe(50)
    expect(replay(frames, new ToyMachine(50)).at(-1)).toEqual({ kind: 'power', action: 'off', exitStatus: 7 })
  })

  it('notice a machine that does one thing otherwise, at the end of that very frame', () => {
    fc.assert(
      fc.property(host, fc.nat(HALT_AT), (steps, lieAt) => {
        const { machine, frames } = record(steps)
        fc.pre(machine.retired > BigInt(lieAt))
        let retired = 0
        const guilty = frames.find((frame) => {
          retired += frame.retired
          return retired > lieAt
        })!
        try {
          replay(frames, new ToyMachine(HALT_AT, lieAt))
          expect.unreachable('the lie was not noticed')
        } catch (error) {
          expect(error).toBeInstanceOf(DivergenceError)
          expect(error).toMatchObject({
            code: 'REPLAY_DIVERGED',
            sequence: guilty.sequence,
            retired: BigInt(retired),
            compared: 'digest',
          })
        }
      }),
    )
  })

  it('notice an altered clock, input, count and power state', () => {
    const data = Uint8Array.of(65)
    const { frames } = record([
      {
        clockStep: 1n,
        clockRate: 0,
        typed: data,
        budget: 12,
        runBudget: 12,
        interrupted: false,
        fullDigest: true,
      },
    ])
    const [frame] = frames
    expect(frame).toMatchObject({ retired: 1, reason: 'idle' })
    const compared = (altered: Partial<LogFrame>) => {
      try {
        replay([{ ...frame, ...altered }], new ToyMachine(HALT_AT))
        return null
      } catch (error) {
        if (error instanceof DivergenceError) return error.compared
        throw error
      }
    }
    expect(compared({})).toBeNull()
    expect(compared({ clock: frame.clock + 1n })).toBe('digest')
    expect(compared({ inputs: [] })).toBe('digest')
    expect(compared({ retired: 2 })).toBe('retired count')
    expect(compared({ reason: 'halted' })).toBe('power state')
    expect(compared({ fullDigest: 0n })).toBe('full digest')
  })

  it('refuse a frame that is not the next one', () => {
    const { frames } = record([
      {
        clockStep: 1n,
        clockRate: 0,
        typed: null,
        budget: 1,
        runBudget: 1,
        interrupted: false,
        fullDigest: false,
      },
    ])
    expect(() => replay([frames[0], frames[0]], new ToyMachine(HALT_AT))).toThrowError(
      expect.objectContaining({ code: 'FRAME_OUT_OF_ORDER' }),
    )
  })
})
