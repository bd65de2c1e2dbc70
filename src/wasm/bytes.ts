/** A growing byte buffer with the integer encodings of the WebAssembly binary format (LEB128). */
export class ByteWriter {
  #bytes: Uint8Array
  #length = 0

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity)
  }

  get length(): number {
    return this.#length
  }

  /** The bytes written so far; a view, valid until the next write. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.#length)
  }

  clear(): void {
    this.#length = 0
  }

  u8(value: number): void {
    if (this.#length === this.#bytes.length) this.#grow(1)
    this.#bytes[this.#length++] = value
  }

  /** Writes over a byte that was written before. */
  replace(at: number, value: number): void {
    if (at >= this.#length) throw new RangeError('nothing was written there yet')
    this.#bytes[at] = value
  }

  bytes(data: Uint8Array): void {
    if (this.#length + data.length > this.#bytes.length) this.#grow(data.length)
    this.#bytes.set(data, this.#length)
    this.#length += data.length
  }

  /** Unsigned LEB128 of an integer below 2^32. */
  u32(value: number): void {
    if (value < 0x80 && value >= 0) {
      this.u8(value)
      return
    }
    let rest = value >>> 0
    while (rest >= 0x80) {
      this.u8((rest & 0x7f) | 0x80)
      rest >>>= 7
    }
    this.u8(rest)
  }

  /** Signed LEB128 of a 32-bit integer. */
  i32(value: number): void {
    let rest = value | 0
    for (;;) {
      const low = rest & 0x7f
      rest >>= 7
      if ((rest === 0 && (low & 0x40) === 0) || (rest === -1 && (low & 0x40) !== 0)) {
        this.u8(low)
        return
      }
      this.u8(low | 0x80)
    }
  }

  /** Signed LEB128 of a 64-bit integer. Numbers must be safe integers. */
  i64(value: number | bigint): void {
    if (typeof value === 'number' && value === (value | 0)) {
      this.i32(value)
      return
    }
    let rest = BigInt.asIntN(64, BigInt(value))
    for (;;) {
      const low = Number(rest & 0x7fn)
      rest >>= 7n
      if ((rest === 0n && (low & 0x40) === 0) || (rest === -1n && (low & 0x40) !== 0)) {
        this.u8(low)
        return
      }
      this.u8(low | 0x80)
    }
  }

  /** A vector of UTF-8 bytes, as names are written. */
  name(text: string): void {
    const data = new TextEncoder().encode(text)
    this.u32(data.length)
    this.bytes(data)
  }

  #grow(atLeast: number): void {
    const bigger = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + atLeast))
    bigger.set(this.#bytes)
    this.#bytes = bigger
  }
}
