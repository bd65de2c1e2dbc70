/**
 * A single-producer, single-consumer ring of length-prefixed records in shared memory: how the CPU thread and
 * the I/O thread of a replica talk.
 *
 * Intuition: two counters that only ever grow (modulo 2^32) say how many bytes were ever written and read; their
 * difference is what the ring holds. Each side stores only its own counter, so no lock is needed. A side that
 * has nothing to do raises its flag, looks once more, and sleeps; the other side, after it moved its counter, looks at
 * that flag and wakes who sleeps. Both orders are total (Atomics are sequentially consistent), so either the sleeper
 * sees the counter or the other sees the flag.
 */
import { ReplicaError } from './errors.ts'

/** Words stand a cache line apart so that the two threads do not fight over one line. */
const WRITTEN = 0
const READ = 16
const CLOSED = 32
/** 1 while the reader sleeps or is about to. */
const READER_SLEEPS = 48
/** 1 while the writer sleeps or is about to. */
const WRITER_SLEEPS = 64
const CONTROL_WORDS = 80
const DATA_OFFSET = CONTROL_WORDS * 4

/** Counters are compared modulo 2^32 as signed words, so a ring may hold at most 2^30 bytes. */
const RING_BYTES_MAX = 2 ** 30
const RING_BYTES_MIN = 64
const LENGTH_BYTES = 4
/** In place of a record's length: what follows is at the ring's beginning. */
const REWIND = -1
/** A writer that finds the ring empty beyond this begins at the beginning, so that no more of it ever needs memory. */
const REWIND_BYTES_MIN = 64 * 1024

/** Buffers from this size on are worth keeping: each costs page faults, and V8 collects its whole heap after some of them. */
const RECYCLED_BYTES_MIN = 128 * 1024
/** As many as are on their way at once. */
const SPARES_MAX = 24

/** Bytes a record of `length` occupies: its length word, then itself, padded so that length words never wrap. */
function occupied(length: number): number {
  return (LENGTH_BYTES + length + 3) & ~3
}

/** Makes the shared memory of a ring that holds `bytes` bytes: a power of two, RING_BYTES_MIN to RING_BYTES_MAX. */
export function createRing(bytes: number): SharedArrayBuffer {
  if (bytes < RING_BYTES_MIN || bytes > RING_BYTES_MAX || (bytes & (bytes - 1)) !== 0) {
    throw new ReplicaError('RING_CORRUPT', `A ring cannot hold ${bytes} bytes.`)
  }
  return new SharedArrayBuffer(DATA_OFFSET + bytes)
}

class RingEnd {
  protected readonly control: Int32Array
  protected readonly data: Uint8Array
  protected readonly words: Int32Array
  protected readonly capacity: number

  constructor(shared: SharedArrayBuffer) {
    this.control = new Int32Array(shared, 0, CONTROL_WORDS)
    this.data = new Uint8Array(shared, DATA_OFFSET)
    this.words = new Int32Array(shared, DATA_OFFSET)
    this.capacity = this.data.length
  }

  /** Bytes of records that wait to be read, length words and padding included; what the writer skipped holds none. */
  get usedBytes(): number {
    const read = Atomics.load(this.control, READ)
    const used = (Atomics.load(this.control, WRITTEN) - read) >>> 0
    if (used === 0) return 0
    // Only the writer changes this word, and only once the reader is past it: both see what belongs to `read`.
    const start = read & (this.capacity - 1)
    return this.words[start >> 2] === REWIND ? used - (this.capacity - start) : used
  }

  get closed(): boolean {
    return Atomics.load(this.control, CLOSED) !== 0
  }

  protected markClosed(): void {
    Atomics.store(this.control, CLOSED, 1)
    Atomics.notify(this.control, WRITTEN)
    Atomics.notify(this.control, READ)
  }
}

export class RingWriter extends RingEnd {
  readonly #wakeReader: () => void

  /** `wakeReader` is for a reader that does not sleep in `wait` but in an event loop. */
  constructor(shared: SharedArrayBuffer, wakeReader?: () => void) {
    super(shared)
    this.#wakeReader = wakeReader ?? (() => Atomics.notify(this.control, WRITTEN))
  }

  /** Appends one record. Returns false, and writes nothing, when there is no room for it now. */
  tryWrite(record: Uint8Array): boolean {
    return this.tryWriteParts([record])
  }

  /** Appends one record that is made of these parts, sleeping while the ring is full. Nothing is copied but into the ring. */
  writeParts(parts: readonly Uint8Array[]): void {
    for (;;) {
      if (this.tryWriteParts(parts)) return
      const read = this.#announceSleep()
      if (this.tryWriteParts(parts)) return
      Atomics.wait(this.control, READ, read)
    }
  }

