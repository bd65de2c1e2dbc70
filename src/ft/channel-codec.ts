import { crc32 } from 'node:zlib'
import { ByteReader } from './byte-reader.ts'
import { ByteWriter } from './byte-writer.ts'
import { CPU_LIMIT_MIN, CPU_LIMIT_STEPS } from './control.ts'
import { type ByeReason, type ChannelMessage, PROTOCOL_VERSION, type Role } from './messages.ts'
import { WireError } from './wire-error.ts'

/**
 * Channel messages as bytes (docs/protocol.md, "On the wire"). All integers are big-endian:
 *
 *     u32  length of all that follows
 *     u32  magic "USFT"
 *     u8   version
 *     u8   kind
 *     u32  CRC-32 (zlib's) of the fields, begun with the kind as its initial value
 *     ...  fields
 */
const MAGIC = 0x55534654
const HEADER_BYTES = 14
/** What `length` counts of the header. */
const HEADER_COUNTED_BYTES = 10

/**
 * Longest message, length word included: a log frame holds at most the inputs of one slice, whose disk completions
 * are the largest; bounds what a hostile peer can make this side allocate.
 */
export const MESSAGE_BYTES_MAX = 16 * 1024 * 1024

const KINDS = ['hello', 'frame', 'ack', 'bye', 'bye-ack', 'bind', 'control', 'control-ack'] as const
const ROLES: readonly Role[] = ['primary', 'backup']
const REASONS: readonly ByeReason[] = ['stop', 'unprotect', 'failover', 'diverged', 'refused']
const FLAG_POWER_OFF = 1
const FLAG_PAUSED = 1
/** A hello's or any other small message's fields, at most: two names and six integers. */
const SMALL_FIELDS_BYTES_MAX = 2 * 256 + 6 * 8
const FRAME_FIELDS_BYTES = 17

/** Encodes a message, length word included. */
export function encodeMessage(message: ChannelMessage): Uint8Array {
  const payloadBytes = message.kind === 'frame' ? message.payload.length : 0
  const fieldsMax = message.kind === 'frame' ? FRAME_FIELDS_BYTES + payloadBytes : SMALL_FIELDS_BYTES_MAX
  if (HEADER_BYTES + fieldsMax > MESSAGE_BYTES_MAX) {
    throw new WireError('FT_MESSAGE_LENGTH', `a log frame of ${payloadBytes} bytes does not fit a message`)
  }
  const writer = new ByteWriter(HEADER_BYTES + fieldsMax)
  // Version and hello's version are one and the same; the header's lets a decoder refuse before it reads fields.
  writer.u32(0).u32(MAGIC).u8(PROTOCOL_VERSION).u8(KINDS.indexOf(message.kind)).u32(0)
  writeFields(writer, message)
  const bytes = writer.written
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  view.setUint32(0, bytes.length - 4)
  view.setUint32(10, crc32(bytes.subarray(HEADER_BYTES), bytes[9]))
  return bytes
}

function writeFields(writer: ByteWriter, message: ChannelMessage): void {
  switch (message.kind) {
    case 'hello':
      writer.u8(message.version).text(message.vm).u53(message.generation).u8(ROLES.indexOf(message.role))
      writer.text(message.replica).u53(message.sequence).u53(message.logBytesMax)
      return
    case 'frame':
      writer
        .u53(message.sequence)
        .u53(message.releasedSequence)
        .u8(message.powerOff ? FLAG_POWER_OFF : 0)
      writer.raw(message.payload)
      return
    case 'ack':
      writer.u53(message.receivedSequence).u53(message.executedSequence)
      return
    case 'bind':
      writer.u53(message.sequence)
      return
    case 'control':
      writer.u53(message.number).u8(message.paused ? FLAG_PAUSED : 0)
      writer.u32(Math.round(message.shareMax * CPU_LIMIT_STEPS))
      return
    case 'control-ack':
      writer.u53(message.number)
      return
    case 'bye':
    case 'bye-ack':
      writer.u8(REASONS.indexOf(message.reason))
      return
  }
}

