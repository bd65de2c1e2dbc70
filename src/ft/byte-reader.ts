/**
 * Reads fields of a bounded message. It never throws for want of bytes: it returns zeros and remembers, so that a
 * decoder checks once, at the end, instead of at each field.
 */
export class ByteReader {
  readonly #view: DataView
  readonly #bytes: Uint8Array
  #offset = 0
  #short = false

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  u8(): number {
    return this.#take(1) ? this.#view.getUint8(this.#offset - 1) : 0
  }

  u32(): number {
    return this.#take(4) ? this.#view.getUint32(this.#offset - 4) : 0
  }

  /** A 64-bit unsigned integer that must fit a number exactly; one that does not counts as missing. */
  u53(): number {
    if (!this.#take(8)) return 0
    const value = this.#view.getUint32(this.#offset - 8) * 2 ** 32 + this.#view.getUint32(this.#offset - 4)
    if (Number.isSafeInteger(value)) return value
    this.#short = true
    return 0
  }

  /** A finite double; another counts as missing. */
  f64(): number {
    if (!this.#take(8)) return 0
    const value = this.#view.getFloat64(this.#offset - 8)
    if (Number.isFinite(value)) return value
    this.#short = true
    return 0
  }

  /** A string: its length in one byte, then UTF-8. Ill-formed UTF-8 counts as missing. */
  text(): string {
    const length = this.u8()
    if (!this.#take(length)) return ''
    try {
      return STRICT_UTF8.decode(this.#bytes.subarray(this.#offset - length, this.#offset))
    } catch {
      this.#short = true
      return ''
    }
  }

  /** All bytes that are left, not copied. */
  rest(): Uint8Array {
    const rest = this.#bytes.subarray(this.#offset)
    this.#offset = this.#bytes.length
    return rest
  }

  /** True when every field was there and no byte is left over. */
  get exact(): boolean {
    return !this.#short && this.#offset === this.#bytes.length
  }

  #take(length: number): boolean {
    if (this.#offset + length > this.#bytes.length) {
      this.#short = true
      return false
    }
    this.#offset += length
    return true
  }
}

const STRICT_UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
