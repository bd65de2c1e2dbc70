/**
 * HTTP for hosts of the cluster: TLS 1.3, a certificate of the cluster on both sides, and the API token with each request. A
 * certificate says which host asks, and the token that it asks on behalf of the cluster: a guest's own software that got hold
 * of a connection through some proxy has neither.
 *
 * Some paths may be open to strangers, for a host that joins has nothing to show yet. So a handshake is completed with anybody,
 * and who is no host has few connections to share and little time.
 */
import type { IncomingMessage } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { TLSSocket } from 'node:tls'
import { guardedServerOptions, guardHandshakes } from './handshakes.ts'
import type { Identity } from './identity.ts'
import type { Refusals } from './refusals.ts'
import { isAuthorized } from './tokens.ts'

/** Connections of those who showed no certificate of the cluster; hosts join one by one. */
export const STRANGERS_MAX = 16

/** Headers come in one piece, and bodies are small: who takes longer keeps a connection busy for nothing. */
const HEADERS_MS_MAX = 10_000
const REQUEST_MS_MAX = 30_000

export interface SecureServerOptions {
  readonly identity: Identity
  readonly refusals: Refusals
  /** Paths that strangers may ask for. */
  readonly openPaths: ReadonlySet<string>
}

/** A server whose requests are yet to be checked, each, with `refusalOf`. */
export function secureServer({ identity, refusals, openPaths }: SecureServerOptions): Server {
  const server = createServer({
    ...guardedServerOptions(identity),
    headersTimeout: HEADERS_MS_MAX,
    requestTimeout: REQUEST_MS_MAX,
  })
  const strangers = new Set<TLSSocket>()
  server.on('secureConnection', (socket) => {
    const verdict = identity.judge(socket)
    if (verdict.accepted) return
    if (openPaths.size === 0) {
      refusals.count(verdict.reason, socket.remoteAddress, verdict.detail)
      socket.destroy()
      return
    }
    strangers.add(socket)
    socket.once('close', () => strangers.delete(socket))
    if (strangers.size <= STRANGERS_MAX) return
    const [oldest] = strangers
    strangers.delete(oldest!)
    oldest!.destroy()
  })
  guardHandshakes(server, refusals)
  return server
}

/** Why this request is not to be answered, which is counted; null when it may be. */
export function refusalOf(
  request: IncomingMessage,
  path: string,
  options: SecureServerOptions,
): string | null {
  const { identity, refusals, openPaths } = options
  if (openPaths.has(path)) return null
  const socket = request.socket as TLSSocket
  const verdict = identity.judge(socket)
  if (!verdict.accepted) {
    refusals.count(verdict.reason, socket.remoteAddress, verdict.detail)
    return 'A certificate of this cluster is needed.'
  }
  if (isAuthorized(request.headers.authorization, identity.apiToken)) return null
  refusals.count('wrong-token', socket.remoteAddress, `host ${verdict.host}`)
  return "The cluster's API token is needed."
}

/** What a host puts into its requests besides its certificate. */
export function authorization({ apiToken }: Identity): { readonly authorization: string } {
  return { authorization: `Bearer ${apiToken}` }
}
