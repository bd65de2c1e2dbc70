import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CONNECTIONS_MAX, DUPLICATE_INTERVAL_MS, WINDOW_BYTES_MAX, WindowLimit } from './window-limit.ts'

const SYN = 2
const ACK = 16

interface SegmentOptions {
  readonly flags?: number
  readonly acknowledgement?: number
  readonly window?: number
  readonly payloadBytes?: number
  readonly options?: readonly number[]
  readonly port?: number
}

function onesComplement(bytes: readonly number[]): number {
  let sum = 0
  for (let at = 0; at < bytes.length; at += 2) sum += bytes[at]! * 256 + (bytes[at + 1] ?? 0)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return ~sum & 0xffff
}

/** The checksum that the segment in a frame ought to have. */
function rightChecksum(frame: Uint8Array): number {
  const segment = [...frame.subarray(34)]
  segment[16] = 0
  segment[17] = 0
  const half = (value: number) => [value >>> 8, value & 0xff]
  return onesComplement([...frame.subarray(26, 34), 0, 6, ...half(segment.length), ...segment])
}

function segment({
  flags = ACK,
  acknowledgement = 1,
  window = 1000,
  payloadBytes = 0,
  options = [],
  port = 6379,
}: SegmentOptions): Uint8Array {
  const headerBytes = 20 + options.length
  const frame = new Uint8Array(34 + headerBytes + payloadBytes).fill(0x5a, 34 + headerBytes)
  const view = new DataView(frame.buffer)
  view.setUint16(12, 0x0800)
  view.setUint8(14, 0x45)
  view.setUint16(16, 20 + headerBytes + payloadBytes)
  view.setUint8(23, 6)
  frame.set([10, 0, 2, 15, 10, 0, 2, 2], 26)
  view.setUint16(34, port)
  view.setUint16(36, 40_000)
  view.setUint32(38, 77)
  view.setUint32(42, acknowledgement)
  view.setUint8(46, (headerBytes / 4) << 4)
  view.setUint8(47, flags)
  view.setUint16(48, window)
  frame.set(options, 54)
  view.setUint16(50, rightChecksum(frame))
  return frame
}

const scale = (shift: number) => [2, 4, 5, 180, 1, 3, 3, shift]
const windowOf = (frame: Uint8Array) => new DataView(frame.buffer).getUint16(48)
const checksumOf = (frame: Uint8Array) => new DataView(frame.buffer).getUint16(50)

/** A limit that has seen a connection begin. */
function opened(shift: number): WindowLimit {
  const limit = new WindowLimit()
  expect(limit.admits(segment({ flags: SYN | ACK, window: 0xffff, options: scale(shift) }), 0)).toBe(true)
  return limit
}

describe('windows', () => {
  test('are limited by the scale of their connection, with the right checksum', () => {
    fc.assert(
      fc.property(fc.nat(14), fc.nat(0xffff), fc.nat(3000), (shift, window, payloadBytes) => {
        const frame = segment({ window, payloadBytes })
        const before = frame.slice()
        expect(opened(shift).admits(frame, 1)).toBe(true)
        expect(windowOf(frame)).toBe(Math.min(window, Math.floor(WINDOW_BYTES_MAX / 2 ** shift)))
        expect(checksumOf(frame)).toBe(rightChecksum(frame))
        // Nothing else is touched.
        for (const at of [48, 49, 50, 51]) frame[at] = before[at]!
        expect(frame).toEqual(before)
      }),
    )
  })

  test('of a SYN, and of connections whose beginning was not seen, stay', () => {
    const syn = segment({ flags: SYN, window: 0xffff, options: scale(7) })
    new WindowLimit().admits(syn, 0)
    expect(windowOf(syn)).toBe(0xffff)
    const frame = segment({ window: 0xffff })
    expect(new WindowLimit().admits(frame, 0)).toBe(true)
    expect(windowOf(frame)).toBe(0xffff)
    const other = segment({ window: 0xffff, port: 80 })
    expect(opened(7).admits(other, 0)).toBe(true)
    expect(windowOf(other)).toBe(0xffff)
  })

  test('of a connection without a scale, or with options that are none, are 64 KiB at most anyway', () => {
    for (const options of [[], [1, 1, 1, 1], [0, 0, 0, 0], [9, 0, 0, 0], [3, 9, 1, 0], [1, 1, 1, 3]]) {
      const limit = new WindowLimit()
      limit.admits(segment({ flags: SYN, options }), 0)
      const frame = segment({ window: 0xffff })
      expect(limit.admits(frame, 0)).toBe(true)
      expect(windowOf(frame)).toBe(0xffff)
    }
  })
})

describe('duplicate acknowledgements', () => {
  test('pass one at a time', () => {
    const limit = opened(7)
    expect(limit.admits(segment({ acknowledgement: 5 }), 0)).toBe(true)
    expect(limit.admits(segment({ acknowledgement: 5 }), 1)).toBe(true)
    expect(limit.admits(segment({ acknowledgement: 5 }), 2)).toBe(false)
    expect(limit.admits(segment({ acknowledgement: 6 }), 3)).toBe(true)
    expect(limit.admits(segment({ acknowledgement: 6 }), 4)).toBe(false)
    expect(limit.admits(segment({ acknowledgement: 6 }), 1 + DUPLICATE_INTERVAL_MS)).toBe(true)
  })

  test('are not segments with data, changes of the window, ends and resets', () => {
    const limit = opened(7)
    for (let n = 0; n < 3; n++) {
      expect(limit.admits(segment({ payloadBytes: 1 }), n)).toBe(true)
      expect(limit.admits(segment({ flags: ACK | 1 }), n)).toBe(true)
      expect(limit.admits(segment({ flags: ACK | 4 }), n)).toBe(true)
      expect(limit.admits(segment({ window: 10 + n }), n)).toBe(true)
    }
  })

  test('are told apart by connection', () => {
    const limit = opened(7)
    limit.admits(segment({ flags: SYN, options: scale(7), port: 80 }), 0)
    for (const port of [6379, 80]) {
      expect(limit.admits(segment({ port }), 0)).toBe(true)
      expect(limit.admits(segment({ port }), 0)).toBe(true)
      expect(limit.admits(segment({ port }), 0)).toBe(false)
    }
  })
})

test('the oldest connections are forgotten, and then only no longer limited', () => {
  const limit = opened(7)
  for (let port = 0; port < CONNECTIONS_MAX; port++)
    limit.admits(segment({ flags: SYN, port: 10_000 + port }), 0)
  const frame = segment({ window: 0xffff })
  expect(limit.admits(frame, 0)).toBe(true)
  expect(windowOf(frame)).toBe(0xffff)
})

test('whatever else a frame holds, it passes as it is', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, looksLikeTcp) => {
      const frame = bytes.slice()
      if (looksLikeTcp && frame.length > 24) frame.set([8, 0, 0x45 | (frame[14]! & 15)], 12)
      const before = frame.slice()
      expect(new WindowLimit().admits(frame, 0)).toBe(true)
      expect(frame).toEqual(before)
    }),
  )
})
