/** The files of the machine verbs: images that go into the guest, and logs. */
import { closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs'
import type { MachineConfig } from '../machine/config.ts'
import { FrameEncoder, type LogFrame } from '../replay/frame.ts'
import { encodeLogEnd, encodeLogStart, type LogSource, retiredAtStart } from '../replay/log-file.ts'
import { MachineVerbError } from './machine-errors.ts'

/** The whole file, if it has at most `bytesMax` bytes. */
export function readImage(path: string, bytesMax: number): Uint8Array<ArrayBuffer> {
  const file = openToRead(path)
  try {
    const size = fstatSync(file).size
    if (size > bytesMax) {
      throw new MachineVerbError(
        'MACHINE_FILE_TOO_LARGE',
        `${path} has ${size} bytes, ${bytesMax} are possible.`,
      )
    }
    return readExactly(file, path, 0, size)
  } finally {
    closeSync(file)
  }
}

/** A log on disk as the reader wants it. */
export class LogFileSource implements LogSource {
  readonly lengthBytes: number
  readonly #file: number
  readonly #path: string

  constructor(path: string) {
    this.#path = path
    this.#file = openToRead(path)
    this.lengthBytes = fstatSync(this.#file).size
  }

  read(offset: number, length: number): Uint8Array {
    const available = Math.max(0, this.lengthBytes - offset)
    return readExactly(this.#file, this.#path, offset, Math.min(length, available))
  }

  close(): void {
    closeSync(this.#file)
  }
}

/**
 * Writes a log as it is made. Every frame is handed to the operating system at once, so that of a recording
 * that is killed at most the frame being written is torn.
 */
export class LogFileWriter {
  readonly #file: number
  readonly #path: string
  readonly #encoder = new FrameEncoder()
  #retired: bigint
  #bytes = 0

  constructor(path: string, config: MachineConfig, program: string) {
    this.#path = path
    this.#retired = retiredAtStart(config)
    const start = encodeLogStart(config, program)
    this.#file = this.#failAsUnwritable(() => openSync(path, 'w', 0o600))
    for (const bytes of start) this.#write(bytes)
  }

  /** Written so far. */
  get bytes(): number {
    return this.#bytes
  }

  frame(frame: LogFrame): void {
    this.#write(this.#encoder.encode(frame))
    this.#retired += BigInt(frame.retired)
  }

  /** Writes the closing record. `digest` is the full digest of the machine. */
  end(digest: bigint): void {
    const { sequence } = this.#encoder.cursor
    this.#write(encodeLogEnd({ frames: sequence, retired: this.#retired, digest }))
    closeSync(this.#file)
  }

  #write(bytes: Uint8Array): void {
    this.#failAsUnwritable(() => {
      for (let done = 0; done < bytes.length; ) done += writeSync(this.#file, bytes, done)
    })
    this.#bytes += bytes.length
  }

  #failAsUnwritable<Result>(action: () => Result): Result {
    try {
      return action()
    } catch (cause) {
      const { message } = cause as Error
      throw new MachineVerbError('MACHINE_LOG_UNWRITABLE', `${this.#path}: ${message}.`, { cause })
    }
  }
}

function openToRead(path: string): number {
  let file: number | null = null
  try {
    file = openSync(path, 'r')
    if (fstatSync(file).isFile()) return file
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    const isMissing = code === 'ENOENT' || code === 'ENOTDIR'
    const ours = isMissing ? 'MACHINE_FILE_MISSING' : 'MACHINE_FILE_UNREADABLE'
    throw new MachineVerbError(ours, isMissing ? `There is no file ${path}.` : `${path}: ${message}.`, {
      cause,
    })
  }
  closeSync(file)
  throw new MachineVerbError('MACHINE_FILE_UNREADABLE', `${path} is no regular file.`)
}

function readExactly(file: number, path: string, offset: number, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length)
  for (let done = 0; done < length; ) {
    const count = readSync(file, bytes, done, length - done, offset + done)
    if (count === 0)
      throw new MachineVerbError('MACHINE_FILE_UNREADABLE', `${path} shrank while it was read.`)
    done += count
  }
  return bytes
}
