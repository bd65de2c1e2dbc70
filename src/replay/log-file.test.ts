import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { MachineConfig } from '../machine/config.ts'
import { LogError } from './errors.ts'
import { FrameEncoder, type LogFrame } from './frame.ts'
import { encodeLogEnd, encodeLogStart, LOG_HEADER_BYTES_MAX, type LogItem, LogReader } from './log-file.ts'

const linux: MachineConfig = {
  memoryBytes: 64 * 1024 * 1024,
  boot: {
    kind: 'linux',
    kernel: new TextEncoder().encode('kernel '.repeat(20)),
    initrd: Uint8Array.of(1, 2, 3),
    append: 'console=ttyS0',
  },
  nics: [{ mac: Uint8Array.of(0x52, 0x54, 0, 0, 0, 1) }],
  disks: [{ sizeBytes: 1024, readOnly: true }],
  rngSeed: new Uint8Array(32).fill(9),
}

const frames: LogFrame[] = [0, 1, 2, 3].map((sequence) => ({
  sequence,
  clock: BigInt(sequence * 1000),
  clockRate: 5,
  inputs: sequence === 2 ? [{ kind: 'console-rx', port: 'uart', data: Uint8Array.of(104, 105) }] : [],
  retired: 100 + sequence,
  reason: sequence === 3 ? 'halted' : 'budget',
  digest: 0x1234_5678_9abc_def0n + BigInt(sequence),
  fullDigest: sequence === 1 ? 17n : null,
}))

const end = { frames: 4, retired: 406n, digest: 99n }

function encode(config: MachineConfig): { start: Uint8Array; whole: Uint8Array; frameEnds: number[] } {
  const encoder = new FrameEncoder()
  const start = Buffer.concat(encodeLogStart(config, 'a test'))
  const encoded = frames.map((frame) => encoder.encode(frame))
  let offset = start.length
  const frameEnds = encoded.map((bytes) => {
    offset += bytes.length
    return offset
  })
  return { start, whole: Buffer.concat([start, ...encoded, encodeLogEnd(end)]), frameEnds }
}

/** Short reads too, as a source may be asked past its end. */
function sourceOf(bytes: Uint8Array) {
  return {
    lengthBytes: bytes.length,
    read: (offset: number, length: number) => bytes.subarray(offset, offset + length),
  }
}

function readAll(bytes: Uint8Array): { frames: LogFrame[]; last: LogItem | LogError } {
  const read: LogFrame[] = []
  try {
    const reader = new LogReader(sourceOf(bytes))
    for (;;) {
      const item = reader.next()
      if (item.kind !== 'frame') return { frames: read, last: item }
      read.push(item.frame)
    }
  } catch (error) {
    if (error instanceof LogError) return { frames: read, last: error }
    throw error
  }
}

const { start, whole, frameEnds } = encode(linux)

const HEADER_OFFSET = 16

function headerEnd(bytes: Uint8Array): number {
  return HEADER_OFFSET + new DataView(bytes.buffer, bytes.byteOffset).getUint32(12, true)
}

function headerOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes.subarray(HEADER_OFFSET, headerEnd(bytes)))
}

/** The log with another header, its checksum made right, as only somebody hostile would. */
function withHeader(header: unknown): Uint8Array {
  const json = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header))
  const length = new Uint8Array(4)
  new DataView(length.buffer).setUint32(0, json.length, true)
  const head = Buffer.concat([whole.subarray(0, 12), length, json])
  const checksum = new Uint8Array(4)
  new DataView(checksum.buffer).setUint32(0, crc32(head), true)
  return Buffer.concat([head, checksum, whole.subarray(headerEnd(whole) + 4)])
}

