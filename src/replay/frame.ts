/**
 * Log frames, the entries of the deterministic-replay log. One frame is one slice of the machine: what went in
 * at its start, and where and in what state it ended. A machine in the state before the frame, fed with the
 * frame, is in the state after it; so a log is its frames in order, in a file or on the logging channel.
 *
 * Bytes of one frame (integers little-endian, varints unsigned LEB128):
 *
 *     u24     length of body, 1 to FRAME_BODY_BYTES_MAX (0 is left to the closing record of a log file)
 *     u8      CRC-8 of the length, so that an altered length is never taken for a torn frame
 *     body    u8 flags; varint clock delta; [u32 clockRate]; varint retired; u64 digest; [u64 full digest];
 *             [varint count, inputs]
 *     u32     CRC-32 of the sequence number as u64, then the body
 *
 * Neither the sequence number nor the absolute clock is written: both sides carry a `FrameCursor`. The number
 * takes part in the checksum, so a frame that was lost, repeated or moved does not pass. That is why the
 * frame of an idle guest's wake-up costs about 20 bytes.
 */
import { crc32 } from 'node:zlib'
import { GENERATION_ID_BYTES } from '../machine/devices/generation/generation.ts'
import type { ConsolePort, MachineInput } from '../machine/io.ts'
import type { SliceEndReason } from '../machine/machine.ts'
import { ByteReader, ByteWriter } from './bytes.ts'
import { FrameError } from './errors.ts'

export interface LogFrame {
  /** 0 for the first slice after power-on, then one more each. A safe integer. */
  readonly sequence: number
  /** Guest time at the slice's first instruction, in ticks of 100 ns. Never below the frame before. */
  readonly clock: bigint
  /** How fast guest time passes inside the slice: ticks per instruction as an unsigned 0.32 fixed-point fraction. */
  readonly clockRate: number
  /** Applied at the start of the slice, in order. */
  readonly inputs: readonly MachineInput[]
  /** Instructions retired in this slice, 0 to SLICE_RETIRED_MAX. */
  readonly retired: number
  readonly reason: SliceEndReason
  /** `Machine.digest()` at the end of the slice. */
  readonly digest: bigint
  /** `Machine.fullDigest()` at the end of the slice, in some frames. */
  readonly fullDigest: bigint | null
}

/** What the reader and the writer of a log must agree on before the next frame. */
export interface FrameCursor {
  /** The next frame's number. */
  readonly sequence: number
  /** The clock and rate of the frame before it. */
  readonly clock: bigint
  readonly clockRate: number
}

/** The cursor before a log's first frame, at power-on or at a snapshot. */
export const CURSOR_AT_START: FrameCursor = { sequence: 0, clock: 0n, clockRate: 0 }

/** Bytes before the body. */
export const FRAME_HEADER_BYTES = 4
/** Bytes after the body. */
export const FRAME_TRAILER_BYTES = 4
/**
 * What a u24 can say. A frame is held whole in the buffers of both replicas, so this also bounds how far one
 * frame can overrun the limit of a log buffer.
 */
export const FRAME_BODY_BYTES_MAX = 0xff_ffff
export const FRAME_BYTES_MAX = FRAME_HEADER_BYTES + FRAME_BODY_BYTES_MAX + FRAME_TRAILER_BYTES
/** A slice takes milliseconds and holds what arrived meanwhile: far above any real count, far below trouble. */
export const FRAME_INPUTS_MAX = 65_536
/** The driver keeps what it feeds to one slice below this; the rest waits for the next. Leaves one largest disk read of room. */
export const SLICE_INPUT_BYTES_MAX = 4 * 1024 * 1024
/** A slice is milliseconds long; 2^32 instructions are seconds at any speed this machine can reach. */
export const SLICE_RETIRED_MAX = 0xffff_ffff
const INDEX_MAX = 255 // NICs and disks of one machine: far fewer than virtio slots allow for
const DISK_REQUEST_ID_MAX = Number.MAX_SAFE_INTEGER

const REASONS: readonly SliceEndReason[] = ['budget', 'idle', 'output', 'halted']
const PORTS: readonly ConsolePort[] = ['uart', 'virtio']

