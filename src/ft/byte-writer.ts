import { ProtocolInvariantError } from './protocol-error.ts'

/** Writes the fields that `ByteReader` reads, in network byte order, into a buffer of fixed size. */
export class ByteWriter {
  readonly bytes: Uint8Array
  readonly #view: DataView
  #offset = 0

  /** @param length the exact size of the message or, when it is cut with `written`, its largest. */
  constructor(length: number) {
    this.bytes = new Uint8Array(length)
    this.#view = new DataView(this.bytes.buffer)
  }

  u8(value: number): this {
    this.#view.setUint8(this.#offset, value)
    this.#offset += 1
    return this
  }

  u32(value: number): this {
    this.#view.setUint32(this.#offset, value)
    this.#offset += 4
    return this
  }

  u53(value: number): this {
    if (!Number.isSafeInteger(value) || value < 0)
      throw new ProtocolInvariantError(`${value} is no message field`)
    this.u32(Math.floor(value / 2 ** 32))
    return this.u32(value >>> 0)
  }

  f64(value: number): this {
    this.#view.setFloat64(this.#offset, value)
    this.#offset += 8
    return this
  }

  text(value: string): this {
    const utf8 = new TextEncoder().encode(value)
    if (utf8.length > NAME_BYTES_MAX) throw new ProtocolInvariantError(`a name has ${utf8.length} bytes`)
    this.u8(utf8.length)
    return this.raw(utf8)
  }

  raw(value: Uint8Array): this {
    this.bytes.set(value, this.#offset)
    this.#offset += value.length
    return this
  }

  /** What has been written so far. */
  get written(): Uint8Array {
    return this.bytes.subarray(0, this.#offset)
  }
}

/** Longest name of a VM or replica in bytes of UTF-8: its length is one byte on the wire. */
export const NAME_BYTES_MAX = 255
