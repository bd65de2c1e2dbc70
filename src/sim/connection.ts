import type { Network, Pipe } from './network.ts'
import type { Process } from './process.ts'
import type { Random } from './random.ts'

/** Whatever can hold one end of a stream. */
export interface Endpoint {
  readonly name: string
  /** The host it is on. */
  readonly host: string
  readonly process: Process
  opened(connection: Connection): void
  received(connection: Connection, bytes: Uint8Array): void
  closed(connection: Connection): void
}

/** A TCP connection between two endpoints: two pipes that end together. */
export class Connection {
  /** Never reused. */
  readonly id: number
  readonly #ends: readonly [Endpoint, Endpoint]
  /** `#pipes[i]` leads to `#ends[i]`. */
  readonly #pipes: readonly [Pipe, Pipe]
  readonly #open: [boolean, boolean] = [true, true]

  constructor(network: Network, ends: readonly [Endpoint, Endpoint]) {
    this.id = network.nextConnection()
    this.#ends = ends
    this.#pipes = [this.#pipeTo(network, 0), this.#pipeTo(network, 1)]
    for (const end of ends) end.process.deliver(() => end.opened(this))
  }

  #pipeTo(network: Network, index: 0 | 1): Pipe {
    const to = this.#ends[index]
    const from = this.#ends[1 - index]!
    return network.pipe(from.host, to.host, to.process, (bytes) => {
      if (!this.#open[index]) return
      if (bytes !== 'end') {
        to.received(this, bytes)
        return
      }
      this.#open[index] = false
      this.#pipes[1 - index]!.end()
      to.closed(this)
    })
  }

  write(from: Endpoint, bytes: Uint8Array): void {
    const index = this.#indexOf(from)
    if (this.#open[index]) this.#pipes[1 - index]!.write(bytes)
  }

  /** One end closes in good order: the other gets all that was written, then the end. */
  close(by: Endpoint): void {
    const index = this.#indexOf(by)
    if (!this.#open[index]) return
    this.#open[index] = false
    this.#pipes[index].ignore()
    this.#pipes[1 - index]!.end()
  }

  /** One end's process dies: its kernel closes for it, and may reset. */
  die(end: Endpoint, random: Random): void {
    const index = this.#indexOf(end)
    this.#open[index] = false
    this.#pipes[index].ignore()
    if (random.chance(0.5)) this.#pipes[1 - index]!.end()
    else this.#pipes[1 - index]!.tear()
  }

  /** Something between the two resets the connection. */
  reset(): void {
    for (const pipe of this.#pipes) pipe.tear()
  }

  #indexOf(end: Endpoint): 0 | 1 {
    return this.#ends[0] === end ? 0 : 1
  }
}
