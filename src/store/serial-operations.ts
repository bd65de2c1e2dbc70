/**
 * Runs operations on a file system one at a time, each within a time limit. One at a time because a file system
 * that hangs holds a thread of Node's small pool for each call: so at most one is ever lost, and the process lives on.
 */
import { StoreError } from './store.ts'

export class SerialOperations {
  readonly #timeoutMs: number
  readonly #name: string
  /** Settles when the operation before has. */
  #previous: Promise<unknown> = Promise.resolve()
  #closed = false

  /** `name` says in messages what does not answer; the time of an operation counts from the call on. */
  constructor(name: string, timeoutMs: number) {
    this.#name = name
    this.#timeoutMs = timeoutMs
  }

  /** Rejects with a StoreError. After its time is up an operation is told by `signal`. */
  run<T>(operation: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (this.#closed) return Promise.reject(new StoreError('STORE_CLOSED', 'the store was closed'))
    const controller = new AbortController()
    const work = this.#previous.then(() => {
      controller.signal.throwIfAborted()
      return operation(controller.signal)
    })
    this.#previous = work.catch(() => {})
    return new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => {
        const error = new StoreError(
          'STORE_UNREACHABLE',
          `${this.#name}: no answer within ${this.#timeoutMs} ms`,
        )
        controller.abort(error)
        reject(error)
      }, this.#timeoutMs)
      work.then(resolve, (error: unknown) => reject(this.#typed(error))).finally(() => clearTimeout(timer))
    })
  }

  /** Takes no more operations; resolves when the last has ended. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#previous
  }

  #typed(error: unknown): unknown {
    if (error instanceof StoreError || errorCode(error) === null) return error
    return new StoreError('STORE_UNREACHABLE', `${this.#name}: ${(error as Error).message}`, { cause: error })
  }
}

/** The code of an error of the operating system, or null. */
export function errorCode(error: unknown): string | null {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : null
}
