/**
 * The format of one version of one key, reader and writer together: a line of text that an administrator can
 * read, then the value.
 *
 *     understudy-store 1 value 0a1b2c3d 17\n<17 bytes>
 *     understudy-store 1 deleted 00000000 0\n
 *
 * Magic, format version, what it is, CRC-32 and length of the value. A file is linked to its name only once it
 * is whole and on disk, so a file that does not fit is damage, never a write in progress.
 */
import { crc32 } from 'node:zlib'
import { StoreError, VALUE_BYTES_MAX } from './store.ts'

const MAGIC = 'understudy-store'
const FORMAT_VERSION = 1
const HEADER = /^understudy-store ([0-9]{1,4}) (value|deleted) ([0-9a-f]{8}) ([0-9]{1,6})$/
/** The longest header the pattern admits, newline included. */
const HEADER_BYTES_MAX = 64

/** The longest well-formed file; readers look no further. */
export const VALUE_FILE_BYTES_MAX = HEADER_BYTES_MAX + VALUE_BYTES_MAX

/** `null` stands for a key that was deleted: a tombstone that keeps its version from being given out again. */
export function encodeValueFile(value: Uint8Array | null): Uint8Array {
  const body = value ?? new Uint8Array(0)
  const kind = value === null ? 'deleted' : 'value'
  const checksum = crc32(body).toString(16).padStart(8, '0')
  const header = Buffer.from(`${MAGIC} ${FORMAT_VERSION} ${kind} ${checksum} ${body.length}\n`)
  return new Uint8Array(Buffer.concat([header, body]))
}

/** Throws STORE_DAMAGED, naming `path`. */
export function decodeValueFile(bytes: Uint8Array, path: string): Uint8Array | null {
  const headerEnd = bytes.subarray(0, HEADER_BYTES_MAX).indexOf(0x0a)
  const match =
    headerEnd < 0 ? null : HEADER.exec(Buffer.from(bytes.subarray(0, headerEnd)).toString('latin1'))
  if (match === null) throw new StoreError('STORE_DAMAGED', `${path}: not a file of this store`)
  const [, version, kind, checksum, length] = match
  if (Number(version) !== FORMAT_VERSION) {
    throw new StoreError(
      'STORE_DAMAGED',
      `${path}: format version ${version}, this program knows ${FORMAT_VERSION}`,
    )
  }
  const body = bytes.slice(headerEnd + 1)
  if (body.length !== Number(length)) {
    throw new StoreError('STORE_DAMAGED', `${path}: ${body.length} bytes where ${length} were written`)
  }
  if (crc32(body) !== Number.parseInt(checksum!, 16))
    throw new StoreError('STORE_DAMAGED', `${path}: checksum differs`)
  return kind === 'deleted' ? null : body
}
