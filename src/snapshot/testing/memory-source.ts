import type { SnapshotSource } from '../reader.ts'

/** A snapshot in memory. */
export class MemorySource implements SnapshotSource {
  readonly #bytes: Uint8Array
  #offset = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  get restBytes(): number {
    return this.#bytes.length - this.#offset
  }

  readInto(buffers: readonly Uint8Array[]): number {
    const before = this.#offset
    for (const buffer of buffers) {
      const piece = this.#bytes.subarray(this.#offset, this.#offset + buffer.length)
      buffer.set(piece)
      this.#offset += piece.length
    }
    return this.#offset - before
  }
}
