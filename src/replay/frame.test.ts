import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { MachineInput } from '../machine/io.ts'
import { FrameError } from './errors.ts'
import {
  CURSOR_AT_START,
  FRAME_BODY_BYTES_MAX,
  FrameDecoder,
  FrameEncoder,
  inputBytesMax,
  type LogFrame,
  SLICE_RETIRED_MAX,
} from './frame.ts'

const bytes = fc.uint8Array({ maxLength: 200 })

const input: fc.Arbitrary<MachineInput> = fc.oneof(
  fc.record({ kind: fc.constant('net-rx' as const), nic: fc.nat(255), frame: bytes }),
  fc.record({
    kind: fc.constant('console-rx' as const),
    port: fc.constantFrom('uart' as const, 'virtio' as const),
    data: bytes,
  }),
  fc.record({ kind: fc.constant('entropy' as const), data: bytes }),
  fc.record({
    kind: fc.constant('generation' as const),
    data: fc.uint8Array({ minLength: 16, maxLength: 16 }),
  }),
  fc.constant({ kind: 'reset' as const }),
  fc.record({
    kind: fc.constant('disk-complete' as const),
    disk: fc.nat(255),
    id: fc.maxSafeNat(),
    ok: fc.boolean(),
    data: bytes,
  }),
)

const u64 = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n })

/** A log from power-on: numbered, with a clock that does not run back. */
const log: fc.Arbitrary<LogFrame[]> = fc
  .array(
    fc.record({
      clockStep: fc.bigInt({ min: 0n, max: 1n << 40n }),
      clockRate: fc.constantFrom(0, 1, 107_374_182, 0xffff_ffff),
      inputs: fc.array(input, { maxLength: 5 }),
      retired: fc.nat(SLICE_RETIRED_MAX),
      reason: fc.constantFrom('budget' as const, 'idle' as const, 'output' as const, 'halted' as const),
      digest: u64,
      fullDigest: fc.option(u64),
    }),
    { minLength: 1, maxLength: 8 },
  )
  .map((slices) => {
    let clock = 0n
    return slices.map(({ clockStep, ...slice }, sequence) => {
      clock += clockStep
      return { ...slice, sequence, clock }
    })
  })

function encodeAll(frames: readonly LogFrame[]): Uint8Array {
  const encoder = new FrameEncoder()
  return Buffer.concat(frames.map((frame) => encoder.encode(frame)))
}

/** Every frame until the bytes end or fail; `error` if they failed. */
function decodeAll(encoded: Uint8Array): { frames: LogFrame[]; rest: number; error: FrameError | null } {
  const decoder = new FrameDecoder()
  const frames: LogFrame[] = []
  let offset = 0
  for (;;) {
    try {
      const decoded = decoder.decode(encoded, offset)
      if (decoded.kind !== 'frame') return { frames, rest: encoded.length - offset, error: null }
      frames.push(decoded.frame)
      offset = decoded.nextOffset
    } catch (error) {
      if (!(error instanceof FrameError)) throw error
      return { frames, rest: encoded.length - offset, error }
    }
  }
}

const idleWakeUp: LogFrame = {
  sequence: 0,
  clock: 0n,
  clockRate: 107_374_182,
  inputs: [],
  retired: 0,
  reason: 'idle',
  digest: 0xfedc_ba98_7654_3210n,
  fullDigest: null,
}

