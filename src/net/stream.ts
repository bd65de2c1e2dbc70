/**
 * Ethernet frames on a byte stream, as QEMU's `-netdev stream`, passt and gvproxy frame them: the length as an
 * unsigned 32-bit big-endian word, then the frame without FCS.
 *
 * Lengths over 2^31 can never occur there, so the link between a replica and the gateway uses the word's top
 * bit to mark control messages (`link.ts`). A decoder that was not told to expect them treats such a word as
 * what it is to everybody else: a frame far too long.
 */
import { NetError } from './errors.ts'

/**
 * Longest frame in bytes: QEMU's own buffer (NET_BUFSIZE, 4 KiB + 64 KiB). Whatever a QEMU peer sends can be
 * passed on; passt never sends more than 64 KiB and a header.
 */
export const FRAME_BYTES_MAX = 69_632

/** Destination, source and type (IEEE 802.3, 3.2). */
export const ETHERNET_HEADER_BYTES = 14

const LENGTH_WORD_BYTES = 4
const CONTROL_BIT = 0x8000_0000

/** Receives what a decoder found, in the order of the stream. The bytes are views of the chunk where possible. */
export interface FrameSink {
  frame(data: Uint8Array): void
  /** Only called by a decoder made with `controlBytesMax` over 0. */
  control(data: Uint8Array): void
}

/** A frame with its length word, ready to be written. */
export function encodeFrame(frame: Uint8Array): Uint8Array<ArrayBuffer> {
  if (frame.length > FRAME_BYTES_MAX) throw frameTooLong(frame.length, FRAME_BYTES_MAX)
  return encode(frame, frame.length)
}

/** A control message with its length word, the top bit set. */
export function encodeControl(message: Uint8Array): Uint8Array<ArrayBuffer> {
  return encode(message, message.length + CONTROL_BIT)
}

function encode(payload: Uint8Array, word: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(LENGTH_WORD_BYTES + payload.length)
  new DataView(bytes.buffer).setUint32(0, word)
  bytes.set(payload, LENGTH_WORD_BYTES)
  return bytes
}

/**
 * Takes the stream in chunks of any size. Keeps at most one incomplete frame, so memory is bounded by
 * FRAME_BYTES_MAX whatever the peer sends.
 */
export class FrameDecoder {
  readonly #sink: FrameSink
  readonly #controlBytesMax: number
  readonly #word = new Uint8Array(LENGTH_WORD_BYTES)
  #wordFilled = 0
  #isControl = false
  /** The frame being filled, or null while the length word is. */
  #partial: Uint8Array | null = null
  #partialFilled = 0

  constructor(sink: FrameSink, controlBytesMax = 0) {
    this.#sink = sink
    this.#controlBytesMax = controlBytesMax
  }

  /** Throws NET_FRAME_TOO_LONG; the stream is then out of step for good and must be closed. */
  push(chunk: Uint8Array): void {
    let at = 0
    while (at < chunk.length) {
      if (this.#partial !== null) {
        at += this.#fill(this.#partial, chunk, at)
      } else {
        at += this.#takeWord(chunk, at)
        if (this.#wordFilled === LENGTH_WORD_BYTES) at += this.#startPayload(chunk, at)
      }
    }
  }

  /** The peer closed. Throws NET_STREAM_TRUNCATED if it did so inside a frame. */
  end(): void {
    if (this.#wordFilled === 0 && this.#partial === null) return
    const expected = this.#partial === null ? LENGTH_WORD_BYTES : this.#partial.length
    const got = this.#partial === null ? this.#wordFilled : this.#partialFilled
    throw new NetError('NET_STREAM_TRUNCATED', `the stream ended after ${got} of ${expected} bytes`)
  }

  #takeWord(chunk: Uint8Array, at: number): number {
    const count = Math.min(LENGTH_WORD_BYTES - this.#wordFilled, chunk.length - at)
    for (let i = 0; i < count; i++) this.#word[this.#wordFilled + i] = chunk[at + i]!
    this.#wordFilled += count
    return count
  }

  #startPayload(chunk: Uint8Array, at: number): number {
    const word = new DataView(this.#word.buffer).getUint32(0)
    this.#wordFilled = 0
    this.#isControl = this.#controlBytesMax > 0 && word >= CONTROL_BIT
    const length = this.#isControl ? word - CONTROL_BIT : word
    const limit = this.#isControl ? this.#controlBytesMax : FRAME_BYTES_MAX
    if (length > limit) throw frameTooLong(length, limit)
    if (chunk.length - at >= length) {
      this.#emit(chunk.subarray(at, at + length))
      return length
    }
    this.#partial = new Uint8Array(length)
    this.#partialFilled = 0
    return 0
  }

  #fill(partial: Uint8Array, chunk: Uint8Array, at: number): number {
    const count = Math.min(partial.length - this.#partialFilled, chunk.length - at)
    partial.set(chunk.subarray(at, at + count), this.#partialFilled)
    this.#partialFilled += count
    if (this.#partialFilled === partial.length) {
      this.#partial = null
      this.#emit(partial)
    }
    return count
  }

  #emit(data: Uint8Array): void {
    if (this.#isControl) this.#sink.control(data)
    else this.#sink.frame(data)
  }
}

function frameTooLong(length: number, limit: number): NetError {
  return new NetError('NET_FRAME_TOO_LONG', `a frame of ${length} bytes is over the limit of ${limit}`)
}
