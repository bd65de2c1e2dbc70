import { crc32 } from 'node:zlib'
import { ByteReader } from './byte-reader.ts'
import { ByteWriter } from './byte-writer.ts'
import { type Heartbeat, PROTOCOL_VERSION, type Role } from './messages.ts'
import { WireError } from './wire-error.ts'

/**
 * A heartbeat as one datagram (docs/protocol.md, "On the wire"): magic "USHB", version, the fields in the order of
 * `Heartbeat`, and a CRC-32 of all before it. Big-endian.
 */
const MAGIC = 0x55534842
/** Longest datagram: fits an Ethernet frame without fragments, whatever the names. */
export const HEARTBEAT_BYTES_MAX = 600
const CHECKSUM_BYTES = 4
const ROLES: readonly Role[] = ['primary', 'backup']

/** Encodes a heartbeat. */
export function encodeHeartbeat(heartbeat: Heartbeat): Uint8Array {
  const writer = new ByteWriter(HEARTBEAT_BYTES_MAX)
  writer.u32(MAGIC).u8(heartbeat.version).text(heartbeat.vm).u53(heartbeat.generation)
  writer.u8(ROLES.indexOf(heartbeat.role)).text(heartbeat.replica).u53(heartbeat.sequence)
  writer.f64(heartbeat.sentAtMs).f64(heartbeat.echoMs).u53(heartbeat.releasedSequence)
  writer.u32(crc32(writer.written))
  return writer.written
}

/** Decodes a datagram; throws a `WireError`, upon which the shell drops it. */
export function decodeHeartbeat(datagram: Uint8Array): Heartbeat {
  if (datagram.length > HEARTBEAT_BYTES_MAX || datagram.length < 5 + CHECKSUM_BYTES) {
    throw new WireError('FT_MESSAGE_LENGTH', `a heartbeat has ${datagram.length} bytes`)
  }
  const reader = new ByteReader(datagram.subarray(0, datagram.length - CHECKSUM_BYTES))
  const magic = reader.u32()
  if (magic !== MAGIC)
    throw new WireError('FT_MESSAGE_MAGIC', `a datagram begins with 0x${magic.toString(16)}`)
  const version = reader.u8()
  if (version !== PROTOCOL_VERSION)
    throw new WireError('FT_MESSAGE_VERSION', `a heartbeat is of version ${version}`)
  const checksum = new ByteReader(datagram.subarray(datagram.length - CHECKSUM_BYTES)).u32()
  if (crc32(datagram.subarray(0, datagram.length - CHECKSUM_BYTES)) !== checksum) {
    throw new WireError('FT_MESSAGE_CHECKSUM', 'a heartbeat does not match its checksum')
  }
  const vm = reader.text()
  const generation = reader.u53()
  const role = ROLES[reader.u8()]
  const replica = reader.text()
  const sequence = reader.u53()
  const sentAtMs = reader.f64()
  const echoMs = reader.f64()
  const releasedSequence = reader.u53()
  if (role === undefined || vm === '' || replica === '' || !reader.exact) {
    throw new WireError('FT_MESSAGE_FIELDS', 'the fields of a heartbeat are wrong')
  }
  return { version, vm, generation, role, replica, sequence, sentAtMs, echoMs, releasedSequence }
}
