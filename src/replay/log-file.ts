/**
 * The log file: everything a replay needs, in one file. Header and images say how the machine was made, the
 * frames say what happened to it, the closing record says that nothing is missing. docs/determinism.md has the
 * format byte by byte. This file turns values into bytes and back; files are the caller's.
 *
 * Images (kernel, initrd, ELF) are embedded, compressed, so that a log alone replays anywhere. Disk images are
 * not: what a guest read from its disks came in as inputs and stands in the frames.
 */
import { createHash } from 'node:crypto'
import { crc32, constants as zlib, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import type { MachineConfig } from '../machine/config.ts'
import { ByteWriter } from './bytes.ts'
import { LogError } from './errors.ts'
import { FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FrameDecoder, frameHeader, type LogFrame } from './frame.ts'
import {
  configFromHeader,
  headerFromConfig,
  imagesOf,
  type LogHeader,
  parseHeader,
  type StoredImage,
} from './log-header.ts'

/** Like PNG's: a byte no text has, a name, and line ends that show a transfer in text mode. */
const MAGIC = Uint8Array.of(0x89, 0x55, 0x53, 0x54, 0x4c, 0x4f, 0x47, 0x0d, 0x0a, 0x1a)
export const LOG_VERSION = 2
/** Magic, u16 version, u32 length of the header. */
const PREFIX_BYTES = MAGIC.length + 2 + 4
/** A header is a kilobyte or two; the kernel's command line is its only part of any length. */
export const LOG_HEADER_BYTES_MAX = 65_536
const CRC_BYTES = 4
/** The closing record after its zero frame header: u64 frames, u64 retired, u64 full digest, u32 CRC-32. */
const END_BYTES = FRAME_HEADER_BYTES + 8 + 8 + 8 + CRC_BYTES
/** Read at a time: a sequential read at full speed. */
const WINDOW_BYTES = 1024 * 1024
/** Level 3 compresses a kernel in a tenth of a second; higher levels save little on it. */
const ZSTD_LEVEL = 3

/** What the closing record says of the machine at the end of the recording. */
export interface LogEnd {
  /** Frames in the log. */
  readonly frames: number
  /** Instructions retired since power-on. */
  readonly retired: bigint
  /** `Machine.fullDigest()`. */
  readonly digest: bigint
}

/** The bytes that go before the first frame, in pieces. `program` names the recording program, for people. */
export function encodeLogStart(config: MachineConfig, program: string): Uint8Array[] {
  const stored = imagesOf(config).map(({ role, bytes }) => {
    const packed = zstdCompressSync(bytes, { params: { [zlib.ZSTD_c_compressionLevel]: ZSTD_LEVEL } })
    const entry: StoredImage = {
      role,
      length: bytes.length,
      sha256: createHash('sha256').update(bytes).digest('hex'),
      storedLength: packed.length,
    }
    return { entry, packed }
  })
  const header = headerFromConfig(
    config,
    stored.map(({ entry }) => entry),
    program,
  )
  const json = new TextEncoder().encode(JSON.stringify(header))
  if (json.length > LOG_HEADER_BYTES_MAX) {
    throw new LogError('LOG_TOO_LARGE', PREFIX_BYTES, `a header of ${json.length} bytes is over the limit`)
  }
  const start = new Uint8Array(PREFIX_BYTES + json.length + CRC_BYTES)
  const view = new DataView(start.buffer)
  start.set(MAGIC)
  view.setUint16(MAGIC.length, LOG_VERSION, true)
  view.setUint32(MAGIC.length + 2, json.length, true)
  start.set(json, PREFIX_BYTES)
  const crcOffset = PREFIX_BYTES + json.length
  view.setUint32(crcOffset, crc32(start.subarray(0, crcOffset)), true)
  return [start, ...stored.flatMap(({ packed }) => [packed, u32(crc32(packed))])]
}

/** The closing record. */
export function encodeLogEnd(end: LogEnd): Uint8Array {
  const writer = new ByteWriter()
  writer.u32(frameHeader(0))
  writer.u64(BigInt(end.frames))
  writer.u64(end.retired)
  writer.u64(end.digest)
  writer.u32(crc32(writer.written()))
  return writer.written().slice()
}

/** Instructions that the machine of a log had retired before the first frame. */
export function retiredAtStart({ boot }: MachineConfig): bigint {
  return boot.kind === 'snapshot' ? boot.retired : 0n
}

/** Where a log is read from. `read` returns fewer bytes only at the end. */
export interface LogSource {
  readonly lengthBytes: number
  read(offset: number, length: number): Uint8Array
}

export type LogItem =
  | { readonly kind: 'frame'; readonly frame: LogFrame }
  /** The recording ended in good order. */
  | { readonly kind: 'end'; readonly end: LogEnd }
  /** The log stops here without a closing record; `tornBytes` of an incomplete frame are dropped. */
  | { readonly kind: 'truncated'; readonly offset: number; readonly tornBytes: number }

/** Reads a log in order. Holds one window of it, the images and one frame, whatever the file claims. */
export class LogReader {
  readonly header: LogHeader
  readonly config: MachineConfig
  readonly #source: LogSource
  readonly #decoder = new FrameDecoder()
  #offset: number
  /** At the end of the frames read so far, since power-on. */
  #retired: bigint
  #window: Uint8Array = new Uint8Array(0)
  #windowOffset = 0

  /** Throws a LogError when no machine can be made from what is there. */
  constructor(source: LogSource) {
    this.#source = source
    const { header, bytes } = readHeader(source)
    this.header = header
    let offset = bytes
    const images = new Map<StoredImage['role'], Uint8Array>()
    for (const image of header.images) {
      images.set(image.role, readImage(source, offset, image))
      offset += image.storedLength + CRC_BYTES
    }
    this.config = configFromHeader(header, images)
    this.#retired = retiredAtStart(this.config)
    this.#offset = offset
  }

  /**
   * The next frame, or how the log ends. Throws a FrameError or LogError at bytes that were altered. Calling it
   * again after an end says the same again.
   */
  next(): LogItem {
    const available = this.#source.lengthBytes - this.#offset
    if (available === 0) return { kind: 'truncated', offset: this.#offset, tornBytes: 0 }
    let decoded = this.#decode(FRAME_HEADER_BYTES)
    if (decoded.kind === 'incomplete') decoded = this.#decode(decoded.bytesNeeded)
    switch (decoded.kind) {
      case 'frame':
        this.#offset = this.#windowOffset + decoded.nextOffset
        this.#retired += BigInt(decoded.frame.retired)
        return { kind: 'frame', frame: decoded.frame }
      case 'incomplete':
        return { kind: 'truncated', offset: this.#offset, tornBytes: available }
      case 'end':
        return this.#readEnd(available)
    }
  }

  #decode(bytesNeeded: number) {
    const start = this.#fill(Math.min(bytesNeeded, FRAME_BYTES_MAX))
    return this.#decoder.decode(this.#window, start, this.#windowOffset)
  }

  /** Sees to it that the window holds `count` bytes from the present offset, as far as the file does; returns where. */
  #fill(count: number): number {
    const start = this.#offset - this.#windowOffset
    const windowEnd = this.#windowOffset + this.#window.length
    if (start < 0 || (this.#offset + count > windowEnd && windowEnd < this.#source.lengthBytes)) {
      this.#window = this.#source.read(this.#offset, Math.max(count, WINDOW_BYTES))
      this.#windowOffset = this.#offset
      return 0
    }
    return start
  }

  #readEnd(available: number): LogItem {
    if (available < END_BYTES) return { kind: 'truncated', offset: this.#offset, tornBytes: available }
    const at = this.#offset
    const bytes = this.#source.read(at, END_BYTES)
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    const crcOffset = END_BYTES - CRC_BYTES
    if (view.getUint32(crcOffset, true) !== crc32(bytes.subarray(0, crcOffset))) {
      throw new LogError('LOG_END_CORRUPT', at, 'the checksum of the closing record does not match')
    }
    const end: LogEnd = {
      frames: Number(view.getBigUint64(FRAME_HEADER_BYTES, true)),
      retired: view.getBigUint64(FRAME_HEADER_BYTES + 8, true),
      digest: view.getBigUint64(FRAME_HEADER_BYTES + 16, true),
    }
    const { sequence } = this.#decoder.cursor
    if (end.frames !== sequence || end.retired !== this.#retired) {
      throw new LogError(
        'LOG_END_CORRUPT',
        at,
        `the closing record is of ${end.frames} frames, not ${sequence}`,
      )
    }
    if (available > END_BYTES) {
      throw new LogError('LOG_END_CORRUPT', at + END_BYTES, 'bytes follow the closing record')
    }
    return { kind: 'end', end }
  }
}

function readHeader(source: LogSource): { header: LogHeader; bytes: number } {
  const prefix = source.read(0, PREFIX_BYTES)
  const magic = prefix.subarray(0, MAGIC.length)
  if (prefix.length === 0 || magic.some((byte, index) => byte !== MAGIC[index])) {
    throw new LogError('LOG_NOT_A_LOG', 0, 'the file does not begin as a log does')
  }
  if (prefix.length < PREFIX_BYTES) throw headerTruncated(source)
  const view = new DataView(prefix.buffer, prefix.byteOffset, prefix.length)
  const version = view.getUint16(MAGIC.length, true)
  if (version !== LOG_VERSION) {
    throw new LogError('LOG_VERSION', MAGIC.length, `the log is of version ${version}, not ${LOG_VERSION}`)
  }
  const length = view.getUint32(MAGIC.length + 2, true)
  if (length > LOG_HEADER_BYTES_MAX) {
    throw new LogError('LOG_TOO_LARGE', MAGIC.length + 2, `a header of ${length} bytes is over the limit`)
  }
  const bytes = PREFIX_BYTES + length + CRC_BYTES
  const whole = source.read(0, bytes)
  if (whole.length < bytes) throw headerTruncated(source)
  const body = whole.subarray(0, PREFIX_BYTES + length)
  if (readU32(whole, PREFIX_BYTES + length) !== crc32(body)) {
    throw new LogError('LOG_HEADER_CORRUPT', 0, 'the checksum of the header does not match')
  }
  return { header: parseHeader(body.subarray(PREFIX_BYTES), PREFIX_BYTES), bytes }
}

function readImage(source: LogSource, offset: number, image: StoredImage): Uint8Array {
  const stored = source.read(offset, image.storedLength + CRC_BYTES)
  if (stored.length < image.storedLength + CRC_BYTES) throw headerTruncated(source)
  const packed = stored.subarray(0, image.storedLength)
  if (readU32(stored, image.storedLength) !== crc32(packed)) {
    throw new LogError('LOG_HEADER_CORRUPT', offset, `the checksum of the ${image.role} does not match`)
  }
  const bytes = unpack(packed, offset, image)
  if (createHash('sha256').update(bytes).digest('hex') !== image.sha256) {
    throw new LogError('LOG_HEADER_CORRUPT', offset, `the SHA-256 of the ${image.role} does not match`)
  }
  return bytes
}

function unpack(packed: Uint8Array, offset: number, image: StoredImage): Uint8Array {
  let bytes: Uint8Array
  try {
    // Never inflates past what the header promised, which is itself within limits. Zero is no allowed bound.
    bytes = new Uint8Array(zstdDecompressSync(packed, { maxOutputLength: Math.max(1, image.length) }))
  } catch (cause) {
    throw new LogError('LOG_HEADER_MALFORMED', offset, `the ${image.role} does not unpack`, { cause })
  }
  if (bytes.length !== image.length) {
    throw new LogError('LOG_HEADER_MALFORMED', offset, `the ${image.role} unpacks to ${bytes.length} bytes`)
  }
  return bytes
}

function headerTruncated(source: LogSource): LogError {
  return new LogError('LOG_HEADER_TRUNCATED', source.lengthBytes, 'the log ends before its first frame')
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, value, true)
  return bytes
}

function readU32(bytes: Uint8Array, offset: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset + offset, 4).getUint32(0, true)
}
