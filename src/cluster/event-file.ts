/** Reads one host's events file as it grows. Every event has a place in it that names it for ever. */
import { createHash } from 'node:crypto'
import type { Stats } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { parseEvent, type UnderstudyEvent } from '../replica/event-log.ts'

/** One read; a file longer than this is read in several. */
const READ_BYTES = 256 * 1024

/** Of the digest that names a file. */
const FILE_ID_CHARS = 16

/** An event and where it came from. No two events have the same place: it tells whether two copies are of one event. */
export interface LocatedEvent {
  /** Names the file, also when another one has taken its path: a digest of its first line. */
  readonly file: string
  /** Byte at which the event's line begins. */
  readonly offset: number
  readonly event: UnderstudyEvent
}

export class EventFile {
  readonly #path: string
  #id: string | null = null
  #offset = 0
  #isPresent = false
  /** The file itself, whatever its name is now. */
  #identity: string | null = null

  constructor(path: string) {
    this.#path = path
  }

  /** Null while it has no whole line. */
  get id(): string | null {
    return this.#id
  }

  /** Everything before was handed out. */
  get offset(): number {
    return this.#offset
  }

  /** Whether the last read found it. */
  get isPresent(): boolean {
    return this.#isPresent
  }

  /** The next events, at most what one read brings; null when nothing new is there. A torn line is waited for. */
  async read(): Promise<LocatedEvent[] | null> {
    let handle: FileHandle
    try {
      handle = await open(this.#path, 'r')
    } catch {
      this.#isPresent = false
      return null
    }
    try {
      this.#isPresent = true
      const status = await handle.stat()
      this.#recognise(status)
      if (status.size <= this.#offset) return null
      return await this.#readFrom(handle)
    } finally {
      await handle.close()
    }
  }

  /** Another file may have taken the name, or this one may have been emptied: then it is read from its beginning. */
  #recognise(status: Stats): void {
    const identity = `${status.dev} ${status.ino} ${status.birthtimeMs}`
    if (identity === this.#identity && status.size >= this.#offset) return
    this.#identity = identity
    this.#id = null
    this.#offset = 0
  }

  async #readFrom(handle: FileHandle): Promise<LocatedEvent[] | null> {
    const buffer = Buffer.alloc(READ_BYTES)
    const { bytesRead } = await handle.read(buffer, 0, READ_BYTES, this.#offset)
    const read = buffer.subarray(0, bytesRead)
    const end = read.lastIndexOf(0x0a) + 1
    // A line longer than any event has no event in it; what follows of it is nonsense of its own.
    if (end === 0 && bytesRead < READ_BYTES) return null
    const whole = end === 0 ? read : read.subarray(0, end)
    const file = this.#id ?? fileId(whole)
    const base = this.#offset
    this.#id = file
    this.#offset += whole.length
    return [...lines(whole)].flatMap(({ start, line }) => {
      const event = parseEvent(line)
      return event === null ? [] : [{ file, offset: base + start, event }]
    })
  }
}

/** `beginning`: the first bytes of the file, a whole line if it has one. */
function fileId(beginning: Buffer): string {
  const end = beginning.indexOf(0x0a)
  const first = beginning.subarray(0, end < 0 ? undefined : end)
  return createHash('sha256').update(first).digest('hex').slice(0, FILE_ID_CHARS)
}

function* lines(bytes: Buffer): Generator<{ start: number; line: string }> {
  for (let start = 0; start < bytes.length; ) {
    const newline = bytes.indexOf(0x0a, start)
    const end = newline < 0 ? bytes.length : newline
    yield { start, line: bytes.toString('utf8', start, end) }
    start = end + 1
  }
}
