/**
 * Saves a machine. Pages that are not compressed are views of guest RAM, so the machine must not run before the pieces
 * are written.
 */
import { crc32, constants as zlib, zstdCompressSync } from 'node:zlib'
import type { SavableMachine } from '../machine/machine.ts'
import {
  CRC_BYTES,
  encodeRecordHeader,
  MAGIC,
  PREFIX_BYTES,
  RECORD_PAGES_MAX,
  type RecordKind,
  SNAPSHOT_VERSION,
} from './format.ts'
import { encodeHeader } from './header.ts'
import { encodeState } from './state-text.ts'

/** Level 1: higher levels shrink the pages of a booted guest by some per cent more, and take twice the time. */
const ZSTD_LEVEL = 1

export interface SaveOptions {
  /** For people: who saved. */
  readonly program: string
  /** Smaller, and slower to restore: for files that are kept or sent. */
  readonly compress: boolean
}

/** A machine between two slices whose outputs were taken, as the bytes of a snapshot. */
export function* saveMachine(machine: SavableMachine, options: SaveOptions): Generator<Uint8Array> {
  yield encodeStart(encodeHeader(machine.savedConfig(), options.program))
  let records = 0
  const pages = machine.pages.nonZero()
  for (let from = 0; from < pages.length; from += RECORD_PAGES_MAX) {
    yield* pageRecord(machine, pages.subarray(from, from + RECORD_PAGES_MAX), options.compress)
    records++
  }
  yield* record('state', 0, [], [encodeState(machine.saveState())], options.compress)
  yield* record('end', records + 1, [], [], false)
}

/** Everything before the records. */
export function encodeStart(json: Uint8Array): Uint8Array {
  const start = new Uint8Array(PREFIX_BYTES + json.length + CRC_BYTES)
  const view = new DataView(start.buffer)
  start.set(MAGIC)
  view.setUint16(MAGIC.length, SNAPSHOT_VERSION, true)
  view.setUint32(MAGIC.length + 2, json.length, true)
  start.set(json, PREFIX_BYTES)
  const crcOffset = PREFIX_BYTES + json.length
  view.setUint32(crcOffset, crc32(start.subarray(0, crcOffset)), true)
  return start
}

/** The pages with these numbers, ascending and at most RECORD_PAGES_MAX, as they are now. */
export function* pageRecord(
  machine: SavableMachine,
  pages: Uint32Array,
  compress: boolean,
): Generator<Uint8Array> {
  const views = runsOf(pages).map(({ first, count }) => machine.pages.view(first, count))
  const numbers = new Uint8Array(pages.length * 4)
  const view = new DataView(numbers.buffer)
  pages.forEach((page, index) => {
    view.setUint32(index * 4, page, true)
  })
  yield* record('pages', pages.length, [numbers], views, compress)
}

/** Neighbouring numbers together. */
export function runsOf(pages: Uint32Array): { first: number; count: number }[] {
  const runs: { first: number; count: number }[] = []
  for (const page of pages) {
    const last = runs.at(-1)
    if (last !== undefined && last.first + last.count === page) last.count++
    else runs.push({ first: page, count: 1 })
  }
  return runs
}

export function* record(
  kind: RecordKind,
  count: number,
  numbers: readonly Uint8Array[],
  payload: readonly Uint8Array[],
  compress: boolean,
): Generator<Uint8Array> {
  const lengthBytes = payload.reduce((sum, piece) => sum + piece.length, 0)
  let stored = payload
  if (compress) {
    const packed = zstdCompressSync(Buffer.concat(payload), {
      params: { [zlib.ZSTD_c_compressionLevel]: ZSTD_LEVEL },
    })
    if (packed.length < lengthBytes) stored = [packed]
  }
  yield encodeRecordHeader({
    kind,
    packed: stored !== payload,
    count,
    storedBytes: stored.reduce((sum, piece) => sum + piece.length, 0),
    lengthBytes,
    crc: [...numbers, ...stored].reduce((crc, piece) => crc32(piece, crc), 0),
  })
  yield* numbers
  yield* stored
}
