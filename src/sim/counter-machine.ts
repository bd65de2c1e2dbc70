/**
 * The toy that stands for the virtual machine: a counter service with a disk.
 *
 * Like the real machine it is a pure function of its log. It mixes everything it is given into a hash, the clock of
 * each slice included, and shows the hash in its outputs: so a history that differs in anything, even in time alone,
 * differs in what the world sees.
 */

/** One log frame of the toy: what goes into one slice. */
export interface CounterFrame {
  readonly sequence: number
  /** Non-deterministic like a real clock: only the log makes two machines agree on it. */
  readonly clock: number
  /** Requests to increment; a repeated one (the client sends again when no reply comes) counts once. */
  readonly requests: readonly number[]
  /** Disk writes that have ended. */
  readonly completions: readonly number[]
  readonly powerOff: boolean
}

export type CounterOutput =
  /** Answers a request: it has been counted, and this was the count. */
  | {
      readonly kind: 'reply'
      readonly index: number
      readonly request: number
      readonly value: number
      readonly hash: number
    }
  /** Sent unasked, now and then. */
  | { readonly kind: 'beacon'; readonly index: number; readonly hash: number }
  | { readonly kind: 'disk-write'; readonly index: number; readonly write: DiskWrite }

export interface DiskWrite {
  readonly id: number
  readonly sector: number
  readonly value: number
}

/** So few that sectors are written again soon: a stale write then does harm that shows. */
export const SECTORS = 3
const SLICES_PER_BEACON = 7
const SLICES_PER_WRITE = 3

export class CounterMachine {
  #hash = 1
  #counter = 0
  #halted = false
  readonly #counts = new Map<number, number>()
  readonly #pending = new Map<number, DiskWrite>()
  readonly #newestWrites: (DiskWrite | null)[] = Array.from({ length: SECTORS }, () => null)
  #writes = 0
  /** A digest of each output ever made, by index. */
  readonly #outputs: number[] = []

  /** Another machine in the same state. */
  copy(): CounterMachine {
    const copy = new CounterMachine()
    copy.#hash = this.#hash
    copy.#counter = this.#counter
    copy.#halted = this.#halted
    for (const [request, count] of this.#counts) copy.#counts.set(request, count)
    for (const [id, write] of this.#pending) copy.#pending.set(id, write)
    this.#newestWrites.forEach((write, sector) => {
      copy.#newestWrites[sector] = write
    })
    copy.#writes = this.#writes
    copy.#outputs.push(...this.#outputs)
    return copy
  }

  /** Runs one slice; returns its outputs. */
  execute(frame: CounterFrame): CounterOutput[] {
    this.#mix(frame.sequence)
    this.#mix(frame.clock)
    const outputs: CounterOutput[] = []
    for (const id of frame.completions) {
      this.#mix(id)
      this.#pending.delete(id)
    }
    for (const request of frame.requests) {
      this.#mix(request)
      if (!this.#counts.has(request)) this.#counts.set(request, ++this.#counter)
      const value = this.#counts.get(request)!
      outputs.push({ kind: 'reply', index: this.#index(value), request, value, hash: this.#hash })
    }
    if (frame.sequence % SLICES_PER_BEACON === 0) {
      outputs.push({ kind: 'beacon', index: this.#index(0), hash: this.#hash })
    }
    const sector = this.#writes % SECTORS
    const sectorIdle = ![...this.#pending.values()].some((write) => write.sector === sector)
    if (frame.sequence % SLICES_PER_WRITE === 0 && sectorIdle) {
      const write = { id: this.#writes++, sector, value: this.#hash }
      this.#pending.set(write.id, write)
      this.#newestWrites[sector] = write
      outputs.push({ kind: 'disk-write', index: this.#index(write.id), write })
    }
    if (frame.powerOff) this.#halted = true
    return outputs
  }

  #index(subject: number): number {
    this.#mix(subject)
    this.#outputs.push(this.#hash)
    return this.#outputs.length - 1
  }

  #mix(word: number): void {
    const mixed = Math.imul(this.#hash ^ word, 0x01000193)
    this.#hash = (mixed ^ (mixed >>> 15)) >>> 0
  }

  /** How many outputs it ever made. */
  get outputs(): number {
    return this.#outputs.length
  }

  get halted(): boolean {
    return this.#halted
  }

  /** The digest of an output ever made, or undefined when there was none of that index. */
  outputDigest(index: number): number | undefined {
    return this.#outputs[index]
  }

  /** What the request was counted as, or undefined when it was not. */
  countOf(request: number): number | undefined {
    return this.#counts.get(request)
  }

  /** Writes without a completion in the log. */
  get pendingWrites(): readonly DiskWrite[] {
    return [...this.#pending.values()]
  }

  /** The last write ever made to a sector. */
  newestWrite(sector: number): DiskWrite | null {
    return this.#newestWrites[sector]!
  }
}

/** The frame as bytes: what the logging channel carries. */
export function encodeCounterFrame(frame: CounterFrame): Uint8Array {
  const words = [
    frame.sequence,
    frame.clock,
    frame.powerOff ? 1 : 0,
    frame.requests.length,
    ...frame.requests,
    ...frame.completions,
  ]
  return new Uint8Array(Uint32Array.from(words).buffer)
}

export function decodeCounterFrame(bytes: Uint8Array): CounterFrame {
  const words = new Uint32Array(bytes.slice().buffer)
  const requestsEnd = 4 + words[3]!
  return {
    sequence: words[0]!,
    clock: words[1]!,
    powerOff: words[2] === 1,
    requests: [...words.subarray(4, requestsEnd)],
    completions: [...words.subarray(requestsEnd)],
  }
}