function readFields(kind: (typeof KINDS)[number], reader: ByteReader): ChannelMessage | null {
  switch (kind) {
    case 'hello': {
      const version = reader.u8()
      const vm = reader.text()
      const generation = reader.u53()
      const role = ROLES[reader.u8()]
      const replica = reader.text()
      const sequence = reader.u53()
      const logBytesMax = reader.u53()
      if (role === undefined || vm === '' || replica === '') return null
      return { kind, version, vm, generation, role, replica, sequence, logBytesMax }
    }
    case 'frame': {
      const sequence = reader.u53()
      const releasedSequence = reader.u53()
      const flags = reader.u8()
      if ((flags & ~FLAG_POWER_OFF) !== 0) return null
      return {
        kind,
        sequence,
        releasedSequence,
        powerOff: flags === FLAG_POWER_OFF,
        payload: reader.rest().slice(),
      }
    }
    case 'ack':
      return { kind, receivedSequence: reader.u53(), executedSequence: reader.u53() }
    case 'bind':
      return { kind, sequence: reader.u53() }
    case 'control': {
      const number = reader.u53()
      const flags = reader.u8()
      const shareMax = reader.u32() / CPU_LIMIT_STEPS
      if ((flags & ~FLAG_PAUSED) !== 0 || shareMax < CPU_LIMIT_MIN || shareMax > 1) return null
      return { kind, number, paused: flags === FLAG_PAUSED, shareMax }
    }
    case 'control-ack':
      return { kind, number: reader.u53() }
    case 'bye':
    case 'bye-ack': {
      const reason = REASONS[reader.u8()]
      return reason === undefined ? null : { kind, reason }
    }
  }
}

/**
 * Cuts a byte stream into messages. Bytes may come in any pieces; what is not whole waits. When the stream ends, a
 * torn last message is simply never returned: it was not acknowledged, so nothing rests on it.
 */
export class ChannelDecoder {
  #pieces: Uint8Array[] = []
  #pendingBytes = 0

  /** Takes bytes in (and keeps them until they are used); returns the messages they complete, in order. */
  push(bytes: Uint8Array): ChannelMessage[] {
    if (bytes.length > 0) this.#pieces.push(bytes)
    this.#pendingBytes += bytes.length
    const messages: ChannelMessage[] = []
    for (;;) {
      if (this.#pendingBytes < 4) return messages
      const length = lengthOf(this.#join(4))
      if (this.#pendingBytes < 4 + length) return messages
      const joined = this.#join(4 + length)
      messages.push(decodeBody(joined.subarray(4, 4 + length)))
      this.#drop(4 + length)
    }
  }

  /** Bytes of a message that is not whole yet. */
  get pendingBytes(): number {
    return this.#pendingBytes
  }

  /** Makes the first `count` bytes contiguous: joins pieces only as far as needed. */
  #join(count: number): Uint8Array {
    let first = this.#pieces[0]!
    if (first.length >= count) return first
    let pieces = 0
    let bytes = 0
    while (bytes < count) bytes += this.#pieces[pieces++]!.length
    first = new Uint8Array(bytes)
    let offset = 0
    for (const piece of this.#pieces.splice(0, pieces)) {
      first.set(piece, offset)
      offset += piece.length
    }
    this.#pieces.unshift(first)
    return first
  }

  /** Forgets the first `count` bytes, which are contiguous. */
  #drop(count: number): void {
    const first = this.#pieces[0]!
    if (first.length === count) this.#pieces.shift()
    else this.#pieces[0] = first.subarray(count)
    this.#pendingBytes -= count
  }
}

function lengthOf(bytes: Uint8Array): number {
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0)
  if (length < HEADER_COUNTED_BYTES || length > MESSAGE_BYTES_MAX - 4) {
    throw new WireError('FT_MESSAGE_LENGTH', `a message claims ${length} bytes`)
  }
  return length
}

function decodeBody(body: Uint8Array): ChannelMessage {
  const reader = new ByteReader(body)
  const magic = reader.u32()
  if (magic !== MAGIC)
    throw new WireError('FT_MESSAGE_MAGIC', `a message begins with 0x${magic.toString(16)}`)
  const version = reader.u8()
  if (version !== PROTOCOL_VERSION)
    throw new WireError('FT_MESSAGE_VERSION', `the peer speaks version ${version}`)
  const kindNumber = reader.u8()
  const checksum = reader.u32()
  if (crc32(body.subarray(HEADER_COUNTED_BYTES), kindNumber) !== checksum) {
    throw new WireError('FT_MESSAGE_CHECKSUM', 'a message does not match its checksum')
  }
  const kind = KINDS[kindNumber]
  if (kind === undefined) throw new WireError('FT_MESSAGE_KIND', `a message is of kind ${kindNumber}`)
  const message = readFields(kind, reader)
  if (message === null || !reader.exact) {
    throw new WireError('FT_MESSAGE_FIELDS', `the fields of a ${kind} message are wrong`)
  }
  return message
}
