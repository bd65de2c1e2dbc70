/**
 * The connections between hosts, for whatever they carry. One rule for all: on loopback and on Unix sockets plain
 * TCP will do, since who can reach it is on this host already; an address beyond needs an identity, and then both ends
 * speak TLS 1.3 and are hosts of one cluster. With an identity it is TLS on loopback, too: both ends of a link must
 * have one, or neither.
 */
import {
  type AddressInfo,
  BlockList,
  createServer,
  isIP,
  connect as netConnect,
  type Server,
  type Socket,
} from 'node:net'
import { createServer as createTlsServer, connect as tlsConnect } from 'node:tls'
import { SecurityError } from './errors.ts'
import { guardedServerOptions, guardHandshakes, HANDSHAKE_MS_MAX } from './handshakes.ts'
import type { Identity } from './identity.ts'
import type { Refusals } from './refusals.ts'

/**
 * A link on which nothing passes is probed this often: a host that lost its power closes no connection, and one that came back knows
 * of none. The kernel gives up after ten probes.
 */
export const PROBE_MS = 1_000
const PROBED = { keepAlive: true, keepAliveInitialDelay: PROBE_MS } as const

const LOOPBACK = new BlockList()
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4')
LOOPBACK.addAddress('::1', 'ipv6')

/** Only an address is known to stay on this host: what a name stands for is decided elsewhere, `localhost` included. */
export function isLoopback(host: string): boolean {
  const version = isIP(host)
  return version !== 0 && LOOPBACK.check(host, version === 4 ? 'ipv4' : 'ipv6')
}

/** Throws SECURITY_IDENTITY_MISSING when something beyond this host shall be reached or offered without one. */
export function checkReach(host: string, identity: Identity | null): void {
  if (identity !== null || isLoopback(host)) return
  throw new SecurityError(
    'SECURITY_IDENTITY_MISSING',
    `${host} is beyond loopback, and there is no identity.`,
  )
}

export interface LinkServerOptions {
  readonly identity: Identity | null
  readonly refusals: Refusals
  /** `host` is the name of the host that connected, as its certificate has it; null on a plain link. */
  onSocket(socket: Socket, host: string | null): void
}

/** A server that does not listen yet; whoever has it listen checks where, with `checkReach`. */
export function linkServer({ identity, refusals, onSocket }: LinkServerOptions): Server {
  if (identity === null) return createServer({ noDelay: true, ...PROBED }, (socket) => onSocket(socket, null))
  const server = createTlsServer(
    { ...guardedServerOptions(identity), noDelay: true, ...PROBED },
    (socket) => {
      const verdict = identity.judge(socket)
      if (verdict.accepted) return onSocket(socket, verdict.host)
      refusals.count(verdict.reason, socket.remoteAddress, verdict.detail)
      socket.on('error', () => {})
      socket.destroy()
    },
  )
  guardHandshakes(server, refusals)
  return server
}

export interface LinkListener {
  readonly port: number
  /** Nobody is let in any more; connections that are there live on. */
  close(): void
}

/**
 * Accepts links at an address, port 0 for any. Rejects with SECURITY_IDENTITY_MISSING, or with the error of listen(2).
 */
export async function listenLink(
  where: { readonly host: string; readonly port: number },
  options: LinkServerOptions,
): Promise<LinkListener> {
  checkReach(where.host, options.identity)
  const server = linkServer(options)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(where.port, where.host, resolve)
  })
  return { port: (server.address() as AddressInfo).port, close: () => void server.close() }
}

export interface LinkCall {
  readonly host: string
  readonly port: number
  readonly identity: Identity | null
  readonly refusals: Refusals
  /** The other side is there and, with an identity, is a host of this cluster. */
  onReady?(): void
}

/**
 * Calls the other side. What is written before it is ready leaves only once it is verified; a failure of any kind, an
 * unverified peer or no answer within HANDSHAKE_MS_MAX, is the socket's `error`. Throws SECURITY_IDENTITY_MISSING.
 */
export function connectLink({ host, port, identity, refusals, onReady }: LinkCall): Socket {
  checkReach(host, identity)
  const plain = netConnect({ host, port, noDelay: true, ...PROBED })
  if (identity === null) {
    boundConnecting(plain, 'connect', onReady)
    return plain
  }
  const socket = tlsConnect({ ...identity.clientOptions(), socket: plain })
  // What ends the connection below is not told above before the handshake.
  plain.on('error', (error) => socket.destroy(error))
  plain.on('close', () => socket.destroy())
  socket.on('error', (error) => {
    if (!socket.authorizationError) return
    const reason = error instanceof SecurityError ? 'other-cluster' : 'unknown-certificate'
    refusals.count(reason, `${host} ${port}`, error.message)
  })
  boundConnecting(socket, 'secureConnect', onReady)
  return socket
}

function boundConnecting(socket: Socket, ready: string, onReady: (() => void) | undefined): void {
  const deadline = setTimeout(() => {
    socket.destroy(new Error(`no connection within ${HANDSHAKE_MS_MAX} ms`))
  }, HANDSHAKE_MS_MAX)
  socket.once('close', () => clearTimeout(deadline))
  socket.once(ready, () => {
    clearTimeout(deadline)
    onReady?.()
  })
}
