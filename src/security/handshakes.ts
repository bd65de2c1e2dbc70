/**
 * Bounds what strangers can hold of a TLS port: a handshake has a deadline, and only so many may be under way. Says
 * in the counters what was spoken instead of TLS.
 */
import type { Socket } from 'node:net'
import type { Server, TlsOptions } from 'node:tls'
import type { Identity } from './identity.ts'
import type { Refusals } from './refusals.ts'

/** A handshake is two round trips and a signature on each side: milliseconds, unless a host stalls. */
export const HANDSHAKE_MS_MAX = 5_000

/** A cluster has a few dozen hosts, which do not all call at once; each pending one costs some 100 KiB. */
export const HANDSHAKES_PENDING_MAX = 64

/** What OpenSSL says when the first bytes are no TLS record. */
const PLAIN_TEXT_CODES: ReadonlySet<string> = new Set([
  'ERR_SSL_WRONG_VERSION_NUMBER',
  'ERR_SSL_HTTP_REQUEST',
  'ERR_SSL_HTTPS_PROXY_REQUEST',
  'ERR_SSL_PACKET_LENGTH_TOO_LONG',
  'ERR_SSL_UNEXPECTED_MESSAGE',
])

/** Options for a server that `guardHandshakes` is then called for. */
export function guardedServerOptions(identity: Identity): TlsOptions {
  return { ...identity.serverOptions(), handshakeTimeout: HANDSHAKE_MS_MAX }
}

/** When too many handshakes are under way the oldest gives way: whoever is honest is done long before that. */
export function guardHandshakes(server: Server, refusals: Refusals): void {
  /** By the remote end, which the plain socket and the TLS socket on it have in common. */
  const pending = new Map<string, Socket>()
  const remote = ({ remoteAddress, remotePort }: Socket) => `${remoteAddress} ${remotePort}`
  server.on('connection', (socket: Socket) => {
    const key = remote(socket)
    pending.set(key, socket)
    socket.once('close', () => {
      if (pending.get(key) === socket) pending.delete(key)
    })
    if (pending.size <= HANDSHAKES_PENDING_MAX) return
    const [[oldest, stranger]] = pending as unknown as [[string, Socket]]
    pending.delete(oldest)
    stranger.destroy()
    refusals.count('handshake-failed', oldest, `over ${HANDSHAKES_PENDING_MAX} handshakes under way`)
  })
  server.on('secureConnection', (socket) => pending.delete(remote(socket)))
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
    const key = remote(socket)
    pending.delete(key)
    const isPlain = PLAIN_TEXT_CODES.has(error.code ?? '')
    refusals.count(isPlain ? 'plain-text' : 'handshake-failed', key, error.code ?? error.message)
    socket.destroy()
  })
}
