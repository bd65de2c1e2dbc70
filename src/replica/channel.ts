/**
 * The logging channel's sockets: connections that carry whole messages, TCP or, with an identity, TLS; numbered so that the protocol can
 * tell them apart. What is said on them is decided in `src/ft`; bytes are the codec's.
 */
import type { Socket } from 'node:net'
import { ChannelDecoder, encodeMessage } from '../ft/channel-codec.ts'
import type { ChannelMessage } from '../ft/messages.ts'
import { SecurityError } from '../security/errors.ts'
import type { Identity } from '../security/identity.ts'
import { connectLink, type LinkListener, listenLink } from '../security/links.ts'
import type { Refusals } from '../security/refusals.ts'
import { ReplicaError } from './errors.ts'

/** One primary calls; a few more may while an older one is being closed. Others are turned away. */
const CONNECTIONS_MAX = 4

/** How long a closed connection may take to get its last message out before it is cut. */
const CLOSE_MS_MAX = 1_000

/** A backup that was just started, or whose host stalls, is called again after this long. */
const CALL_AGAIN_MS = 100

export interface ChannelHandler {
  opened(connection: number): void
  message(connection: number, message: ChannelMessage): void
  /** Once for each connection that was opened, whoever closed it. */
  closed(connection: number): void
}

/** Whom a replica lets connect, and as whom it connects. */
export interface LinkAccess {
  /** Of this host; null on loopback only. */
  readonly identity: Identity | null
  readonly refusals: Refusals
}

export class ChannelSockets {
  readonly #handler: ChannelHandler
  readonly #access: LinkAccess
  readonly #connections = new Map<number, Socket>()
  #next = 1
  #server: LinkListener | null = null
  #calling: Socket | null = null
  #callTimer: NodeJS.Timeout | null = null
  #ended = false

  constructor(handler: ChannelHandler, access: LinkAccess) {
    this.#handler = handler
    this.#access = access
  }

  /** Waits for a primary's call. Resolves to the port. */
  async listen(address: string): Promise<number> {
    const onSocket = (socket: Socket) => {
      if (this.#connections.size >= CONNECTIONS_MAX) socket.destroy()
      else this.#adopt(socket)
    }
    try {
      this.#server = await listenLink({ host: address, port: 0 }, { ...this.#access, onSocket })
      return this.#server.port
    } catch (error) {
      if (error instanceof SecurityError) throw error
      throw new ReplicaError('LISTEN_FAILED', `${address}: ${(error as Error).message}`, { cause: error })
    }
  }

  /** Calls a backup until it answers. Throws SECURITY_IDENTITY_MISSING. */
  call(address: string, port: number): void {
    if (this.#ended) return
    const again = () => {
      socket.destroy()
      this.#callTimer = setTimeout(() => this.call(address, port), CALL_AGAIN_MS)
    }
    const onReady = () => {
      this.#calling = null
      socket.off('error', again)
      this.#adopt(socket)
    }
    const socket = connectLink({ host: address, port, ...this.#access, onReady })
    this.#calling = socket
    socket.once('error', again)
  }

  /** Stops calling a backup that has not answered. */
  callOff(): void {
    if (this.#callTimer !== null) clearTimeout(this.#callTimer)
    this.#callTimer = null
    this.#calling?.destroy()
    this.#calling = null
  }

  /** Silently does nothing on a connection that has ended: its end is, or will be, told. */
  send(connection: number, message: ChannelMessage): void {
    this.#connections.get(connection)?.write(encodeMessage(message))
  }

  /** Ends a connection after what was sent; nothing more is heard from it. */
  close(connection: number): void {
    const socket = this.#connections.get(connection)
    if (socket === undefined) return
    this.#forget(connection)
    socket.removeAllListeners('data')
    socket.resume()
    socket.end()
    setTimeout(() => socket.destroy(), CLOSE_MS_MAX).unref()
  }

  end(): void {
    this.#ended = true
    this.callOff()
    this.#server?.close()
    for (const connection of [...this.#connections.keys()]) this.close(connection)
  }

  #adopt(socket: Socket): void {
    const connection = this.#next++
    this.#connections.set(connection, socket)
    const decoder = new ChannelDecoder()
    socket.on('data', (chunk: Buffer) => {
      let messages: ChannelMessage[]
      try {
        messages = decoder.push(chunk)
      } catch {
        // Nonsense: no later byte of this stream can be trusted to begin a message.
        socket.destroy()
        return
      }
      for (const message of messages) {
        if (this.#connections.has(connection)) this.#handler.message(connection, message)
      }
    })
    socket.on('error', () => socket.destroy())
    socket.on('end', () => this.#forget(connection))
    socket.on('close', () => this.#forget(connection))
    this.#handler.opened(connection)
  }

  #forget(connection: number): void {
    if (this.#connections.delete(connection)) this.#handler.closed(connection)
  }
}
