/**
 * The format of one version of one key, reader and writer together: a line of text that an administrator can
 * read, then the value.
 *
 *     understudy-store 1 value 0a1b2c3d 17\n<17 bytes>
 *     understudy-store 1 deleted 00000000 0\n
 *     understudy-store 1 leased 0a1b2c3d 17 5000 89abcdef01234567\n<17 bytes>
 *
 * Magic, format version, what it is, CRC-32 and length of the value; of a lease also its time to live in
 * milliseconds and who holds it, and its CRC-32 covers these before the value. A file is linked to its name only
 * once it is whole and on disk, so a file that does not fit is damage, never a write in progress.
 */
import { crc32 } from 'node:zlib'
import { StoreError, VALUE_BYTES_MAX } from './store.ts'

const MAGIC = 'understudy-store'
const FORMAT_VERSION = 1
const HEADER =
  /^understudy-store ([0-9]{1,4}) (?:(value|deleted) ([0-9a-f]{8}) ([0-9]{1,6})|leased ([0-9a-f]{8}) ([0-9]{1,6}) (([0-9]{1,7}) ([0-9a-f]{16})))$/
/** Room for the longest header the pattern admits, newline included. */
const HEADER_BYTES_MAX = 96

/** The longest well-formed file; readers look no further. */
export const VALUE_FILE_BYTES_MAX = HEADER_BYTES_MAX + VALUE_BYTES_MAX

export interface LeaseMark {
  readonly ttlMs: number
  /** 16 hexadecimal digits drawn for this one lease, so that its holder knows its own. */
  readonly holder: string
}

/** `value` null stands for a key that was deleted: a tombstone that keeps its version from being given out again. */
export interface FileContent {
  readonly value: Uint8Array | null
  readonly lease: LeaseMark | null
}

export function encodeValueFile(value: Uint8Array | null, lease: LeaseMark | null = null): Uint8Array {
  const body = value ?? new Uint8Array(0)
  const kind = value === null ? 'deleted' : lease === null ? 'value' : 'leased'
  const mark = lease === null ? '' : `${lease.ttlMs} ${lease.holder}`
  const checksum = crc32(body, crc32(mark)).toString(16).padStart(8, '0')
  const fields = [MAGIC, FORMAT_VERSION, kind, checksum, body.length]
  if (lease !== null) fields.push(mark)
  return new Uint8Array(Buffer.concat([Buffer.from(`${fields.join(' ')}\n`), body]))
}

/** Throws STORE_DAMAGED, naming `path`. */
export function decodeValueFile(bytes: Uint8Array, path: string): FileContent {
  const headerEnd = bytes.subarray(0, HEADER_BYTES_MAX).indexOf(0x0a)
  const match =
    headerEnd < 0 ? null : HEADER.exec(Buffer.from(bytes.subarray(0, headerEnd)).toString('latin1'))
  if (match === null) throw new StoreError('STORE_DAMAGED', `${path}: not a file of this store`)
  const [, version, kind, plainChecksum, plainLength, leasedChecksum, leasedLength, mark, ttlMs, holder] =
    match
  if (Number(version) !== FORMAT_VERSION) {
    throw new StoreError(
      'STORE_DAMAGED',
      `${path}: format version ${version}, this program knows ${FORMAT_VERSION}`,
    )
  }
  const body = bytes.slice(headerEnd + 1)
  const length = plainLength ?? leasedLength
  if (body.length !== Number(length)) {
    throw new StoreError('STORE_DAMAGED', `${path}: ${body.length} bytes where ${length} were written`)
  }
  if (crc32(body, crc32(mark ?? '')) !== Number.parseInt((plainChecksum ?? leasedChecksum)!, 16))
    throw new StoreError('STORE_DAMAGED', `${path}: checksum differs`)
  if (holder !== undefined) return { value: body, lease: { ttlMs: Number(ttlMs), holder } }
  return { value: kind === 'deleted' ? null : body, lease: null }
}
