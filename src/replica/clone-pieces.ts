/**
 * Pieces of a clone on their way through the ring, hundreds of kilobytes each: without V8's serialisation, which would copy
 * each into a buffer of its own. Those buffers are dropped at once, hundreds of megabytes of them, and V8's collection of
 * them stops the thread that runs the guest for tens of milliseconds.
 */
import type { CpuReport } from './thread-messages.ts'

type Piece = Extract<CpuReport, { kind: 'clone-piece' }>

/** What no record of V8's begins with: those have 0xff. */
const PIECE_TAG = 0xfe
/** Tag and padding, then pages, pages left (u32) and how long the machine stood still (f64). */
const HEADER_BYTES = 24

const header = new Uint8Array(HEADER_BYTES)
const view = new DataView(header.buffer)

/** Valid until the next call. */
export function encodePiece({ bytes, pages, pagesLeft, stopMs }: Piece): readonly Uint8Array[] {
  view.setUint8(0, PIECE_TAG)
  view.setUint32(8, pages, true)
  view.setUint32(12, pagesLeft, true)
  view.setFloat64(16, stopMs, true)
  return [header, bytes]
}

/** Null for a record of another kind. The bytes are those of the record. */
export function decodePiece(record: Uint8Array): Piece | null {
  if (record[0] !== PIECE_TAG) return null
  const fields = new DataView(record.buffer, record.byteOffset, HEADER_BYTES)
  return {
    kind: 'clone-piece',
    bytes: record.subarray(HEADER_BYTES),
    pages: fields.getUint32(8, true),
    pagesLeft: fields.getUint32(12, true),
    stopMs: fields.getFloat64(16, true),
  }
}
