import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { NetError } from './errors.ts'
import { encodeControl, encodeFrame, FRAME_BYTES_MAX, FrameDecoder } from './stream.ts'

interface Received {
  readonly kind: 'frame' | 'control'
  readonly data: Uint8Array
}

function collector(controlBytesMax = 0): { decoder: FrameDecoder; received: Received[] } {
  const received: Received[] = []
  const decoder = new FrameDecoder(
    {
      frame: (data) => received.push({ kind: 'frame', data: data.slice() }),
      control: (data) => received.push({ kind: 'control', data: data.slice() }),
    },
    controlBytesMax,
  )
  return { decoder, received }
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts))
}

/** Cuts the stream at the given places (taken modulo its length), empty chunks included. */
function split(stream: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const places = cuts.map((cut) => cut % (stream.length + 1)).sort((a, b) => a - b)
  return [0, ...places].map((from, i) => stream.subarray(from, places[i] ?? stream.length))
}

const item = fc.record({
  kind: fc.constantFrom('frame' as const, 'control' as const),
  data: fc.oneof(fc.uint8Array({ maxLength: 90 }), fc.uint8Array({ minLength: 1400, maxLength: 1600 })),
})

describe('the stream framing', () => {
  it('gives back what was encoded, however the stream is cut', () => {
    fc.assert(
      fc.property(fc.array(item, { maxLength: 8 }), fc.array(fc.nat(), { maxLength: 40 }), (items, cuts) => {
        const { decoder, received } = collector(2000)
        const stream = concat(
          items.map(({ kind, data }) => (kind === 'frame' ? encodeFrame(data) : encodeControl(data))),
        )
        for (const chunk of split(stream, cuts)) decoder.push(chunk)
        decoder.end()
        expect(received).toEqual(items)
      }),
    )
  })

  it('tells a stream that ended inside a frame from one that ended between frames', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat(), (frame, cut) => {
        const bytes = encodeFrame(frame)
        const kept = cut % (bytes.length + 1)
        const { decoder, received } = collector()
        decoder.push(bytes.subarray(0, kept))
        if (kept === 0 || kept === bytes.length) decoder.end()
        else expect(() => decoder.end()).toThrow(expect.objectContaining({ code: 'NET_STREAM_TRUNCATED' }))
        expect(received.length).toBe(kept === bytes.length ? 1 : 0)
      }),
    )
  })

  it('takes the longest frame and refuses one byte more', () => {
    const { decoder, received } = collector()
    decoder.push(encodeFrame(new Uint8Array(FRAME_BYTES_MAX)))
    expect(received[0]!.data.length).toBe(FRAME_BYTES_MAX)
    const word = new Uint8Array(4)
    new DataView(word.buffer).setUint32(0, FRAME_BYTES_MAX + 1)
    expect(() => decoder.push(word)).toThrow(expect.objectContaining({ code: 'NET_FRAME_TOO_LONG' }))
    expect(() => encodeFrame(new Uint8Array(FRAME_BYTES_MAX + 1))).toThrow(NetError)
  })

  it('is what QEMU expects on the wire', () => {
    expect([...encodeFrame(new Uint8Array([1, 2, 3]))]).toEqual([0, 0, 0, 3, 1, 2, 3])
  })

  it('refuses control messages where none belong, and any that are too long', () => {
    const control = encodeControl(new Uint8Array(10))
    expect(() => collector().decoder.push(control)).toThrow(
      expect.objectContaining({ code: 'NET_FRAME_TOO_LONG' }),
    )
    expect(() => collector(9).decoder.push(control)).toThrow(
      expect.objectContaining({ code: 'NET_FRAME_TOO_LONG' }),
    )
  })

  it('never throws anything but a typed error at noise', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 10 }), (chunks) => {
        const { decoder } = collector(100)
        try {
          for (const chunk of chunks) decoder.push(chunk)
          decoder.end()
        } catch (error) {
          expect(error).toBeInstanceOf(NetError)
        }
      }),
    )
  })
})
