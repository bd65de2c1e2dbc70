import type { Process } from './process.ts'
import type { Random } from './random.ts'
import type { Scheduler } from './scheduler.ts'

/** How a network behaves when nothing is cut. Probabilities are per datagram. */
export interface Weather {
  readonly latencyMsMin: number
  readonly latencyMsMax: number
  readonly loss: number
  readonly duplication: number
  /** Probability that a datagram is held up, for up to DELAY_MS_MAX: so others overtake it. */
  readonly delay: number
}

const DELAY_MS_MAX = 200
/** A stream over a cut link tries again this often, as TCP retransmits. */
const RETRANSMIT_MS = 15

/** Links between hosts, each direction for itself. */
export class Network {
  readonly #scheduler: Scheduler
  readonly #random: Random
  readonly #weather: Weather
  readonly #cuts = new Set<string>()
  readonly #stalls = new Set<string>()
  #connections = 0
  #calm = false

  constructor(scheduler: Scheduler, random: Random, weather: Weather) {
    this.#scheduler = scheduler
    this.#random = random
    this.#weather = weather
  }

  /** A number for a connection, never used again. */
  nextConnection(): number {
    return ++this.#connections
  }

  cut(from: string, to: string): void {
    if (!this.#calm) this.#cuts.add(`${from}>${to}`)
  }

  heal(from: string, to: string): void {
    this.#cuts.delete(`${from}>${to}`)
    this.#stalls.delete(`${from}>${to}`)
  }

  /** Streams stand still while datagrams pass: a lost segment, a full buffer, a firewall that forgot the connection. */
  stall(from: string, to: string): void {
    if (!this.#calm) this.#stalls.add(`${from}>${to}`)
  }

  /** All cuts heal, and none comes again. */
  calmDown(): void {
    this.#calm = true
    this.#cuts.clear()
    this.#stalls.clear()
  }

  isCut(from: string, to: string): boolean {
    return this.#cuts.has(`${from}>${to}`)
  }

  isStalled(from: string, to: string): boolean {
    return this.isCut(from, to) || this.#stalls.has(`${from}>${to}`)
  }

  latencyMs(): number {
    return this.#random.between(this.#weather.latencyMsMin, this.#weather.latencyMsMax)
  }

  /** Sends a datagram: it may be lost, delayed, overtaken or repeated. */
  datagram(from: string, to: string, process: Process, receive: () => void): void {
    const copies = this.#random.chance(this.#weather.duplication) ? 2 : 1
    for (let copy = 0; copy < copies; copy++) {
      if (this.#random.chance(this.#weather.loss)) continue
      const held = this.#random.chance(this.#weather.delay) ? this.#random.between(0, DELAY_MS_MAX) : 0
      this.#scheduler.after(this.latencyMs() + held, () => {
        if (!this.isCut(from, to)) process.deliverDatagram(receive)
      })
    }
  }

  /** Opens one direction of a reliable stream. */
  pipe(from: string, to: string, process: Process, receive: (bytes: Uint8Array | 'end') => void): Pipe {
    return new Pipe(this, this.#scheduler, this.#random, from, to, (bytes) =>
      process.deliver(() => receive(bytes)),
    )
  }
}

/**
 * One direction of a TCP connection: in order and without loss until it breaks; over a cut link it stalls. When it
 * breaks, what was under way arrives up to an arbitrary byte.
 */
export class Pipe {
  readonly #network: Network
  readonly #scheduler: Scheduler
  readonly #random: Random
  readonly #from: string
  readonly #to: string
  readonly #arrive: (bytes: Uint8Array | 'end') => void
  readonly #queue: { readonly bytes: Uint8Array | 'end'; readonly dueMs: number }[] = []
  #pumping = false
  #ended = false
  #deaf = false

  constructor(
    network: Network,
    scheduler: Scheduler,
    random: Random,
    from: string,
    to: string,
    arrive: (bytes: Uint8Array | 'end') => void,
  ) {
    this.#network = network
    this.#scheduler = scheduler
    this.#random = random
    this.#from = from
    this.#to = to
    this.#arrive = arrive
  }

  write(bytes: Uint8Array): void {
    if (this.#ended) return
    const split = bytes.length > 1 && this.#random.chance(0.2) ? this.#random.whole(1, bytes.length - 1) : 0
    if (split > 0) this.#push(bytes.subarray(0, split))
    this.#push(bytes.subarray(split))
  }

  /** The sender closes: what it wrote still arrives, then the end. */
  end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#push('end')
  }

  /** The connection is reset: some of what is under way still arrives, perhaps to the middle of a message. */
  tear(): void {
    if (this.#ended) return
    let keep = this.#random.whole(
      0,
      this.#queue.reduce((sum, { bytes }) => sum + bytes.length, 0),
    )
    const kept = []
    for (const { bytes, dueMs } of this.#queue.splice(0)) {
      if (bytes === 'end' || keep === 0) break
      kept.push({ bytes: bytes.subarray(0, keep), dueMs })
      keep -= Math.min(keep, bytes.length)
    }
    this.#queue.push(...kept)
    this.end()
  }

  /** The receiver closed: nothing arrives any more. */
  ignore(): void {
    this.#deaf = true
    this.#queue.length = 0
  }

  #push(bytes: Uint8Array | 'end'): void {
    if (this.#deaf) return
    this.#queue.push({ bytes, dueMs: this.#scheduler.nowMs + this.#network.latencyMs() })
    if (!this.#pumping) this.#plan(this.#queue[0]!.dueMs)
  }

  #plan(atMs: number): void {
    this.#pumping = true
    this.#scheduler.at(atMs, () => this.#pump())
  }

  #pump(): void {
    this.#pumping = false
    const next = this.#queue[0]
    if (next === undefined) return
    if (this.#network.isStalled(this.#from, this.#to)) {
      this.#plan(this.#scheduler.nowMs + RETRANSMIT_MS)
      return
    }
    if (next.dueMs > this.#scheduler.nowMs) {
      this.#plan(next.dueMs)
      return
    }
    this.#queue.shift()
    if (this.#queue.length > 0) this.#plan(this.#queue[0]!.dueMs)
    this.#arrive(next.bytes)
  }
}
