import type { Checkers } from './checkers.ts'
import type { CounterOutput, DiskWrite } from './counter-machine.ts'
import type { Network, Pipe } from './network.ts'
import { Process } from './process.ts'
import type { Random } from './random.ts'
import type { Replica } from './replica.ts'
import type { Scheduler } from './scheduler.ts'

/** What a live replica sends into the world, under the generation it had when it sent it. */
export type Emission =
  | { readonly kind: 'claim'; readonly generation: number }
  | { readonly kind: 'output'; readonly generation: number; readonly output: CounterOutput }
  | { readonly kind: 'disk-write'; readonly generation: number; readonly write: DiskWrite }

/** The gateway and the shared disk stand on one host of their own, which does not fail. */
export const OUTSIDE = 'outside'
const CLIENTS = 2
const RETRY_MS = 60

/**
 * The world outside the replicas: the gateway, which lets only the newest generation send; the shared disk, which
 * does the same; and clients that count.
 */
export class Outside {
  readonly name = OUTSIDE
  readonly #scheduler: Scheduler
  readonly #random: Random
  readonly #network: Network
  readonly #checkers: Checkers
  readonly #fenced: boolean
  readonly #process: Process
  readonly #wires = new Map<Replica, Pipe>()
  /** The replica with the newest claim; requests go to it. */
  #port: Replica | null = null
  #generation = 0
  readonly #clients: { request: number; replied: boolean }[]
  #replies = 0

  /** @param fenced false only to show what the fence is for. */
  constructor(scheduler: Scheduler, random: Random, network: Network, checkers: Checkers, fenced: boolean) {
    this.#scheduler = scheduler
    this.#random = random
    this.#network = network
    this.#checkers = checkers
    this.#fenced = fenced
    this.#process = new Process(scheduler, random)
    this.#clients = Array.from({ length: CLIENTS }, (_, client) => ({
      request: client * 1_000_000,
      replied: true,
    }))
  }

  /** The clients begin. */
  open(): void {
    for (const client of this.#clients) this.#next(client)
  }

  /** Replies that clients accepted so far. */
  get replies(): number {
    return this.#replies
  }

  /** A live replica sends; in order on its own wire, stalled by a cut. */
  emit(replica: Replica, emission: Emission): void {
    let wire = this.#wires.get(replica)
    if (wire === undefined) {
      const arrivals: Emission[] = []
      wire = this.#network.pipe(replica.host, OUTSIDE, this.#process, () =>
        this.#arrived(replica, arrivals.shift()!),
      )
      this.#wires.set(replica, wire)
      this.#arrivals.set(wire, arrivals)
    }
    this.#arrivals.get(wire)!.push(emission)
    wire.write(ONE_BYTE)
  }

  readonly #arrivals = new Map<Pipe, Emission[]>()

  #arrived(replica: Replica, emission: Emission): void {
    if (emission.generation > this.#generation) {
      this.#generation = emission.generation
      this.#port = replica
    }
    // The fence: who has an older generation has lost the machine, however late its frame comes.
    if (this.#fenced && emission.generation < this.#generation) return
    switch (emission.kind) {
      case 'claim':
        return
      case 'output':
        this.#checkers.emitted(replica, emission.generation, emission.output)
        if (emission.output.kind === 'reply') this.#replied(emission.output.request, emission.output.value)
        return
      case 'disk-write':
        this.#checkers.written(replica, emission.write)
        this.#toReplica(replica, () => replica.diskCompleted(emission.write.id))
        return
    }
  }

  #toReplica(replica: Replica, work: () => void): void {
    if (this.#network.isCut(OUTSIDE, replica.host)) {
      this.#scheduler.after(RETRY_MS, () => this.#toReplica(replica, work))
      return
    }
    this.#scheduler.after(this.#network.latencyMs(), () => replica.process.deliver(work))
  }

  #replied(request: number, value: number): void {
    this.#checkers.acknowledged(request, value)
    const client = this.#clients[Math.floor(request / 1_000_000)]!
    if (client.request !== request || client.replied) return
    client.replied = true
    this.#replies++
    this.#scheduler.after(this.#random.between(5, 60), () => this.#next(client))
  }

  #next(client: { request: number; replied: boolean }): void {
    client.request++
    client.replied = false
    this.#ask(client, client.request)
  }

  /** Sends a request to whoever holds the port, again and again until it is answered. */
  #ask(client: { request: number; replied: boolean }, request: number): void {
    if (client.request !== request || client.replied) return
    const port = this.#port
    if (port !== null && !this.#network.isCut(OUTSIDE, port.host)) {
      this.#scheduler.after(this.#network.latencyMs(), () =>
        port.process.deliverDatagram(() => port.requested(request)),
      )
    }
    this.#scheduler.after(RETRY_MS, () => this.#ask(client, request))
  }
}

const ONE_BYTE = new Uint8Array(1)
