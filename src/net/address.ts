/** Where a gateway listens, as text: `unix:/run/understudy/links.sock` or `tcp:127.0.0.1:4711`. */
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import type { NetConnectOpts, Server } from 'node:net'
import { NetError } from './errors.ts'

/** sun_path has 108 bytes, the last of them 0 (unix(7)). */
const UNIX_PATH_BYTES_MAX = 107

const TCP = /^tcp:(?<host>\[[0-9a-f:.]+\]|[^:[\]]+):(?<port>[0-9]{1,5})$/i

/** What `net.connect` and `server.listen` take. Throws NET_ADDRESS_INVALID. */
export function parseAddress(address: string): NetConnectOpts & { readonly host?: string } {
  if (address.startsWith('unix:')) {
    const path = address.slice('unix:'.length)
    if (path.startsWith('/') && Buffer.byteLength(path) <= UNIX_PATH_BYTES_MAX) return { path }
  }
  const { host, port } = TCP.exec(address)?.groups ?? {}
  if (host !== undefined && Number(port) <= 65_535) {
    return { host: host.replace(/^\[|\]$/g, ''), port: Number(port), noDelay: true }
  }
  throw new NetError('NET_ADDRESS_INVALID', `not an address: ${address}`)
}

/**
 * Listens, replacing a Unix socket that a gateway left which is no more, and returns the address with its port. Rejects with
 * NET_ADDRESS_INVALID or NET_LISTEN_FAILED.
 */
export async function listenAt(server: Server, address: string): Promise<string> {
  const where = parseAddress(address)
  try {
    if ('path' in where) await rm(where.path, { force: true })
    server.listen(where)
    await once(server, 'listening')
  } catch (error) {
    throw new NetError('NET_LISTEN_FAILED', `cannot listen at ${address}: ${(error as Error).message}`, {
      cause: error,
    })
  }
  const bound = server.address()
  if (bound === null || typeof bound === 'string') return address
  return `tcp:${bound.family === 'IPv6' ? `[${bound.address}]` : bound.address}:${bound.port}`
}
