/** Snapshots in files: written whole or not at all, never changed afterwards. */
import { closeSync, fstatSync, fsyncSync, linkSync, openSync, readvSync, rmSync, writevSync } from 'node:fs'
import type { SnapshotStart } from '../machine/config.ts'
import { isSavable, type Machine } from '../machine/machine.ts'
import { SnapshotError } from './errors.ts'
import type { SnapshotConfig } from './header.ts'
import { SnapshotReader, type SnapshotSource } from './reader.ts'

/** Vectors in one call (IOV_MAX of Linux). */
const VECTORS_MAX = 1024
/** Small pieces are gathered into calls of about this much. */
const GATHER_BYTES = 4 * 1024 * 1024

/** Reads a snapshot file from its beginning. Throws SNAPSHOT_MISSING or SNAPSHOT_UNREADABLE. */
export class SnapshotFile implements SnapshotSource {
  readonly #file: number
  readonly #path: string

  constructor(path: string) {
    this.#path = path
    this.#file = this.#readable(() => openSync(path, 'r'))
    if (this.#readable(() => fstatSync(this.#file).isFile())) return
    this.close()
    throw new SnapshotError('SNAPSHOT_UNREADABLE', `${path} is no regular file.`)
  }

  get lengthBytes(): number {
    return fstatSync(this.#file).size
  }

  readInto(buffers: readonly Uint8Array[]): number {
    let done = 0
    let rest = buffers.filter(({ length }) => length > 0)
    while (rest.length > 0) {
      const count = this.#readable(() => readvSync(this.#file, rest.slice(0, VECTORS_MAX)))
      if (count === 0) break
      done += count
      rest = after(rest, count)
    }
    return done
  }

  close(): void {
    closeSync(this.#file)
  }

  #readable<Result>(action: () => Result): Result {
    try {
      return action()
    } catch (cause) {
      const { code, message } = cause as NodeJS.ErrnoException
      const isMissing = code === 'ENOENT' || code === 'ENOTDIR'
      throw new SnapshotError(
        isMissing ? 'SNAPSHOT_MISSING' : 'SNAPSHOT_UNREADABLE',
        isMissing ? `There is no file ${this.#path}.` : `${this.#path}: ${message}.`,
        { cause },
      )
    }
  }
}

/** What a snapshot file is of. Reads no further than its header. */
export function readSnapshotConfig(path: string): SnapshotConfig {
  const file = new SnapshotFile(path)
  try {
    return new SnapshotReader(file).config
  } finally {
    file.close()
  }
}

/** Fills a machine that was made to go on from `start`. Throws SNAPSHOT_MISMATCH when the file is of another state. */
export function restoreFromFile(path: string, machine: Machine, start: SnapshotStart): void {
  if (!isSavable(machine)) throw new SnapshotError('SNAPSHOT_MISMATCH', 'This machine knows no snapshots.')
  const file = new SnapshotFile(path)
  try {
    const reader = new SnapshotReader(file)
    assertSame(path, reader.config.boot, start)
    reader.restore(machine)
  } finally {
    file.close()
  }
}

function assertSame(path: string, found: SnapshotStart, wanted: SnapshotStart): void {
  if (found.digest === wanted.digest && found.retired === wanted.retired) return
  const name = ({ digest, retired }: SnapshotStart) =>
    `${digest.toString(16).padStart(16, '0')} at ${retired}`
  throw new SnapshotError(
    'SNAPSHOT_MISMATCH',
    `${path} holds the state ${name(found)} retired instructions, wanted is ${name(wanted)}.`,
  )
}

/**
 * Writes a snapshot under a temporary name and gives it its name when it is whole. A file that is there already is left
 * as it is. Returns the bytes written. Throws SNAPSHOT_UNWRITABLE or SNAPSHOT_EXISTS.
 */
export function writeSnapshot(path: string, pieces: Iterable<Uint8Array>): number {
  const temporary = `${path}.${process.pid}.new`
  try {
    const file = openSync(temporary, 'wx', 0o600)
    try {
      const bytes = writeAll(file, pieces)
      fsyncSync(file)
      // Not rename, which would take the place of another process's file that someone may just be reading.
      linkSync(temporary, path)
      return bytes
    } finally {
      closeSync(file)
      rmSync(temporary, { force: true })
    }
  } catch (cause) {
    if (cause instanceof SnapshotError) throw cause
    const { code, message } = cause as NodeJS.ErrnoException
    if (code === 'EEXIST') throw new SnapshotError('SNAPSHOT_EXISTS', `${path} is there already.`, { cause })
    throw new SnapshotError('SNAPSHOT_UNWRITABLE', `${path}: ${message}.`, { cause })
  }
}

function writeAll(file: number, pieces: Iterable<Uint8Array>): number {
  let bytes = 0
  let gathered: Uint8Array[] = []
  let gatheredBytes = 0
  const flush = (): void => {
    for (let rest = gathered; rest.length > 0; )
      rest = after(rest, writevSync(file, rest.slice(0, VECTORS_MAX)))
    gathered = []
    gatheredBytes = 0
  }
  for (const piece of pieces) {
    bytes += piece.length
    if (piece.length === 0) continue
    gathered.push(piece)
    gatheredBytes += piece.length
    if (gatheredBytes >= GATHER_BYTES) flush()
  }
  flush()
  return bytes
}

/** What is left of buffers of which the first `count` bytes are dealt with. */
function after(buffers: readonly Uint8Array[], count: number): Uint8Array[] {
  let left = count
  let index = 0
  while (index < buffers.length && left >= buffers[index].length) left -= buffers[index++].length
  const rest = buffers.slice(index)
  if (left > 0) rest[0] = rest[0].subarray(left)
  return rest
}
