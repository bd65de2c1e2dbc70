/**
 * A disk that is a raw file: byte n of the disk is byte n of the file. Reads, writes and flushes are positioned
 * and asynchronous, run at the same time and may end in any order, as virtio-blk allows (virtio 1.2, section
 * 5.2.6): a flush covers the writes that ended before it was asked for.
 */
import { type FileHandle, open } from 'node:fs/promises'
import { StorageError, type StorageErrorCode } from './errors.ts'

/** The unit virtio-blk counts in. */
export const SECTOR_BYTES = 512
/** One request at most: the device's own limit, kept here too because it is what a read allocates. */
export const DISK_REQUEST_BYTES_MAX = 8 * 1024 * 1024

export class RawDisk {
  readonly path: string
  readonly sizeBytes: number
  readonly readOnly: boolean
  readonly #file: FileHandle

  private constructor(path: string, file: FileHandle, sizeBytes: number, readOnly: boolean) {
    this.path = path
    this.#file = file
    this.sizeBytes = sizeBytes
    this.readOnly = readOnly
  }

  /** Opens an existing file of a whole, positive number of sectors. Throws StorageError. */
  static async open(path: string, options: { readonly readOnly?: boolean } = {}): Promise<RawDisk> {
    const readOnly = options.readOnly ?? false
    const file = await failAs(openErrorCode, path, () => open(path, readOnly ? 'r' : 'r+'))
    try {
      const status = await failAs(
        () => 'DISK_IO',
        path,
        () => file.stat(),
      )
      if (!status.isFile()) throw new StorageError('DISK_NOT_A_FILE', `${path} is no regular file.`)
      if (status.size === 0 || status.size % SECTOR_BYTES !== 0) {
        throw new StorageError('DISK_SIZE', `${path} has ${status.size} bytes, not whole sectors.`)
      }
      return new RawDisk(path, file, status.size, readOnly)
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** Exactly `length` bytes from `offset`. A file that shrank meanwhile is an error, never a short read. */
  async read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    this.#checkRange(offset, length)
    const data = new Uint8Array(length)
    await this.#failAsIo(async () => {
      for (let done = 0; done < length; ) {
        const { bytesRead } = await this.#file.read(data, done, length - done, offset + done)
        if (bytesRead === 0) throw new Error(`the file ends at ${offset + done}`)
        done += bytesRead
      }
    })
    return data
  }

  /** Ends when the operating system has the data; durable only after a `flush` that was asked for later. */
  async write(offset: number, data: Uint8Array): Promise<void> {
    this.#checkRange(offset, data.length)
    if (this.readOnly) throw new StorageError('DISK_READ_ONLY', `${this.path} was opened for reading only.`)
    await this.#failAsIo(async () => {
      for (let done = 0; done < data.length; ) {
        const { bytesWritten } = await this.#file.write(data, done, data.length - done, offset + done)
        done += bytesWritten
      }
    })
  }

  /** Ends when every write that ended before the call is durable. */
  async flush(): Promise<void> {
    if (!this.readOnly) await this.#failAsIo(() => this.#file.datasync())
  }

  async close(): Promise<void> {
    await this.#file.close()
  }

  #checkRange(offset: number, length: number): void {
    const isInside =
      Number.isSafeInteger(offset) &&
      Number.isSafeInteger(length) &&
      offset >= 0 &&
      length >= 0 &&
      length <= DISK_REQUEST_BYTES_MAX &&
      offset + length <= this.sizeBytes
    if (isInside) return
    throw new StorageError('DISK_OUT_OF_RANGE', `${length} bytes at ${offset} are not on ${this.path}.`)
  }

  #failAsIo<Result>(action: () => Promise<Result>): Promise<Result> {
    return failAs(() => 'DISK_IO', this.path, action)
  }
}

/** Runs `action` and turns what the file system says into a StorageError. */
async function failAs<Result>(
  codeOf: (systemCode: string | undefined) => StorageErrorCode,
  path: string,
  action: () => Promise<Result>,
): Promise<Result> {
  try {
    return await action()
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    throw new StorageError(codeOf(code), `${path}: ${message}.`, { cause })
  }
}

function openErrorCode(systemCode: string | undefined): StorageErrorCode {
  switch (systemCode) {
    case 'ENOENT':
    case 'ENOTDIR':
      return 'DISK_NOT_FOUND'
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return 'DISK_ACCESS'
    case 'EISDIR':
      return 'DISK_NOT_A_FILE'
    default:
      return 'DISK_IO'
  }
}
