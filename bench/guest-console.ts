/**
 * The serial console of a guest that does benchmarks: asks for one, and takes the time between the lines with which
 * it begins and ends (`bench/guest/main.sh`).
 */
import type { Readable, Writable } from 'node:stream'

export interface Marker {
  readonly atMs: number
  /** Position in the console's text behind the marker's line. */
  readonly end: number
  readonly line: string
}

/** A guest that says nothing for this long hangs. The slowest, an interpreter, on a busy machine takes minutes for a workload. */
const SILENCE_MS_MAX = 300_000

export class GuestConsole {
  readonly #name: string
  readonly #complaint: () => string
  readonly #input: Writable
  #text = ''
  #dropped = 0
  /** When the text up to a position had arrived, ascending. */
  #arrivals: { readonly end: number; readonly atMs: number }[] = []
  #changed: () => void = () => undefined
  #ended: string | null = null

  /** `complaint` is what the machine itself said, for errors. */
  constructor(name: string, output: Readable, input: Writable, complaint: () => string) {
    this.#name = name
    this.#complaint = complaint
    this.#input = input
    // Its end is told by the output.
    input.on('error', () => undefined)
    output.on('data', (chunk: Buffer) => {
      const atMs = performance.now()
      this.#text += chunk.toString('latin1')
      this.#arrivals.push({ end: this.#dropped + this.#text.length, atMs })
      this.#changed()
    })
    const ended = () => {
      this.#ended ??= 'its console has ended'
      this.#changed()
    }
    output.on('end', ended).on('error', ended).on('close', ended)
  }

  type(text: string): void {
    this.#input.write(text)
  }

  /** Resolves at the first line behind `from` that begins with `prefix`. Throws an Error when the guest is gone or silent. */
  async marker(prefix: string, from: number): Promise<Marker> {
    let silent = false
    for (;;) {
      const begin = this.#text.indexOf(`\n${prefix}`, Math.max(0, from - this.#dropped - 1))
      const end = begin < 0 ? -1 : this.#text.indexOf('\n', begin + 1)
      if (end >= 0) {
        const position = this.#dropped + end + 1
        const atMs = this.#arrivals.find((arrival) => arrival.end >= position)?.atMs ?? performance.now()
        return { atMs, end: position, line: this.#text.slice(begin + 1, end).trimEnd() }
      }
      if (this.#ended !== null || silent) {
        const why = this.#ended ?? `it is silent for ${SILENCE_MS_MAX / 1000} s`
        throw new Error(
          `${this.#name}: no ${prefix}, ${why}; the last it said: ${this.#text.slice(-800)}\n${this.#complaint()}`,
        )
      }
      silent = await this.#change()
    }
  }

  /** Whether such a line is there already. */
  has(prefix: string, from: number): boolean {
    return this.#text.includes(`\n${prefix}`, Math.max(0, from - this.#dropped - 1))
  }

  /** What was said behind `from`, up to the line that begins with `prefix`. */
  async textUntil(prefix: string, from: number): Promise<string> {
    const { end, line } = await this.marker(prefix, from)
    const text = this.#text.slice(from - this.#dropped, end - this.#dropped)
    return text.slice(0, text.lastIndexOf(line))
  }

  /** Forgets what was said before `position`. */
  forget(position: number): void {
    this.#text = this.#text.slice(Math.max(0, position - 1 - this.#dropped))
    this.#dropped = Math.max(this.#dropped, position - 1)
    this.#arrivals = this.#arrivals.filter(({ end }) => end >= position)
  }

  /** True if nothing came for too long. */
  async #change(): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined
    const silent = await new Promise<boolean>((resolve) => {
      this.#changed = () => resolve(false)
      timer = setTimeout(() => resolve(true), SILENCE_MS_MAX)
    })
    clearTimeout(timer)
    return silent
  }
}
