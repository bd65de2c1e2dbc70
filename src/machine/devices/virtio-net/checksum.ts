/**
 * Transport checksums (RFC 1071) as a network card with offloads handles them: completes what a driver left out,
 * and verifies what arrives, so that the guest need not read the data once more for it.
 */
import type { GuestMemory } from '../device.ts'
import type { Segment } from '../virtio/chain.ts'

const ETHERNET_HEADER_BYTES = 14
const ETHERTYPE_IPV4 = 0x0800
const ETHERTYPE_IPV6 = 0x86dd
const IPV4_HEADER_BYTES_MIN = 20
const IPV6_HEADER_BYTES = 40
/** "More fragments" and the offset: zero in packets that are whole (RFC 791, 3.1). */
const IPV4_FRAGMENT_MASK = 0x3fff
const PROTOCOL_TCP = 6
const PROTOCOL_UDP = 17
const UDP_CHECKSUM_OFFSET = 6
const TCP_HEADER_BYTES_MIN = 20
const UDP_HEADER_BYTES = 8

/** The part of a frame that a transport checksum covers. */
export interface ChecksumSpan {
  /** First byte and length in the frame. */
  readonly start: number
  readonly length: number
  /** Sum of the pseudo-header, in network byte order. */
  readonly pseudoHeader: number
}

/** What the checksum of a TCP or UDP packet covers; null for anything else, fragments, and UDP without a checksum. */
export function checksumSpan(frame: Uint8Array): ChecksumSpan | null {
  if (frame.length < ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES_MIN) return null
  const type = be16(frame, 12)
  const at = ETHERNET_HEADER_BYTES
  if (type === ETHERTYPE_IPV4) {
    const headerBytes = (frame[at] & 15) * 4
    const bytes = be16(frame, at + 2)
    if (frame[at] >>> 4 !== 4 || headerBytes < IPV4_HEADER_BYTES_MIN) return null
    if ((be16(frame, at + 6) & IPV4_FRAGMENT_MASK) !== 0) return null
    return spanOf(frame, at + headerBytes, bytes - headerBytes, frame[at + 9], at + 12, 8)
  }
  if (type !== ETHERTYPE_IPV6 || frame.length < at + IPV6_HEADER_BYTES) return null
  // Extension headers are rare; their packets are verified by the guest.
  return spanOf(frame, at + IPV6_HEADER_BYTES, be16(frame, at + 4), frame[at + 6], at + 8, 32)
}

function spanOf(
  frame: Uint8Array,
  start: number,
  length: number,
  protocol: number,
  addresses: number,
  addressBytes: number,
): ChecksumSpan | null {
  if (start + length > frame.length) return null
  if (protocol === PROTOCOL_UDP) {
    if (length < UDP_HEADER_BYTES || be16(frame, start + UDP_CHECKSUM_OFFSET) === 0) return null
  } else if (protocol !== PROTOCOL_TCP || length < TCP_HEADER_BYTES_MIN) return null
  let sum = protocol + length
  for (let offset = 0; offset < addressBytes; offset += 2) sum += be16(frame, addresses + offset)
  return { start, length, pseudoHeader: fold(sum) }
}

/** The sum of a stretch of the byte stream that lies in `segments`, in network byte order. The stream must be that long. */
export function sumSegments(
  memory: GuestMemory,
  segments: readonly Segment[],
  offset: number,
  length: number,
): number {
  let skip = offset
  let summed = 0
  let sum = 0
  for (const segment of segments) {
    if (summed === length) break
    if (skip >= segment.length) {
      skip -= segment.length
      continue
    }
    const piece = Math.min(segment.length - skip, length - summed)
    const part = memory.checksum(segment.address + skip, piece)
    // RAM is summed as little-endian; behind an odd number of bytes, high and low change places once more.
    sum += summed % 2 === 0 ? swap(part) : part
    summed += piece
    skip = 0
  }
  return fold(sum)
}

/** Whether the checksum of a packet is right, given the sums of its pseudo-header and of all it covers. */
export function isChecksumRight(pseudoHeader: number, sum: number): boolean {
  return fold(pseudoHeader + sum) === 0xffff
}

/** The checksum field for a sum: its complement, but never 0, which would say that there is none (RFC 768). */
export function checksumOf(sum: number): number {
  return ~sum & 0xffff || 0xffff
}

function be16(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 8) | bytes[at + 1]
}

function swap(sum: number): number {
  return ((sum & 0xff) << 8) | (sum >>> 8)
}

function fold(sum: number): number {
  let folded = sum
  while (folded > 0xffff) folded = (folded & 0xffff) + (folded >>> 16)
  return folded
}
