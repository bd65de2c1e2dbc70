/** TCP and UDP packets for tests of network devices, with a checksum computed the slow way: byte by byte, from the text of RFC 1071. */

export interface PacketOptions {
  readonly version: 4 | 6
  readonly protocol: 'tcp' | 'udp'
  readonly payload: Uint8Array
  /** Bytes of IPv4 options, a multiple of 4. */
  readonly optionBytes?: number
  /** Bytes behind the packet, as an Ethernet that pads short frames makes them. */
  readonly paddingBytes?: number
}

export interface Packet {
  readonly frame: Uint8Array
  /** Where the transport header begins, and its checksum's place behind that. */
  readonly transport: number
  readonly checksumOffset: number
  /** The right checksum. */
  readonly checksum: number
  /** What a driver that leaves the rest out puts there: the sum of the pseudo-header. */
  readonly pseudoHeader: number
}

function onesComplementSum(bytes: readonly number[]): number {
  let sum = 0
  for (let at = 0; at < bytes.length; at += 2) {
    sum += bytes[at] * 256 + (bytes[at + 1] ?? 0)
    if (sum > 0xffff) sum -= 0xffff
  }
  return sum
}

/** The packet with its right checksum in place. */
export function packet({
  version,
  protocol,
  payload,
  optionBytes = 0,
  paddingBytes = 0,
}: PacketOptions): Packet {
  const number = protocol === 'tcp' ? 6 : 17
  const transportHeader = protocol === 'tcp' ? new Uint8Array(20).fill(0x51) : new Uint8Array(8).fill(0x17)
  const checksumOffset = protocol === 'tcp' ? 16 : 6
  transportHeader.fill(0, checksumOffset, checksumOffset + 2)
  const length = transportHeader.length + payload.length
  const half = (value: number) => [value >>> 8, value & 0xff]
  const addressBytes = version === 4 ? 4 : 16
  const addresses = Array.from({ length: 2 * addressBytes }, (_, n) => (n * 37 + 5) & 0xff)
  const network =
    version === 4
      ? [
          ...[0x45 + optionBytes / 4, 0, ...half(20 + optionBytes + length), 0, 7, 0x40, 0, 64, number, 0, 0],
          ...addresses,
          ...Array(optionBytes).fill(1),
        ]
      : [0x60, 0, 0, 0, ...half(length), number, 64, ...addresses]
  const pseudoHeader = onesComplementSum([...addresses, ...half(number), ...half(length)])
  const covered = [...transportHeader, ...payload]
  const complement = ~onesComplementSum([...half(pseudoHeader), ...covered]) & 0xffff
  const checksum = complement === 0 ? 0xffff : complement
  const type = version === 4 ? [0x08, 0x00] : [0x86, 0xdd]
  const frame = Uint8Array.from([
    ...Array(12).fill(2),
    ...type,
    ...network,
    ...covered,
    ...Array(paddingBytes).fill(0),
  ])
  const transport = 14 + network.length
  new DataView(frame.buffer).setUint16(transport + checksumOffset, checksum)
  return { frame, transport, checksumOffset, checksum, pseudoHeader }
}
