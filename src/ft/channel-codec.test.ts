import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ChannelDecoder, encodeMessage, MESSAGE_BYTES_MAX } from './channel-codec.ts'
import { decodeHeartbeat, encodeHeartbeat, HEARTBEAT_BYTES_MAX, PAIR_KEY_BYTES } from './heartbeat-codec.ts'
import type { ByeReason, ChannelMessage, Heartbeat, Role } from './messages.ts'
import { PROTOCOL_VERSION } from './messages.ts'
import { ProtocolInvariantError } from './protocol-error.ts'
import { WireError } from './wire-error.ts'

const integer = fc.maxSafeNat()
const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 })
const role = fc.constantFrom<Role>('primary', 'backup')
const reason = fc.constantFrom<ByeReason>('stop', 'unprotect', 'failover', 'diverged', 'refused')

const message: fc.Arbitrary<ChannelMessage> = fc.oneof(
  fc.record({
    kind: fc.constant('hello' as const),
    version: fc.nat(255),
    vm: name,
    generation: integer,
    role,
    replica: name,
    sequence: integer,
    logBytesMax: integer,
  }),
  fc.record({
    kind: fc.constant('frame' as const),
    sequence: integer,
    releasedSequence: integer,
    powerOff: fc.boolean(),
    payload: fc.uint8Array({ maxLength: 300 }),
  }),
  fc.record({ kind: fc.constant('ack' as const), receivedSequence: integer, executedSequence: integer }),
  fc.record({ kind: fc.constant('bind' as const), sequence: integer }),
  fc.record({
    kind: fc.constant('control' as const),
    number: integer,
    paused: fc.boolean(),
    shareMax: fc.integer({ min: 500, max: 10_000 }).map((steps) => steps / 10_000),
  }),
  fc.record({ kind: fc.constant('control-ack' as const), number: integer }),
  fc.record({ kind: fc.constantFrom('bye' as const, 'bye-ack' as const), reason }),
)

const heartbeat: fc.Arbitrary<Heartbeat> = fc.record({
  version: fc.constant(PROTOCOL_VERSION),
  vm: name,
  generation: integer,
  role,
  replica: name,
  sequence: integer,
  sentAtMs: fc.double({ noNaN: true, noDefaultInfinity: true }),
  echoMs: fc.double({ noNaN: true, noDefaultInfinity: true }),
  releasedSequence: integer,
})

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]))
}

/** The stable code of the WireError that `run` throws. */
function codeOf(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    if (error instanceof WireError) return error.code
    throw error
  }
  return 'none'
}

describe('the logging channel', () => {
  test('messages survive, however the stream is cut into pieces', () => {
    fc.assert(
      fc.property(
        fc.array(message, { maxLength: 6 }),
        fc.array(fc.nat(60), { maxLength: 40 }),
        (sent, cuts) => {
          const stream = concatenate(sent.map(encodeMessage))
          const decoder = new ChannelDecoder()
          const got: ChannelMessage[] = []
          let offset = 0
          for (const cut of cuts) {
            got.push(...decoder.push(stream.subarray(offset, offset + cut)))
            offset += cut
          }
          got.push(...decoder.push(stream.subarray(offset)))
          expect(got).toEqual(sent)
          expect(decoder.pendingBytes).toBe(0)
        },
      ),
    )
  })

  test('a torn last message is never returned', () => {
    fc.assert(
      fc.property(message, message, fc.nat(), (whole, torn, at) => {
        const last = encodeMessage(torn)
        const decoder = new ChannelDecoder()
        const got = decoder.push(concatenate([encodeMessage(whole), last.subarray(0, at % last.length)]))
        expect(got).toEqual([whole])
      }),
    )
  })

  test('one altered byte after the length word is refused, never misread', () => {
    fc.assert(
      fc.property(message, fc.nat(), fc.integer({ min: 1, max: 255 }), (sent, at, flip) => {
        const bytes = encodeMessage(sent)
        const index = 4 + (at % (bytes.length - 4))
        bytes[index] = bytes[index]! ^ flip
        expect(() => new ChannelDecoder().push(bytes)).toThrow(WireError)
      }),
    )
  })

  test('a bye does not become a bye-ack by one altered bit', () => {
    const bytes = encodeMessage({ kind: 'bye', reason: 'stop' })
    bytes[9] = encodeMessage({ kind: 'bye-ack', reason: 'stop' })[9]!
    expect(codeOf(() => new ChannelDecoder().push(bytes))).toBe('FT_MESSAGE_CHECKSUM')
  })

  test('a limit out of its bounds is refused', () => {
    for (const shareMax of [0, 0.0499, 1.0001, 400_000]) {
      const bytes = encodeMessage({ kind: 'control', number: 1, paused: false, shareMax })
      expect(codeOf(() => new ChannelDecoder().push(bytes))).toBe('FT_MESSAGE_FIELDS')
    }
  })

  test('a length beyond the limit is refused before anything is allocated for it', () => {
    const bytes = new Uint8Array(4)
    new DataView(bytes.buffer).setUint32(0, MESSAGE_BYTES_MAX)
    expect(codeOf(() => new ChannelDecoder().push(bytes))).toBe('FT_MESSAGE_LENGTH')
    expect(codeOf(() => new ChannelDecoder().push(new Uint8Array(4)))).toBe('FT_MESSAGE_LENGTH')
  })

  test('a frame too long is refused where it is made', () => {
    const payload = new Uint8Array(MESSAGE_BYTES_MAX)
    const frame = { kind: 'frame', sequence: 1, releasedSequence: 0, powerOff: false, payload } as const
    expect(codeOf(() => encodeMessage(frame))).toBe('FT_MESSAGE_LENGTH')
  })

  test('another protocol and another version have codes of their own', () => {
    const other = encodeMessage({ kind: 'bye', reason: 'stop' })
    other[4] = 0
    expect(codeOf(() => new ChannelDecoder().push(other))).toBe('FT_MESSAGE_MAGIC')
    const newer = encodeMessage({ kind: 'bye', reason: 'stop' })
    newer[8] = PROTOCOL_VERSION + 1
    expect(codeOf(() => new ChannelDecoder().push(newer))).toBe('FT_MESSAGE_VERSION')
  })

  test('nonsense never does worse than throw a WireError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
        const code = codeOf(() => new ChannelDecoder().push(noise))
        expect(code === 'none' || code.startsWith('FT_MESSAGE_')).toBe(true)
      }),
    )
  })
})

