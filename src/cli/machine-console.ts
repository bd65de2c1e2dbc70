import type { ReadStream } from 'node:tty'

/** As QEMU and screen have it: Ctrl-A, then a command key. Ctrl-A twice sends one to the guest. */
const ESCAPE = 0x01
const QUIT = 'x'.charCodeAt(0)

/** Splits what is typed at a terminal into bytes for the guest and the wish to quit. */
export class ConsoleEscape {
  #escaped = false

  /** Returns the bytes for the guest; `quit` when Ctrl-A x was among them. */
  typed(data: Uint8Array): { readonly forGuest: Uint8Array; readonly quit: boolean } {
    const forGuest: number[] = []
    for (const byte of data) {
      if (!this.#escaped) {
        if (byte === ESCAPE) this.#escaped = true
        else forGuest.push(byte)
        continue
      }
      this.#escaped = false
      if (byte === QUIT) return { forGuest: Uint8Array.from(forGuest), quit: true }
      if (byte !== ESCAPE) forGuest.push(ESCAPE)
      forGuest.push(byte)
    }
    return { forGuest: Uint8Array.from(forGuest), quit: false }
  }
}

export interface ConsoleEvents {
  typed(data: Uint8Array): void
  quit(): void
  /** stdin has ended; nothing more will be typed. */
  ended(): void
}

/** The guest's console on this process's stdin and stdout. */
export class ProcessConsole {
  readonly #stdin: ReadStream
  readonly #stdout: NodeJS.WriteStream
  #inputOpen = true

  constructor(events: ConsoleEvents) {
    this.#stdin = process.stdin as ReadStream
    this.#stdout = process.stdout
    const escapes = this.#stdin.isTTY ? new ConsoleEscape() : null
    // Raw, so that Ctrl-C and the like go to the guest, which has a terminal driver of its own.
    if (this.#stdin.isTTY) this.#stdin.setRawMode(true)
    this.#stdin.on('data', (chunk: Buffer) => {
      // A copy: what is typed stays in the log's frames, the chunk's memory is Node's.
      const { forGuest, quit } = escapes?.typed(chunk) ?? { forGuest: Uint8Array.from(chunk), quit: false }
      events.typed(forGuest)
      if (quit) events.quit()
    })
    const ended = () => {
      this.#inputOpen = false
      events.ended()
    }
    this.#stdin.on('end', ended).on('error', ended)
    // Who reads our output has gone: nobody is left to see what the guest does.
    this.#stdout.on('error', () => events.quit())
  }

  get isTerminal(): boolean {
    return this.#stdin.isTTY === true
  }

  /** False once stdin has ended: nothing more will be typed. */
  get inputOpen(): boolean {
    return this.#inputOpen
  }

  /** Keeps unread input in the pipe or terminal. */
  set paused(paused: boolean) {
    if (paused) this.#stdin.pause()
    else if (this.#inputOpen) this.#stdin.resume()
  }

  /** Resolves when more may be written. */
  write(data: Uint8Array): Promise<void> {
    return writeAll(this.#stdout, data)
  }

  close(): void {
    if (this.#stdin.isTTY) this.#stdin.setRawMode(false)
    this.#stdin.removeAllListeners('data')
    this.#stdin.pause()
    // A pipe that is still open would keep the process alive.
    this.#stdin.unref?.()
  }
}

/** Resolves when more may be written: at once, unless the reader is slower than the guest. Silent once it is gone. */
export async function writeAll(stdout: NodeJS.WriteStream, data: Uint8Array): Promise<void> {
  if (stdout.destroyed || stdout.write(data)) return
  await new Promise<void>((resolve) => {
    const done = () => {
      stdout.off('drain', done).off('close', done)
      resolve()
    }
    stdout.on('drain', done).on('close', done)
  })
}
