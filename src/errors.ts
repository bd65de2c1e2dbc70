/**
 * The base of every error this project throws on purpose.
 *
 * A `code` is stable and may be matched by programs; the message may change. `next` says what the reader can
 * do about it. Each module keeps its own table of codes beside the code that throws them.
 */
export class UnderstudyError extends Error {
  readonly code: string
  readonly next: string

  constructor(code: string, message: string, next: string, options?: ErrorOptions) {
    super(message, options)
    this.name = new.target.name
    this.code = code
    this.next = next
  }
}
