/**
 * How the CPU thread wakes the I/O thread: a byte through a pipe, which the event loop listens to like any socket.
 *
 * Why not `Atomics.waitAsync`: V8 keeps all waiters of a process behind one lock and wakes an asynchronous waiter
 * while it holds it. An I/O thread of higher priority starts at once, on the core of the CPU thread, and finds the
 * lock taken by the thread it has just put aside; on a busy host that thread may get its next turn a tenth of a
 * second later. A pipe has no such lock.
 */
import { spawnSync } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ReplicaError } from './errors.ts'

const RING = Uint8Array.of(1)

/** The I/O thread's end. */
export class Doorbell {
  /** For `ringDoorbell`, on any thread of this process. */
  readonly writeFd: number
  readonly #socket: Socket

  /** `onRing` is called once or more after any number of rings. */
  constructor(onRing: () => void) {
    const directory = mkdtempSync(join(tmpdir(), 'understudy-'))
    const path = join(directory, 'doorbell')
    try {
      // A named pipe, because Node opens no other kind; the name is gone before anybody could use it.
      if (spawnSync('mkfifo', ['-m', '600', path]).status !== 0) {
        throw new ReplicaError('LISTEN_FAILED', `mkfifo could not make ${path}.`)
      }
      const readFd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
      this.writeFd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK)
      this.#socket = new Socket({ fd: readFd, readable: true, writable: false })
    } finally {
      rmSync(directory, { recursive: true })
    }
    this.#socket.on('data', onRing)
    this.#socket.on('error', () => this.#socket.destroy())
  }

  /** The other threads must not ring any more: the descriptor may soon mean something else. */
  close(): void {
    if (this.#socket.destroyed) return
    this.#socket.destroy()
    closeSync(this.writeFd)
  }
}

/** Wakes the I/O thread; never waits. */
export function ringDoorbell(writeFd: number): void {
  try {
    writeSync(writeFd, RING)
  } catch (error) {
    // A full pipe rings already; a closed one belongs to a process that is ending.
    const code = error instanceof Error && 'code' in error ? error.code : null
    if (code !== 'EAGAIN' && code !== 'EPIPE' && code !== 'EBADF') throw error
  }
}
