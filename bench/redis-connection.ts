/** A client that keeps one connection to a Redis busy, one request at a time (RESP2), and times each. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** Far above any latency measured here; a longer silence is a failure. */
const ANSWER_MS_MAX = 10_000

export class RedisConnection {
  readonly #socket: Socket
  #received = ''
  #answered: ((answer: string) => void) | null = null
  #failed: ((error: Error) => void) | null = null

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.setEncoding('latin1').on('data', (text: string) => this.#data(text))
    socket.setTimeout(ANSWER_MS_MAX, () => socket.destroy(new Error('Redis does not answer')))
    socket.on('error', (error) => this.#failed?.(error))
    socket.on('close', () => this.#failed?.(new Error('Redis closed the connection')))
  }

  static async open(port: number): Promise<RedisConnection> {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true })
    await once(socket, 'connect')
    return new RedisConnection(socket)
  }

  /** Sends a command whose answer is one line (SET, INCR, PING); resolves with the milliseconds to its answer. */
  async time(...command: readonly string[]): Promise<number> {
    const startedMs = performance.now()
    const answer = await new Promise<string>((resolve, reject) => {
      this.#answered = resolve
      this.#failed = reject
      const words = command.map((word) => `$${word.length}\r\n${word}\r\n`).join('')
      this.#socket.write(`*${command.length}\r\n${words}`)
    })
    const tookMs = performance.now() - startedMs
    if (answer.startsWith('-')) throw new Error(`Redis says: ${answer}`)
    return tookMs
  }

  close(): void {
    this.#failed = null
    this.#socket.destroy()
  }

  #data(text: string): void {
    this.#received += text
    const end = this.#received.indexOf('\r\n')
    if (end < 0) return
    const answer = this.#received.slice(0, end)
    this.#received = this.#received.slice(end + 2)
    this.#answered?.(answer)
  }
}
