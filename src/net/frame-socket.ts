/**
 * A connected socket that carries frames, for the replica's end of a link as well as for the gateway's: decodes
 * what comes in, and bounds what waits to go out. A peer that reads too slowly loses frames, as on any Ethernet;
 * it never makes anybody else wait or memory grow.
 */
import type { Socket } from 'node:net'
import { NetError } from './errors.ts'
import { encodeControl, encodeFrame, FrameDecoder } from './stream.ts'

/** What may wait for a slow reader: some tens of milliseconds at a gigabit, and a full TCP window twice over. */
export const SEND_QUEUE_BYTES_MAX = 4 * 1024 * 1024

export interface FrameSocketEvents {
  /** A view of the received bytes, valid until the next event-loop turn at least. */
  frame(data: Uint8Array): void
  /** May throw a NetError: the connection is then closed with it. */
  control?(data: Uint8Array): void
  /** Called once. `reason` is null if either side closed in order. */
  closed(reason: Error | null): void
}

export class FrameSocket {
  /** Frames that did not fit the queue. */
  droppedFrames = 0
  sentFrames = 0
  receivedFrames = 0
  readonly #socket: Socket
  #reason: Error | null = null
  #corked = false
  /** Nothing more is read; what is queued may still be sent. */
  #closing = false
  #closed = false

  /** `controlBytesMax` is 0 where the peer speaks plain stream framing. */
  constructor(socket: Socket, events: FrameSocketEvents, controlBytesMax = 0) {
    this.#socket = socket
    const decoder = new FrameDecoder(
      {
        frame: (data) => {
          this.receivedFrames++
          events.frame(data)
        },
        control: (data) => events.control?.(data),
      },
      controlBytesMax,
    )
    socket.on('data', (chunk: Buffer) => this.#guard(() => decoder.push(chunk)))
    socket.on('end', () => this.#guard(() => decoder.end()))
    socket.on('error', (error) => {
      this.#reason ??= error
    })
    socket.on('close', () => {
      this.#closed = true
      events.closed(this.#reason)
    })
  }

  get isClosed(): boolean {
    return this.#closed
  }

  /** Whether the frame was queued; false if the peer reads too slowly or is gone. */
  send(frame: Uint8Array): boolean {
    if (this.#closing || this.#closed || this.#socket.writableLength > SEND_QUEUE_BYTES_MAX) {
      this.droppedFrames++
      return false
    }
    this.#write(encodeFrame(frame))
    this.sentFrames++
    return true
  }

  /** Control messages are few and small; they are never dropped. */
  sendControl(message: Uint8Array): void {
    if (!this.#closing && !this.#closed) this.#write(encodeControl(message))
  }

  /** Closes at once, or after what is queued was sent. `reason` reaches `closed`. */
  close(options: { readonly flush?: boolean; readonly reason?: Error } = {}): void {
    this.#reason ??= options.reason ?? null
    this.#closing = true
    if (options.flush) this.#socket.destroySoon()
    else this.#socket.destroy()
  }

  /** Frames that one read brought leave in one write, which saves most of the system calls under load. */
  #write(bytes: Uint8Array): void {
    if (!this.#corked) {
      this.#corked = true
      this.#socket.cork()
      process.nextTick(() => {
        this.#corked = false
        this.#socket.uncork()
      })
    }
    this.#socket.write(bytes)
  }

  #guard(action: () => void): void {
    if (this.#closing) return
    try {
      action()
    } catch (error) {
      // Anything else is a bug of ours and must not pass for a bad peer.
      if (!(error instanceof NetError)) throw error
      this.close({ reason: error })
    }
  }
}