describe('heartbeats', () => {
  const KEY = Uint8Array.from({ length: PAIR_KEY_BYTES }, (_, i) => i)

  test('are believed only with the very key they were made with', () => {
    fc.assert(
      fc.property(heartbeat, fc.nat(PAIR_KEY_BYTES - 1), fc.nat(7), (sent, at, bit) => {
        const other = KEY.slice()
        other[at]! ^= 1 << bit
        expect(codeOf(() => decodeHeartbeat(encodeHeartbeat(sent, other), KEY))).toBe('FT_MESSAGE_FORGED')
      }),
    )
  })

  test('are neither made nor read with a key of another length', () => {
    const sent = fc.sample(heartbeat, { numRuns: 1, seed: 1 })[0]!
    const datagram = encodeHeartbeat(sent, KEY)
    for (const length of [0, 16, 31, 33]) {
      expect(() => encodeHeartbeat(sent, new Uint8Array(length))).toThrow(ProtocolInvariantError)
      expect(() => decodeHeartbeat(datagram, new Uint8Array(length))).toThrow(ProtocolInvariantError)
    }
  })

  test('survive a round trip, and the longest names fit', () => {
    fc.assert(
      fc.property(heartbeat, (sent) => {
        expect(decodeHeartbeat(encodeHeartbeat(sent, KEY), KEY)).toEqual(sent)
      }),
    )
    const long = 'x'.repeat(255)
    const datagram = encodeHeartbeat(
      {
        version: PROTOCOL_VERSION,
        vm: long,
        generation: 1,
        role: 'backup',
        replica: long,
        sequence: 1,
        sentAtMs: 0.5,
        echoMs: -1,
        releasedSequence: 0,
      },
      KEY,
    )
    expect(datagram.length).toBeLessThanOrEqual(HEARTBEAT_BYTES_MAX)
  })

  test('an altered, cut or lengthened datagram is refused', () => {
    fc.assert(
      fc.property(heartbeat, fc.nat(), fc.integer({ min: 1, max: 255 }), (sent, at, flip) => {
        const datagram = encodeHeartbeat(sent, KEY)
        expect(() => decodeHeartbeat(datagram.subarray(0, at % datagram.length), KEY)).toThrow(WireError)
        expect(() => decodeHeartbeat(concatenate([datagram, Uint8Array.of(0)]), KEY)).toThrow(WireError)
        const index = at % datagram.length
        datagram[index] = datagram[index]! ^ flip
        expect(() => decodeHeartbeat(datagram, KEY)).toThrow(WireError)
      }),
    )
  })
})
