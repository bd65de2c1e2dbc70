import { UnderstudyError } from '../errors.ts'

/** Every code this module throws, with what to do. Stable: programs may match the codes. */
export const SNAPSHOT_ERRORS = {
  SNAPSHOT_MISSING: 'Give the path of a snapshot; `understudy save` writes them.',
  SNAPSHOT_UNREADABLE: 'See that the file can be read, and that its disk is well.',
  SNAPSHOT_UNWRITABLE: 'Give a path in a directory that can be written and has room.',
  SNAPSHOT_EXISTS: 'Choose another path, or remove the file first: a snapshot is never overwritten.',
  SNAPSHOT_NOT_A_SNAPSHOT: 'Give the path of a snapshot.',
  SNAPSHOT_VERSION: 'Restore it with the version of understudy that saved it.',
  /** The bytes end before the snapshot does. */
  SNAPSHOT_TRUNCATED: 'Copy the file again from where it was saved: it is not whole.',
  SNAPSHOT_CORRUPT:
    'The bytes were altered after they were written: copy the file again from where it was saved.',
  /** The checksums match but the content breaks the rules of the format: the writer was faulty or hostile. */
  SNAPSHOT_MALFORMED: 'Keep the file: it shows a fault of the program that wrote it.',
  /** A booted snapshot is of exactly one version of the machine. */
  SNAPSHOT_MACHINE_VERSION: 'Run it again: agents and command must be of one version of understudy.',
  /** The guest was to be booted for a snapshot and never said that it may be saved. */
  SNAPSHOT_BOOT_FAILED: 'Run with --no-snapshot, which boots the image anew.',
  /** A snapshot of other state than what is to be started, or of a machine with other devices. */
  SNAPSHOT_MISMATCH: 'Give the snapshot that belongs to it; the message names its digest.',
} as const

export type SnapshotErrorCode = keyof typeof SNAPSHOT_ERRORS

export class SnapshotError extends UnderstudyError {
  declare readonly code: SnapshotErrorCode

  constructor(code: SnapshotErrorCode, message: string, options?: ErrorOptions) {
    super(code, message, SNAPSHOT_ERRORS[code], options)
  }
}
