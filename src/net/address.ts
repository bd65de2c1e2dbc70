/**
 * Where a gateway listens, as text: `unix:/run/understudy/links.sock`, `tcp:127.0.0.1:4711` in the clear, which ends at
 * loopback, or `tls:192.0.2.1:4711` for hosts of the cluster.
 */
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { connect, type NetConnectOpts, type Server, type Socket } from 'node:net'
import { SecurityError } from '../security/errors.ts'
import type { Identity } from '../security/identity.ts'
import { checkReach, connectLink, isLoopback, linkServer } from '../security/links.ts'
import type { Refusals } from '../security/refusals.ts'
import { NetError } from './errors.ts'

/** sun_path has 108 bytes, the last of them 0 (unix(7)). */
const UNIX_PATH_BYTES_MAX = 107

const TCP = /^(?<kind>tcp|tls):(?<host>\[[0-9a-f:.]+\]|[^:[\]]+):(?<port>[0-9]{1,5})$/i

/** As whom this process connects, and whom it lets connect. */
export interface NetAccess {
  /** Null where nothing beyond loopback is reached or offered. */
  readonly identity: Identity | null
  readonly refusals: Refusals
}

type LinkAddress =
  | { readonly path: string }
  | { readonly host: string; readonly port: number; readonly isSecure: boolean }

/** What `net.connect` takes, for peers outside the cluster that speak in the clear. Throws NET_ADDRESS_INVALID. */
export function parseAddress(address: string): NetConnectOpts {
  const where = parseLinkAddress(address)
  if ('path' in where) return where
  if (where.isSecure) throw new NetError('NET_ADDRESS_INVALID', `no plain peer is at ${address}`)
  return { host: where.host, port: where.port, noDelay: true }
}

/** Throws NET_ADDRESS_INVALID. */
export function parseLinkAddress(address: string): LinkAddress {
  if (address.startsWith('unix:')) {
    const path = address.slice('unix:'.length)
    if (path.startsWith('/') && Buffer.byteLength(path) <= UNIX_PATH_BYTES_MAX) return { path }
  }
  const { kind, host, port } = TCP.exec(address)?.groups ?? {}
  if (host !== undefined && Number(port) <= 65_535) {
    return {
      host: host.replace(/^\[|\]$/g, ''),
      port: Number(port),
      isSecure: kind!.toLowerCase() === 'tls',
    }
  }
  throw new NetError('NET_ADDRESS_INVALID', `not an address: ${address}`)
}

/** The identity that a link at this address needs, or null. Throws SECURITY_IDENTITY_MISSING or SECURITY_PLAIN_REFUSED. */
export function identityAt(where: LinkAddress, identity: Identity | null): Identity | null {
  if ('path' in where) return null
  if (!where.isSecure) {
    if (isLoopback(where.host)) return null
    throw new SecurityError('SECURITY_PLAIN_REFUSED', `${where.host} is beyond loopback.`)
  }
  if (identity !== null) return identity
  checkReach(where.host, identity)
  throw new SecurityError('SECURITY_IDENTITY_MISSING', 'TLS was asked for, and there is no identity.')
}

/** Calls what listens at an address of any kind; throws what `parseLinkAddress` and `identityAt` throw. */
export function connectAt(address: string, { identity, refusals }: NetAccess): Socket {
  const where = parseLinkAddress(address)
  const needed = identityAt(where, identity)
  return 'path' in where
    ? connect(where)
    : connectLink({ host: where.host, port: where.port, identity: needed, refusals })
}

/** A server for links at this address, for `listenAt`. */
export function serverAt(address: string, access: NetAccess, onSocket: (socket: Socket) => void): Server {
  const identity = identityAt(parseLinkAddress(address), access.identity)
  return linkServer({ ...access, identity, onSocket })
}

/**
 * Listens, replacing a Unix socket that a gateway left which is no more, and returns the address with its port. Rejects with
 * NET_ADDRESS_INVALID or NET_LISTEN_FAILED. The server is one that suits the address: `serverAt` makes it.
 */
export async function listenAt(server: Server, address: string): Promise<string> {
  const where = parseLinkAddress(address)
  try {
    if ('path' in where) await rm(where.path, { force: true })
    if ('path' in where) server.listen(where.path)
    else server.listen(where.port, where.host)
    await once(server, 'listening')
  } catch (error) {
    throw new NetError('NET_LISTEN_FAILED', `cannot listen at ${address}: ${(error as Error).message}`, {
      cause: error,
    })
  }
  const bound = server.address()
  if ('path' in where || bound === null || typeof bound === 'string') return address
  const host = bound.family === 'IPv6' ? `[${bound.address}]` : bound.address
  return `${where.isSecure ? 'tls' : 'tcp'}:${host}:${bound.port}`
}