describe('the log file', () => {
  it('gives back the configuration, the images and the frames', () => {
    expect(new LogReader(sourceOf(whole)).config).toEqual(linux)
    expect(readAll(whole)).toEqual({ frames, last: { kind: 'end', end } })
    const bare: MachineConfig = {
      ...linux,
      boot: { kind: 'bare', elf: Uint8Array.of() },
      epochNs: 1_800_000_000_123_456_789n,
    }
    expect(new LogReader(sourceOf(encode(bare).whole)).config).toEqual(bare)
    const noInitrd: MachineConfig = {
      ...linux,
      boot: { kind: 'linux', kernel: Uint8Array.of(7), initrd: null, append: 'ä' },
    }
    expect(new LogReader(sourceOf(encode(noInitrd).whole)).config).toEqual(noInitrd)
  })

  it('cut at any byte replays every whole frame and says that it is cut', () => {
    for (let length = 0; length < whole.length; length++) {
      const result = readAll(whole.subarray(0, length))
      if (length < start.length) {
        const code =
          length < 1 ? 'LOG_NOT_A_LOG' : expect.stringMatching(/^LOG_(HEADER_TRUNCATED|NOT_A_LOG)$/)
        expect(result).toMatchObject({ frames: [], last: { code } })
        continue
      }
      const wholeFrames = frameEnds.filter((frameEnd) => frameEnd <= length).length
      const offset = wholeFrames === 0 ? start.length : frameEnds[wholeFrames - 1]
      expect(result).toEqual({
        frames: frames.slice(0, wholeFrames),
        last: { kind: 'truncated', offset, tornBytes: length - offset },
      })
    }
  })

  it('with any one bit altered is refused there, and no altered frame comes out', () => {
    for (let bit = 0; bit < whole.length * 8; bit++) {
      const altered = Uint8Array.from(whole)
      altered[bit >> 3] ^= 1 << (bit & 7)
      const result = readAll(altered)
      expect(result.last).toBeInstanceOf(LogError)
      expect(result.frames).toEqual(frames.slice(0, result.frames.length))
      const wholeBefore = frameEnds.filter((frameEnd) => frameEnd <= bit >> 3).length
      expect(result.frames.length).toBe(wholeBefore)
    }
  })

  it('with several bytes altered never yields a frame that was not recorded', () => {
    const alteration = fc.record({ at: fc.nat(whole.length - 1), byte: fc.nat(255) })
    fc.assert(
      fc.property(fc.array(alteration, { minLength: 1, maxLength: 6 }), (alterations) => {
        const altered = Uint8Array.from(whole)
        for (const { at, byte } of alterations) altered[at] = byte
        const result = readAll(altered)
        expect(result.frames).toEqual(frames.slice(0, result.frames.length))
        const same = altered.every((byte, index) => byte === whole[index])
        expect(result.last instanceof LogError).toBe(!same)
      }),
      { numRuns: 2000 },
    )
  })

  it('is refused when bytes follow its end or its end is of another log', () => {
    expect(readAll(Buffer.concat([whole, Uint8Array.of(0)])).last).toMatchObject({
      code: 'LOG_END_CORRUPT',
      offset: whole.length,
    })
    const other = Buffer.concat([whole.subarray(0, frameEnds[3]), encodeLogEnd({ ...end, retired: 1n })])
    expect(readAll(other).last).toMatchObject({ code: 'LOG_END_CORRUPT', offset: frameEnds[3] })
  })

  it('of another version or with a huge header is refused before anything is allocated', () => {
    const version = Uint8Array.from(whole)
    version[10] = 99
    expect(readAll(version).last).toMatchObject({ code: 'LOG_VERSION' })
    const huge = Uint8Array.from(whole)
    new DataView(huge.buffer).setUint32(12, LOG_HEADER_BYTES_MAX + 1, true)
    expect(readAll(huge).last).toMatchObject({ code: 'LOG_TOO_LARGE', offset: 12 })
  })

  it('whose checksums are right but whose header lies is refused', () => {
    const image = JSON.parse(headerOf(start)).images[0]
    const huge = 2 ** 40
    for (const [lie, code] of [
      [{ images: [] }, 'LOG_HEADER_MALFORMED'],
      [{ images: [image, image] }, 'LOG_HEADER_MALFORMED'],
      [{ images: [{ ...image, role: 'elf' }] }, 'LOG_HEADER_MALFORMED'],
      [{ images: [{ ...image, length: huge }] }, 'LOG_HEADER_MALFORMED'],
      [{ images: [{ ...image, length: image.length - 1 }] }, 'LOG_HEADER_MALFORMED'],
      [{ images: [{ ...image, length: image.length + 1 }] }, 'LOG_HEADER_MALFORMED'],
      [{ images: [{ ...image, storedLength: 2 ** 30 }] }, 'LOG_HEADER_TRUNCATED'],
      [{ images: [{ ...image, sha256: '0'.repeat(64) }] }, 'LOG_HEADER_CORRUPT'],
      [{ images: [{ ...image, storedLength: image.storedLength - 1 }] }, 'LOG_HEADER_CORRUPT'],
      [{ memoryBytes: huge }, 'LOG_HEADER_MALFORMED'],
      [{ memoryBytes: 2 ** 25 + 1 }, 'LOG_HEADER_MALFORMED'],
      [{ append: 'x' }, 'LOG_HEADER_MALFORMED'],
      [{ boot: { kind: 'linux', append: 'x'.repeat(5000) } }, 'LOG_HEADER_MALFORMED'],
      [{ nics: new Array(33).fill({ mac: '000000000000' }) }, 'LOG_HEADER_MALFORMED'],
      [{ rngSeed: 'not hexadecimal' }, 'LOG_HEADER_MALFORMED'],
      [null, 'LOG_HEADER_MALFORMED'],
    ] as const) {
      const result = readAll(withHeader(lie === null ? '}{' : { ...JSON.parse(headerOf(start)), ...lie }))
      expect({ lie, ...result }).toMatchObject({ lie, frames: [], last: { code } })
    }
  })

  it('is not written for a configuration that could not be read back', () => {
    for (const wrong of [
      { memoryBytes: 1 },
      { rngSeed: new Uint8Array(31) },
      { nics: [{ mac: new Uint8Array(5) }] },
      { disks: [{ sizeBytes: 511, readOnly: false }] },
    ]) {
      expect(() => encodeLogStart({ ...linux, ...wrong }, 'a test')).toThrowError(
        expect.objectContaining({ code: 'LOG_HEADER_MALFORMED' }),
      )
    }
  })

  it('reads logs longer than its window', () => {
    const data = new Uint8Array(300_000).map((_, index) => index * 7)
    const encoder = new FrameEncoder()
    const many = Array.from({ length: 12 }, (_, sequence): LogFrame => {
      const inputs = [{ kind: 'disk-complete' as const, disk: 0, id: sequence, ok: true, data }]
      return { ...frames[0], sequence, inputs }
    })
    const bytes = Buffer.concat([start, ...many.map((frame) => encoder.encode(frame))])
    const result = readAll(bytes)
    expect(result.frames).toEqual(many)
    expect(result.last).toEqual({ kind: 'truncated', offset: bytes.length, tornBytes: 0 })
  })
})
