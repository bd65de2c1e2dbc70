import { FrameError } from './errors.ts'

/**
 * Little-endian bytes and LEB128 varints, the alphabet of the log format. Writer and reader stand together so
 * that they cannot drift apart.
 */

const VARINT_BYTES_MAX = 10 // 64 bits in groups of seven

/** Starts small because most frames are of an idle guest, and doubles. */
const CAPACITY_BYTES_START = 64
/** What a frame of bulk traffic takes; a longer one comes seldom. */
const CAPACITY_BYTES_KEPT = 256 * 1024

export class ByteWriter {
  #bytes = new Uint8Array(CAPACITY_BYTES_START)
  #view = new DataView(this.#bytes.buffer)
  #length = 0

  /** Begins anew, in the same memory unless that has become large. */
  clear(): void {
    this.#length = 0
    if (this.#bytes.length <= CAPACITY_BYTES_KEPT) return
    this.#bytes = new Uint8Array(CAPACITY_BYTES_START)
    this.#view = new DataView(this.#bytes.buffer)
  }

  get length(): number {
    return this.#length
  }

  u8(value: number): void {
    this.#reserve(1)
    this.#bytes[this.#length++] = value
  }

  u32(value: number): void {
    this.#reserve(4)
    this.#view.setUint32(this.#length, value, true)
    this.#length += 4
  }

  u64(value: bigint): void {
    this.#reserve(8)
    this.#view.setBigUint64(this.#length, value, true)
    this.#length += 8
  }

  /** Unsigned LEB128 of a non-negative safe integer or of a bigint below 2^64. */
  varint(value: number | bigint): void {
    let rest = BigInt(value)
    this.#reserve(VARINT_BYTES_MAX)
    while (rest >= 0x80n) {
      this.#bytes[this.#length++] = Number(rest & 0x7fn) | 0x80
      rest >>= 7n
    }
    this.#bytes[this.#length++] = Number(rest)
  }

  /** A varint of the length, then the bytes. */
  block(data: Uint8Array): void {
    this.varint(data.length)
    this.#reserve(data.length)
    this.#bytes.set(data, this.#length)
    this.#length += data.length
  }

  /** A view of what was written, valid until the next write. */
  written(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#length)
  }

  setU32(offset: number, value: number): void {
    this.#view.setUint32(offset, value, true)
  }

  #reserve(extra: number): void {
    if (this.#length + extra <= this.#bytes.length) return
    let capacity = this.#bytes.length
    while (capacity < this.#length + extra) capacity *= 2
    const grown = new Uint8Array(capacity)
    grown.set(this.#bytes.subarray(0, this.#length))
    this.#bytes = grown
    this.#view = new DataView(grown.buffer)
  }
}

/**
 * Reads the body of a frame whose checksum already matched. So running out of bytes here is no torn frame but
 * a malformed one, and every method throws FRAME_MALFORMED then. Lengths are checked before anything is copied.
 */
export class ByteReader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #base: number
  #offset = 0

  /** `base` is added to offsets in errors: where `bytes` lies in its file. */
  constructor(bytes: Uint8Array, base: number) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#base = base
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset
  }

  u8(): number {
    this.#need(1)
    return this.#bytes[this.#offset++]
  }

  u32(): number {
    this.#need(4)
    const value = this.#view.getUint32(this.#offset, true)
    this.#offset += 4
    return value
  }

  u64(): bigint {
    this.#need(8)
    const value = this.#view.getBigUint64(this.#offset, true)
    this.#offset += 8
    return value
  }

  varint(): bigint {
    let value = 0n
    for (let group = 0; group < VARINT_BYTES_MAX; group++) {
      const byte = this.u8()
      value |= BigInt(byte & 0x7f) << BigInt(7 * group)
      if (byte < 0x80) {
        // One spelling per number, so that equal logs are equal bytes.
        if (byte === 0 && group > 0) throw this.malformed('a varint is padded')
        if (value >= 1n << 64n) throw this.malformed('a varint passes 64 bits')
        return value
      }
    }
    throw this.malformed('a varint does not end')
  }

  /** A varint that must not pass `max`, a safe integer. */
  varintUpTo(max: number, what: string): number {
    const value = this.varint()
    if (value > BigInt(max)) throw this.malformed(`${what} is ${value}, over ${max}`)
    return Number(value)
  }

  /** A copy, so that the frame outlives the buffer it came in. */
  block(): Uint8Array<ArrayBuffer> {
    const length = this.varintUpTo(this.remaining, 'a block length')
    this.#need(length)
    const data = new Uint8Array(length)
    data.set(this.#bytes.subarray(this.#offset, this.#offset + length))
    this.#offset += length
    return data
  }

  malformed(message: string): FrameError {
    return new FrameError('FRAME_MALFORMED', this.#base + this.#offset, message)
  }

  #need(count: number): void {
    if (count > this.remaining) throw this.malformed(`${count} more bytes expected, ${this.remaining} left`)
  }
}
