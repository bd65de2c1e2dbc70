import { createHmac, timingSafeEqual } from 'node:crypto'
import { ByteReader } from './byte-reader.ts'
import { ByteWriter } from './byte-writer.ts'
import { type Heartbeat, PROTOCOL_VERSION, type Role } from './messages.ts'
import { ProtocolInvariantError } from './protocol-error.ts'
import { WireError } from './wire-error.ts'

/**
 * A heartbeat as one datagram (docs/protocol.md, "On the wire"): magic "USHB", version, the fields in the order of
 * `Heartbeat`, and an authentication tag of all before it. Big-endian.
 *
 * A heartbeat renews the lease that lets outputs go, so one that somebody made up could do harm; and a datagram's sender
 * is whoever it says. The tag is an HMAC-SHA-256 (RFC 2104) with a key that the two replicas of a pair share, cut to 16
 * bytes (section 5 there: no less than half). It finds accidents as well as a checksum does.
 */
const MAGIC = 0x55534842
/** Longest datagram: fits an Ethernet frame without fragments, whatever the names. */
export const HEARTBEAT_BYTES_MAX = 600
const TAG_BYTES = 16
/** As long as the hash: more adds nothing, less is weaker (RFC 2104, 3). */
export const PAIR_KEY_BYTES = 32
const ROLES: readonly Role[] = ['primary', 'backup']

/** Encodes a heartbeat. `key` has PAIR_KEY_BYTES. */
export function encodeHeartbeat(heartbeat: Heartbeat, key: Uint8Array): Uint8Array {
  const writer = new ByteWriter(HEARTBEAT_BYTES_MAX)
  writer.u32(MAGIC).u8(heartbeat.version).text(heartbeat.vm).u53(heartbeat.generation)
  writer.u8(ROLES.indexOf(heartbeat.role)).text(heartbeat.replica).u53(heartbeat.sequence)
  writer.f64(heartbeat.sentAtMs).f64(heartbeat.echoMs).u53(heartbeat.releasedSequence)
  writer.raw(tagOf(writer.written, key))
  return writer.written
}

/** Decodes a datagram; throws a `WireError`, upon which the shell drops it. */
export function decodeHeartbeat(datagram: Uint8Array, key: Uint8Array): Heartbeat {
  if (datagram.length > HEARTBEAT_BYTES_MAX || datagram.length < 5 + TAG_BYTES) {
    throw new WireError('FT_MESSAGE_LENGTH', `a heartbeat has ${datagram.length} bytes`)
  }
  const reader = new ByteReader(datagram.subarray(0, datagram.length - TAG_BYTES))
  const magic = reader.u32()
  if (magic !== MAGIC)
    throw new WireError('FT_MESSAGE_MAGIC', `a datagram begins with 0x${magic.toString(16)}`)
  const version = reader.u8()
  if (version !== PROTOCOL_VERSION)
    throw new WireError('FT_MESSAGE_VERSION', `a heartbeat is of version ${version}`)
  const tag = datagram.subarray(datagram.length - TAG_BYTES)
  if (!timingSafeEqual(tag, tagOf(datagram.subarray(0, datagram.length - TAG_BYTES), key))) {
    throw new WireError('FT_MESSAGE_FORGED', "a heartbeat was not made with the pair's key")
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

function tagOf(bytes: Uint8Array, key: Uint8Array): Uint8Array {
  if (key.length !== PAIR_KEY_BYTES) throw new ProtocolInvariantError(`a pair's key has ${key.length} bytes`)
  return createHmac('sha256', key).update(bytes).digest().subarray(0, TAG_BYTES)
}
