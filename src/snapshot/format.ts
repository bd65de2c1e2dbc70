/**
 * The bytes of a snapshot. A snapshot is a stream: it is written and read in order, page by page, so that neither
 * side ever holds a second copy of guest RAM, and it may as well go to another host as into a file.
 *
 *     magic            10 bytes: 89 "USTSNP" 0d 0a 1a
 *     version          u16
 *     header length    u32, at most HEADER_BYTES_MAX
 *     header           JSON: the machine's configuration, retired count and digest (header.ts)
 *     CRC-32           u32, of everything before it
 *     records          pages of RAM, in any order and each as often as the writer likes: the last one counts
 *                      then the state of hart and devices
 *                      then the digest, if the header has 0 for it: of a machine that went on while it was saved
 *                      then the end
 *
 * A record is RECORD_HEADER_BYTES, then what follows from them. Integers are little-endian.
 *
 *     u8 kind, u8 encoding (0 as it is, 1 zstd), u16 zero
 *     u32 count        pages: how many; end: how many records there were before it; state: 0
 *     u32 stored       bytes of the payload as stored
 *     u32 length       bytes of the payload as meant
 *     u32 CRC-32       of page numbers and payload as stored
 *     u32 CRC-32       of the five words before
 *     [u32 page number × count]   pages only, ascending
 *     payload          pages: their bytes, one page after the other; state: JSON; digest: u64; end: nothing
 */
import { crc32 } from 'node:zlib'
import { SnapshotError } from './errors.ts'

/** Like PNG's: a byte no text has, a name, and line ends that show a transfer in text mode. */
export const MAGIC = Uint8Array.of(0x89, 0x55, 0x53, 0x54, 0x53, 0x4e, 0x50, 0x0d, 0x0a, 0x1a)
export const SNAPSHOT_VERSION = 2
/** Magic, version, length of the header. */
export const PREFIX_BYTES = MAGIC.length + 2 + 4
/** A configuration without images is under a kilobyte. */
export const HEADER_BYTES_MAX = 65_536
export const CRC_BYTES = 4
export const RECORD_HEADER_BYTES = 24

/** Pages in one record: a megabyte is enough for full speed, and little to hold while it is unpacked. */
export const RECORD_PAGES_MAX = 256
/** JSON of the state. Its largest part is what writes to disks are under way: 32 MiB a disk, in base64. */
export const STATE_BYTES_MAX = 512 * 1024 * 1024

export type RecordKind = 'pages' | 'state' | 'end' | 'digest'
const KINDS: readonly RecordKind[] = ['pages', 'state', 'end', 'digest']
/** u64 */
export const DIGEST_BYTES = 8

export interface RecordHeader {
  readonly kind: RecordKind
  readonly packed: boolean
  readonly count: number
  readonly storedBytes: number
  readonly lengthBytes: number
  readonly crc: number
}

export function encodeRecordHeader(header: RecordHeader): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(RECORD_HEADER_BYTES)
  const view = new DataView(bytes.buffer)
  view.setUint8(0, KINDS.indexOf(header.kind) + 1)
  view.setUint8(1, header.packed ? 1 : 0)
  view.setUint32(4, header.count, true)
  view.setUint32(8, header.storedBytes, true)
  view.setUint32(12, header.lengthBytes, true)
  view.setUint32(16, header.crc, true)
  view.setUint32(20, crc32(bytes.subarray(0, 20)), true)
  return bytes
}

/** Throws SNAPSHOT_CORRUPT or SNAPSHOT_MALFORMED; every length is within its limit afterwards. */
export function decodeRecordHeader(bytes: Uint8Array, pageBytes: number): RecordHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, RECORD_HEADER_BYTES)
  if (view.getUint32(20, true) !== crc32(bytes.subarray(0, 20))) {
    throw new SnapshotError('SNAPSHOT_CORRUPT', 'The checksum of a record does not match.')
  }
  const header = {
    kind: KINDS[view.getUint8(0) - 1],
    packed: view.getUint8(1) === 1,
    count: view.getUint32(4, true),
    storedBytes: view.getUint32(8, true),
    lengthBytes: view.getUint32(12, true),
    crc: view.getUint32(16, true),
  }
  const wrong = problem(header, pageBytes)
  if (wrong !== null || view.getUint8(1) > 1 || view.getUint16(2, true) !== 0) {
    throw new SnapshotError('SNAPSHOT_MALFORMED', `A record breaks the rules: ${wrong ?? 'unknown flags'}.`)
  }
  return header
}

function problem(header: RecordHeader, pageBytes: number): string | null {
  const { kind, packed, count, storedBytes, lengthBytes } = header
  // zstd grows what it cannot shrink, but such a record is stored as it is.
  if (packed ? storedBytes >= lengthBytes : storedBytes !== lengthBytes)
    return 'its lengths contradict each other'
  switch (kind) {
    case undefined:
      return 'an unknown kind'
    case 'pages':
      if (count < 1 || count > RECORD_PAGES_MAX) return `${count} pages`
      return lengthBytes === count * pageBytes ? null : 'pages of another size'
    case 'state':
      return count === 0 && lengthBytes <= STATE_BYTES_MAX ? null : 'a state that is too long'
    case 'digest':
      return count === 0 && lengthBytes === DIGEST_BYTES ? null : 'a digest of another size'
    case 'end':
      return lengthBytes === 0 ? null : 'an end with content'
  }
}