const FLAG_REASON_MASK = 0b0000_0011
const FLAG_RATE = 0b0000_0100
const FLAG_INPUTS = 0b0000_1000
const FLAG_FULL_DIGEST = 0b0001_0000
const FLAGS_UNUSED = 0b1110_0000

const INPUT_NET_RX = 1
const INPUT_CONSOLE_RX = 2
const INPUT_ENTROPY = 3
const INPUT_DISK_COMPLETE = 4
const INPUT_GENERATION = 5
const INPUT_RESET = 6

/** Turns frames into bytes. Carries the cursor, so each frame must follow the one before. */
export class FrameEncoder {
  readonly #writer = new ByteWriter()
  #cursor: FrameCursor

  constructor(cursor: FrameCursor = CURSOR_AT_START) {
    this.#cursor = cursor
  }

  /** The state to hand to a decoder that shall start with the next frame. */
  get cursor(): FrameCursor {
    return this.#cursor
  }

  /** Throws a FrameError and changes nothing if the frame does not follow or passes a limit. */
  encode(frame: LogFrame): Uint8Array<ArrayBuffer> {
    return this.encodeView(frame).slice()
  }

  /** The same without a copy: the bytes are valid until the next call. */
  encodeView(frame: LogFrame): Uint8Array<ArrayBuffer> {
    const cursor = this.#cursor
    assertFollows(frame, cursor)
    const writer = this.#writer
    writer.clear()
    writer.u32(0) // the header, written last
    writer.u8(
      REASONS.indexOf(frame.reason) |
        (frame.clockRate === cursor.clockRate ? 0 : FLAG_RATE) |
        (frame.inputs.length === 0 ? 0 : FLAG_INPUTS) |
        (frame.fullDigest === null ? 0 : FLAG_FULL_DIGEST),
    )
    writer.varint(frame.clock - cursor.clock)
    if (frame.clockRate !== cursor.clockRate) writer.u32(frame.clockRate)
    writer.varint(frame.retired)
    writer.u64(frame.digest)
    if (frame.fullDigest !== null) writer.u64(frame.fullDigest)
    if (frame.inputs.length > 0) {
      writer.varint(frame.inputs.length)
      for (const input of frame.inputs) writeInput(writer, input)
    }
    const bodyLength = writer.length - FRAME_HEADER_BYTES
    if (bodyLength > FRAME_BODY_BYTES_MAX) {
      throw new FrameError('FRAME_TOO_LONG', 0, `frame ${frame.sequence} has ${bodyLength} bytes`)
    }
    const checksum = frameChecksum(frame.sequence, writer.written().subarray(FRAME_HEADER_BYTES))
    writer.u32(checksum)
    writer.setU32(0, frameHeader(bodyLength))
    this.#cursor = { sequence: frame.sequence + 1, clock: frame.clock, clockRate: frame.clockRate }
    return writer.written()
  }
}

/** What stands at an offset of a log. */
export type Decoded =
  | { readonly kind: 'frame'; readonly frame: LogFrame; readonly nextOffset: number }
  /** A length of zero: no frame, but the closing record of a log file. */
  | { readonly kind: 'end' }
  /** The bytes end before the frame does: wait for more, or take it for torn. `bytesNeeded` in all from the offset. */
  | { readonly kind: 'incomplete'; readonly bytesNeeded: number }

/** Turns bytes into frames. Carries the cursor; the frames must come in order and whole. */
export class FrameDecoder {
  #cursor: FrameCursor

  constructor(cursor: FrameCursor = CURSOR_AT_START) {
    this.#cursor = cursor
  }

  get cursor(): FrameCursor {
    return this.#cursor
  }