describe('log frames', () => {
  it('come back as they went in', () => {
    fc.assert(
      fc.property(log, (frames) => {
        expect(decodeAll(encodeAll(frames))).toEqual({ frames, rest: 0, error: null })
      }),
    )
  })

  it('cost at most 24 bytes for a wake-up of an idle guest', () => {
    const encoder = new FrameEncoder()
    encoder.encode(idleWakeUp)
    const afterSeconds = 20
    const wakeUp = {
      ...idleWakeUp,
      sequence: 1,
      clock: BigInt(afterSeconds * 10_000_000),
      retired: 1_500_000,
    }
    expect(encoder.encode(wakeUp).length).toBeLessThanOrEqual(24)
  })

  it('cut at any byte yield the whole frames before the cut and nothing else', () => {
    fc.assert(
      fc.property(log, (frames) => {
        const encoded = encodeAll(frames)
        const cut = decodeAll(encoded)
        for (let length = 0; length <= encoded.length; length++) {
          const result = decodeAll(encoded.subarray(0, length))
          expect(result.error).toBeNull()
          expect(result.frames).toEqual(cut.frames.slice(0, result.frames.length))
          expect(encodeAll(result.frames).length).toBe(length - result.rest)
          if (result.frames.length < frames.length) {
            const next = new FrameEncoder()
            for (const frame of result.frames) next.encode(frame)
            expect(result.rest).toBeLessThan(next.encode(frames[result.frames.length]).length)
          }
        }
      }),
      { numRuns: 10 },
    )
  })

  it('with any bit flipped are refused at that frame, the ones before it intact', () => {
    fc.assert(
      fc.property(log, fc.nat(), (frames, seed) => {
        const encoded = encodeAll(frames)
        const bit = seed % (encoded.length * 8)
        const altered = Uint8Array.from(encoded)
        altered[bit >> 3] ^= 1 << (bit & 7)
        const result = decodeAll(altered)
        expect(result.error?.code).toBe('FRAME_CORRUPT')
        expect(result.error?.offset).toBe(encoded.length - result.rest)
        expect(result.frames).toEqual(frames.slice(0, result.frames.length))
      }),
      { numRuns: 300 },
    )
  })

  it('never crash the reader, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (garbage) => {
        expect(decodeAll(garbage).frames.length).toBeLessThanOrEqual(garbage.length / 18)
      }),
      { numRuns: 1000 },
    )
  })

  it('that are lost, repeated or swapped do not pass', () => {
    const first = new FrameEncoder()
    const frames = [0, 1, 2].map((sequence) => first.encode({ ...idleWakeUp, sequence }))
    for (const order of [
      [1, 2],
      [0, 0],
      [0, 2, 1],
    ]) {
      const { error } = decodeAll(Buffer.concat(order.map((index) => frames[index])))
      expect(error?.code).toBe('FRAME_CORRUPT')
    }
  })

  it('may start anywhere when both sides hold the cursor', () => {
    const encoder = new FrameEncoder()
    encoder.encode({ ...idleWakeUp, clock: 77n })
    const decoder = new FrameDecoder(encoder.cursor)
    const frame = { ...idleWakeUp, sequence: 1, clock: 99n }
    expect(decoder.decode(encoder.encode(frame))).toMatchObject({ kind: 'frame', frame })
    expect(decoder.cursor).toEqual(encoder.cursor)
  })

  it('refuse to be encoded out of order, and the encoder goes on unharmed', () => {
    const encoder = new FrameEncoder()
    encoder.encode({ ...idleWakeUp, clock: 100n })
    for (const wrong of [
      { sequence: 2, clock: 100n },
      { sequence: 1, clock: 99n },
      { sequence: 1, clock: 100n, retired: SLICE_RETIRED_MAX + 1 },
      { sequence: 1, clock: 100n, clockRate: -1 },
    ]) {
      expect(() => encoder.encode({ ...idleWakeUp, ...wrong })).toThrowError(
        expect.objectContaining({ code: 'FRAME_OUT_OF_ORDER' }),
      )
    }
    expect(encoder.cursor.sequence).toBe(1)
  })

  it('longer than the limit are refused', () => {
    const data = new Uint8Array(FRAME_BODY_BYTES_MAX)
    const frame: LogFrame = { ...idleWakeUp, inputs: [{ kind: 'entropy', data }] }
    expect(() => new FrameEncoder().encode(frame)).toThrowError(
      expect.objectContaining({ code: 'FRAME_TOO_LONG' }),
    )
  })

  it('take no more bytes for an input than inputBytesMax says', () => {
    fc.assert(
      fc.property(input, (one) => {
        const without = new FrameEncoder().encode(idleWakeUp).length
        const withOne = new FrameEncoder().encode({ ...idleWakeUp, inputs: [one] }).length
        expect(withOne - without - 1).toBeLessThanOrEqual(inputBytesMax(one))
      }),
    )
  })

  it('start at power-on with the cursor all zero', () => {
    expect(new FrameDecoder().cursor).toEqual(CURSOR_AT_START)
  })
})