  /** The same for a record that is made of these parts. */
  tryWriteParts(parts: readonly Uint8Array[]): boolean {
    const length = parts.reduce((sum, part) => sum + part.length, 0)
    const size = occupied(length)
    if (size > this.capacity) {
      throw new ReplicaError('RING_RECORD_TOO_LARGE', `${length} bytes in a ring of ${this.capacity}.`)
    }
    if (this.closed) throw new ReplicaError('RING_CLOSED', 'The ring was closed.')
    let written = Atomics.load(this.control, WRITTEN)
    const used = (written - Atomics.load(this.control, READ)) >>> 0
    if (size > this.capacity - used) return false
    const mask = this.capacity - 1
    let start = written & mask
    if (used === 0 && start >= REWIND_BYTES_MIN && size <= start) {
      this.words[start >> 2] = REWIND
      written += this.capacity - start
      start = 0
    }
    this.words[start >> 2] = length
    let at = (start + LENGTH_BYTES) & mask
    for (const part of parts) {
      const first = Math.min(part.length, this.capacity - at)
      this.data.set(first === part.length ? part : part.subarray(0, first), at)
      if (first < part.length) this.data.set(part.subarray(first), 0)
      at = (at + part.length) & mask
    }
    Atomics.store(this.control, WRITTEN, (written + size) | 0)
    if (Atomics.exchange(this.control, READER_SLEEPS, 0) === 1) this.#wakeReader()
    return true
  }

  /** Appends one record, sleeping while the ring is full. For a thread that may block. */
  write(record: Uint8Array): void {
    this.writeParts([record])
  }

  /** Appends one record once there is room. For a thread that may not block; one call at a time. */
  async writeWhenRoom(record: Uint8Array): Promise<void> {
    for (;;) {
      if (this.tryWrite(record)) return
      const read = this.#announceSleep()
      if (this.tryWrite(record)) return
      const wait = Atomics.waitAsync(this.control, READ, read)
      if (wait.async) await wait.value
    }
  }

  /** Wakes both sides for good: nothing more is written; the reader still gets what is there. */
  close(): void {
    this.markClosed()
    this.#wakeReader()
  }

  #announceSleep(): number {
    const read = Atomics.load(this.control, READ)
    Atomics.store(this.control, WRITER_SLEEPS, 1)
    return read
  }
}

export class RingReader extends RingEnd {
  readonly #spare: ArrayBufferLike[] = []

  get empty(): boolean {
    return this.usedBytes === 0
  }

  /** Takes the oldest record, as a copy; null when there is none. */
  tryRead(): Uint8Array | null {
    let read = Atomics.load(this.control, READ)
    let used = (Atomics.load(this.control, WRITTEN) - read) >>> 0
    if (used === 0) return null
    const mask = this.capacity - 1
    let start = read & mask
    if (this.words[start >> 2] === REWIND) {
      used -= this.capacity - start
      read += this.capacity - start
      start = 0
    }
    const length = this.words[start >> 2]
    const size = occupied(length)
    if (length < 0 || size > used) {
      throw new ReplicaError('RING_CORRUPT', `A record of ${length} bytes among ${used}.`)
    }
    const record = this.#bufferFor(length)
    const from = (start + LENGTH_BYTES) & mask
    const first = Math.min(length, this.capacity - from)
    record.set(this.data.subarray(from, from + first))
    if (first < length) record.set(this.data.subarray(0, length - first), first)
    Atomics.store(this.control, READ, (read + size) | 0)
    if (Atomics.exchange(this.control, WRITER_SLEEPS, 0) === 1) Atomics.notify(this.control, READ)
    return record
  }

  /** Takes back a long record that was dealt with, whole or as a part of it, for one that is read later. */
  recycle(record: Uint8Array): void {
    if (record.buffer.byteLength < RECYCLED_BYTES_MIN || this.#spare.length >= SPARES_MAX) return
    this.#spare.push(record.buffer)
  }

  #bufferFor(length: number): Uint8Array {
    if (length < RECYCLED_BYTES_MIN) return new Uint8Array(length)
    const spare = this.#spare.findIndex((buffer) => buffer.byteLength >= length)
    if (spare >= 0) return new Uint8Array(this.#spare.splice(spare, 1)[0], 0, length)
    // Longer than this one, so that the next one fits.
    const rounded = Math.ceil(length / RECYCLED_BYTES_MIN) * RECYCLED_BYTES_MIN
    return new Uint8Array(new ArrayBuffer(rounded), 0, length)
  }

  /** Sleeps until a record is there, the ring is closed, or `timeoutMs` has passed. For a thread that may block. */
  wait(timeoutMs = Number.POSITIVE_INFINITY): boolean {
    const written = Atomics.load(this.control, WRITTEN)
    if (this.sleep() && !this.closed) Atomics.wait(this.control, WRITTEN, written, timeoutMs)
    return !this.empty
  }

  /**
   * Says that this side sleeps from now on: the next record wakes it. Returns false when a record is there already, and
   * then it should not. A reader in an event loop calls this and returns to its loop.
   */
  sleep(): boolean {
    Atomics.store(this.control, READER_SLEEPS, 1)
    return this.empty
  }
}