  /**
   * Decodes the frame at `offset`. Throws a FrameError (FRAME_CORRUPT, FRAME_MALFORMED) and changes nothing if
   * there is none; `base` is added to the offsets in errors. Frames hold copies: `bytes` may be used again.
   */
  decode(bytes: Uint8Array, offset = 0, base = 0): Decoded {
    const available = bytes.length - offset
    if (available < FRAME_HEADER_BYTES) return { kind: 'incomplete', bytesNeeded: FRAME_HEADER_BYTES }
    const bodyLength = readFrameHeader(bytes, offset, base)
    if (bodyLength === 0) return { kind: 'end' }
    const total = FRAME_HEADER_BYTES + bodyLength + FRAME_TRAILER_BYTES
    if (available < total) return { kind: 'incomplete', bytesNeeded: total }
    const bodyStart = offset + FRAME_HEADER_BYTES
    const bodyEnd = bodyStart + bodyLength
    const body = bytes.subarray(bodyStart, bodyEnd)
    const checksum = new DataView(bytes.buffer, bytes.byteOffset + bodyEnd, 4).getUint32(0, true)
    const { sequence } = this.#cursor
    if (checksum !== frameChecksum(sequence, body)) {
      throw new FrameError('FRAME_CORRUPT', base + offset, `the checksum is not that of frame ${sequence}`)
    }
    const frame = readBody(new ByteReader(body, base + bodyStart), this.#cursor)
    this.#cursor = { sequence: sequence + 1, clock: frame.clock, clockRate: frame.clockRate }
    return { kind: 'frame', frame, nextOffset: bodyEnd + FRAME_TRAILER_BYTES }
  }
}

/** How many bytes an input takes in a frame, at most; for keeping a slice under SLICE_INPUT_BYTES_MAX. */
export function inputBytesMax(input: MachineInput): number {
  const overhead = 24 // kind, index, id and length in their longest spelling
  if (input.kind === 'reset') return overhead
  return overhead + (input.kind === 'net-rx' ? input.frame.length : input.data.length)
}

function assertFollows(frame: LogFrame, cursor: FrameCursor): void {
  const faults: [boolean, string][] = [
    [frame.sequence === cursor.sequence, `frame ${frame.sequence} where ${cursor.sequence} is next`],
    [frame.clock >= cursor.clock, `clock ${frame.clock} runs back from ${cursor.clock}`],
    [frame.clock < 1n << 64n, `clock ${frame.clock} passes 64 bits`],
    [isUpTo(frame.clockRate, 0xffff_ffff), `clock rate ${frame.clockRate} is no u32`],
    [isUpTo(frame.retired, SLICE_RETIRED_MAX), `retired count ${frame.retired} is out of range`],
    [isU64(frame.digest) && (frame.fullDigest === null || isU64(frame.fullDigest)), 'a digest is no u64'],
  ]
  for (const [holds, message] of faults) {
    if (!holds) throw new FrameError('FRAME_OUT_OF_ORDER', 0, message)
  }
  if (frame.inputs.length > FRAME_INPUTS_MAX) {
    throw new FrameError('FRAME_TOO_LONG', 0, `${frame.inputs.length} inputs in one frame`)
  }
}

function isUpTo(value: number, max: number): boolean {
  return Number.isSafeInteger(value) && value >= 0 && value <= max
}

function isU64(value: bigint): boolean {
  return value >= 0n && value < 1n << 64n
}

function writeInput(writer: ByteWriter, input: MachineInput): void {
  switch (input.kind) {
    case 'net-rx':
      writer.u8(INPUT_NET_RX)
      writer.varint(input.nic)
      writer.block(input.frame)
      return
    case 'console-rx':
      writer.u8(INPUT_CONSOLE_RX)
      writer.u8(PORTS.indexOf(input.port))
      writer.block(input.data)
      return
    case 'entropy':
      writer.u8(INPUT_ENTROPY)
      writer.block(input.data)
      return
    case 'generation':
      writer.u8(INPUT_GENERATION)
      writer.block(input.data)
      return
    case 'reset':
      writer.u8(INPUT_RESET)
      return
    case 'disk-complete':
      writer.u8(INPUT_DISK_COMPLETE)
      writer.varint(input.disk)
      writer.varint(input.id)
      writer.u8(input.ok ? 1 : 0)
      writer.block(input.data)
      return
  }
}

function readInput(reader: ByteReader): MachineInput {
  const kind = reader.u8()
  switch (kind) {
    case INPUT_NET_RX: {
      const nic = reader.varintUpTo(INDEX_MAX, 'a NIC index')
      return { kind: 'net-rx', nic, frame: reader.block() }
    }
    case INPUT_CONSOLE_RX: {
      const port = PORTS[reader.u8()]
      if (port === undefined) throw reader.malformed('an unknown console port')
      return { kind: 'console-rx', port, data: reader.block() }
    }
    case INPUT_ENTROPY:
      return { kind: 'entropy', data: reader.block() }
    case INPUT_DISK_COMPLETE: {
      const disk = reader.varintUpTo(INDEX_MAX, 'a disk index')
      const id = reader.varintUpTo(DISK_REQUEST_ID_MAX, 'a disk request id')
      const ok = reader.varintUpTo(1, 'a disk result') === 1
      return { kind: 'disk-complete', disk, id, ok, data: reader.block() }
    }
    case INPUT_GENERATION: {
      const data = reader.block()
      if (data.length !== GENERATION_ID_BYTES) throw reader.malformed(`a generation of ${data.length} bytes`)
      return { kind: 'generation', data }
    }
    case INPUT_RESET:
      return { kind: 'reset' }
    default:
      throw reader.malformed(`an unknown kind of input, ${kind}`)
  }
}

function readBody(reader: ByteReader, cursor: FrameCursor): LogFrame {
  const flags = reader.u8()
  if ((flags & FLAGS_UNUSED) !== 0) throw reader.malformed(`unknown flags in ${flags}`)
  const clock = cursor.clock + reader.varint()
  if (!isU64(clock)) throw reader.malformed('the clock passes 64 bits')
  const clockRate = flags & FLAG_RATE ? reader.u32() : cursor.clockRate
  const retired = reader.varintUpTo(SLICE_RETIRED_MAX, 'the retired count')
  const digest = reader.u64()
  const fullDigest = flags & FLAG_FULL_DIGEST ? reader.u64() : null
  const inputs: MachineInput[] = []
  if (flags & FLAG_INPUTS) {
    const count = reader.varintUpTo(FRAME_INPUTS_MAX, 'the number of inputs')
    for (let index = 0; index < count; index++) inputs.push(readInput(reader))
  }
  if (reader.remaining > 0) throw reader.malformed(`${reader.remaining} bytes follow the frame's content`)
  const reason = REASONS[flags & FLAG_REASON_MASK]
  return { sequence: cursor.sequence, clock, clockRate, inputs, retired, reason, digest, fullDigest }
}

/** The header word: the length in 24 bits, its CRC-8 above. */
export function frameHeader(bodyLength: number): number {
  return (bodyLength | (lengthCrc8(bodyLength) << 24)) >>> 0
}

/** Throws FRAME_CORRUPT if the length fails its check. */
function readFrameHeader(bytes: Uint8Array, offset: number, base: number): number {
  const bodyLength = bytes[offset] | (bytes[offset + 1] << 8) | (bytes[offset + 2] << 16)
  if (bytes[offset + 3] !== lengthCrc8(bodyLength)) {
    throw new FrameError('FRAME_CORRUPT', base + offset, 'a frame length fails its check')
  }
  return bodyLength
}

/** CRC-8 (polynomial 0x07, start 0xff so that zeroed bytes do not pass) of the three length bytes. */
function lengthCrc8(bodyLength: number): number {
  let crc = 0xff
  for (let byte = 0; byte < 3; byte++) {
    crc ^= (bodyLength >>> (8 * byte)) & 0xff
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x80 ? ((crc << 1) ^ 0x07) & 0xff : crc << 1
  }
  return crc
}

const sequenceBytes = new Uint8Array(8)
const sequenceView = new DataView(sequenceBytes.buffer)

/** CRC-32 (the one of Ethernet and zlib) of the sequence number as u64 and of the body. */
function frameChecksum(sequence: number, body: Uint8Array): number {
  sequenceView.setBigUint64(0, BigInt(sequence), true)
  return crc32(body, crc32(sequenceBytes))
}
