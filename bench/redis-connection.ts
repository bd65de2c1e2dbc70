/** A client that keeps one connection to a Redis busy, one request at a time (RESP2), and times each. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** Far above any latency measured here; a longer silence is a failure. */
const ANSWER_MS_MAX = 10_000

interface Waiting {
  readonly answered: (answer: string) => void
  readonly failed: (error: Error) => void
}

export class RedisConnection {
  readonly #socket: Socket
  #received = ''
  #waiting: Waiting | null = null
  #broken: Error | null = null

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.setEncoding('latin1').on('data', (text: string) => this.#data(text))
    socket.on('timeout', () => socket.destroy(new Error(`Redis did not answer in ${ANSWER_MS_MAX} ms`)))
    socket.on('error', (error) => this.#break(error))
    socket.on('close', () => this.#break(new Error('the connection to Redis was closed')))
  }

  static async open(port: number): Promise<RedisConnection> {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true })
    await once(socket, 'connect')
    return new RedisConnection(socket)
  }

  /** Sends a command whose answer is one line (SET, INCR, PING); resolves with the milliseconds to its answer. */
  async time(...command: readonly string[]): Promise<number> {
    if (this.#broken !== null) throw this.#broken
    const startedMs = performance.now()
    this.#socket.setTimeout(ANSWER_MS_MAX)
    const answer = await new Promise<string>((answered, failed) => {
      this.#waiting = { answered, failed }
      const words = command.map((word) => `$${word.length}\r\n${word}\r\n`).join('')
      this.#socket.write(`*${command.length}\r\n${words}`)
    })
    const tookMs = performance.now() - startedMs
    // A connection that nobody asks anything may be silent for as long as it likes.
    this.#socket.setTimeout(0)
    if (answer.startsWith('-')) throw new Error(`Redis says: ${answer}`)
    return tookMs
  }

  close(): void {
    this.#waiting = null
    this.#socket.destroy()
  }

  #data(text: string): void {
    this.#received += text
    const end = this.#received.indexOf('\r\n')
    if (end < 0) return
    const answer = this.#received.slice(0, end)
    this.#received = this.#received.slice(end + 2)
    this.#waiting?.answered(answer)
    this.#waiting = null
  }

  #break(error: Error): void {
    this.#broken ??= error
    this.#waiting?.failed(this.#broken)
    this.#waiting = null
  }
}
