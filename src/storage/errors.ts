import { UnderstudyError } from '../errors.ts'

/** Every code of `src/storage`, with what to do. Stable: programs may match the codes. */
export const STORAGE_ERRORS = {
  DISK_NOT_FOUND: 'Check the path, or make an empty disk there, for example with `truncate -s 1G FILE`.',
  DISK_ACCESS: 'Give this user the right to read and write the file.',
  DISK_NOT_A_FILE: 'Name a regular file that holds a raw disk image.',
  DISK_SIZE: 'Resize the image to a multiple of 512 bytes, for example with `truncate -s %512 FILE`.',
  DISK_OUT_OF_RANGE: 'This is a bug of the caller: the device checks requests before it makes them.',
  DISK_READ_ONLY: 'Open the disk for writing.',
  DISK_IO: 'Look at what the message says of the file system: space, quota, hardware.',
} as const

export type StorageErrorCode = keyof typeof STORAGE_ERRORS

export class StorageError extends UnderstudyError {
  declare readonly code: StorageErrorCode

  constructor(code: StorageErrorCode, message: string, options?: ErrorOptions) {
    super(code, message, STORAGE_ERRORS[code], options)
  }
}
