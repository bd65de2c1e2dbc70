/** A bounded first-in first-out queue of bytes: what was typed at a console and the guest has not read yet. */
export class ByteQueue {
  readonly capacity: number
  readonly #bytes: Uint8Array
  #head = 0
  #length = 0

  constructor(capacity: number) {
    this.capacity = capacity
    this.#bytes = new Uint8Array(capacity)
  }

  get length(): number {
    return this.#length
  }

  get free(): number {
    return this.capacity - this.#length
  }

  /** Appends as much of `data` as fits and says how much that was. */
  push(data: Uint8Array): number {
    const accepted = Math.min(data.length, this.free)
    const tail = (this.#head + this.#length) % this.capacity
    const first = Math.min(accepted, this.capacity - tail)
    this.#bytes.set(data.subarray(0, first), tail)
    this.#bytes.set(data.subarray(first, accepted), 0)
    this.#length += accepted
    return accepted
  }

  /** The oldest byte, removed; -1 when there is none. */
  shift(): number {
    if (this.#length === 0) return -1
    const byte = this.#bytes[this.#head]
    this.#head = (this.#head + 1) % this.capacity
    this.#length -= 1
    return byte
  }

  /** A copy of the oldest bytes, at most `lengthMax`, which stay in the queue. */
  peek(lengthMax: number): Uint8Array<ArrayBuffer> {
    const length = Math.min(lengthMax, this.#length)
    const copy = new Uint8Array(length)
    const first = Math.min(length, this.capacity - this.#head)
    copy.set(this.#bytes.subarray(this.#head, this.#head + first), 0)
    copy.set(this.#bytes.subarray(0, length - first), first)
    return copy
  }

  /** The oldest bytes, at most `lengthMax`, removed. */
  take(lengthMax: number): Uint8Array<ArrayBuffer> {
    const taken = this.peek(lengthMax)
    this.#head = (this.#head + taken.length) % this.capacity
    this.#length -= taken.length
    return taken
  }

  clear(): void {
    this.#head = 0
    this.#length = 0
  }
}
