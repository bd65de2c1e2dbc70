/**
 * The guest's serial console as people attach to it: what the guest wrote lately, and the streams that want
 * more. A slow or dead terminal is cut off; it never holds the guest back.
 */
import type { Duplex } from 'node:stream'

/** Shown to whoever attaches: a few screens. */
const HISTORY_BYTES_MAX = 64 * 1024

/** A terminal further behind than this does not read any more. */
const UNSENT_BYTES_MAX = 1024 * 1024

/** More terminals than people watch one machine. */
const STREAMS_MAX = 32

export class ConsoleHub {
  #history: Uint8Array[] = []
  #historyBytes = 0
  readonly #streams = new Set<Duplex>()
  readonly #onInput: (data: Uint8Array) => void

  constructor(onInput: (data: Uint8Array) => void) {
    this.#onInput = onInput
  }

  /** The guest wrote; only released outputs come here. */
  write(data: Uint8Array): void {
    this.#history.push(data)
    this.#historyBytes += data.length
    while (this.#historyBytes - this.#history[0].length > HISTORY_BYTES_MAX) {
      this.#historyBytes -= this.#history.shift()!.length
    }
    for (const stream of this.#streams) {
      stream.write(data)
      if (stream.writableLength > UNSENT_BYTES_MAX) this.#detach(stream)
    }
  }

  /** `history` replays what was written lately to the new terminal. */
  attach(stream: Duplex, history: boolean): void {
    if (this.#streams.size >= STREAMS_MAX) {
      stream.end('too many terminals\r\n')
      return
    }
    this.#streams.add(stream)
    if (history) stream.write(Buffer.concat(this.#history))
    stream.on('data', (data: Uint8Array) => this.#onInput(data))
    stream.on('close', () => this.#streams.delete(stream))
    stream.on('end', () => this.#detach(stream))
  }

  text(): string {
    return Buffer.concat(this.#history).toString('utf8')
  }

  close(): void {
    for (const stream of this.#streams) stream.end()
  }

  #detach(stream: Duplex): void {
    this.#streams.delete(stream)
    stream.destroy()
  }
}
