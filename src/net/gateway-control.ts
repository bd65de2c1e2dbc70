/**
 * How host agents tell the gateway about VMs: HTTP with JSON on a Unix socket that only its owner can open, and for agents
 * of other hosts on a `tls:` address (`src/security/https.ts`). Server and client stand together.
 *
 *     GET    /segments          -> SegmentInfo[]
 *     POST   /segments          SegmentRequest -> SegmentInfo and token
 *     DELETE /segments/VM
 *     GET    /gateway           -> GatewayInfo
 *
 * Errors come as {code, message} with status 409 where a retry may help, 401 for who is no host of the cluster, and 400
 * otherwise; the client throws them again as the NetError they were.
 */
import { chmod } from 'node:fs/promises'
import {
  type ClientRequest,
  createServer,
  type IncomingMessage,
  type RequestOptions,
  request,
  type Server,
  type ServerResponse,
} from 'node:http'
import { request as requestSecurely } from 'node:https'
import { authorization, refusalOf, type SecureServerOptions, secureServer } from '../security/https.ts'
import type { Identity } from '../security/identity.ts'
import type { RefusalCounts } from '../security/refusals.ts'
import { identityAt, listenAt, parseLinkAddress } from './address.ts'
import { isNetErrorCode, NetError } from './errors.ts'
import type { Gateway, SegmentInfo, SegmentRequest } from './gateway.ts'

/** A segment request with as many ports as are allowed has some kilobytes. */
const REQUEST_BYTES_MAX = 64 * 1024

/** Making a segment starts a process; everything else is immediate. */
const CLIENT_TIMEOUT_MS = 15_000

const CONFLICTS: ReadonlySet<string> = new Set([
  'NET_PORT_IN_USE',
  'NET_SEGMENT_EXISTS',
  'NET_SEGMENTS_TOO_MANY',
])

export interface GatewayInfo {
  readonly pid: number
  readonly linkAddress: string
  /** What was refused so far, by reason. */
  readonly refusals: RefusalCounts
}

export interface GatewayControl {
  /** Where it listens, with its port. */
  readonly address: string
  close(): void
}

/**
 * Rejects with NET_ADDRESS_INVALID, NET_LISTEN_FAILED or SECURITY_IDENTITY_MISSING. `address` is `unix:` or `tls:`: on plain
 * TCP, everybody on this host could open it. Close it before the gateway.
 */
export async function serveGatewayControl(gateway: Gateway, address: string): Promise<GatewayControl> {
  const where = parseLinkAddress(address)
  const identity = identityAt(where, gateway.access.identity)
  if (identity === null && !('path' in where))
    throw new NetError('NET_ADDRESS_INVALID', `control is not served in the clear at ${address}`)
  const security = identity === null ? null : { ...gateway.access, identity, openPaths: new Set<string>() }
  const server: Server = security === null ? createServer() : secureServer(security)
  server.on('request', (message, response) => void answer(gateway, security, message, response))
  const bound = await listenAt(server, address)
  if ('path' in where) await chmod(where.path, 0o600)
  return { address: bound, close: () => void server.close() }
}

async function answer(
  gateway: Gateway,
  security: SecureServerOptions | null,
  message: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    const refusal = security === null ? null : refusalOf(message, message.url ?? '', security)
    if (refusal !== null) throw new NetError('NET_UNAUTHORIZED', refusal)
    const result = await route(gateway, message)
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(result))
  } catch (error) {
    const known = error instanceof NetError
    const body = known
      ? { code: error.code, message: error.message }
      : { code: 'INTERNAL', message: String(error) }
    const status = !known ? 500 : statusOf(error)
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }
}

function statusOf({ code }: NetError): number {
  if (code === 'NET_UNAUTHORIZED') return 401
  return CONFLICTS.has(code) ? 409 : 400
}

async function route(gateway: Gateway, message: IncomingMessage): Promise<unknown> {
  const { method, url = '' } = message
  if (method === 'GET' && url === '/gateway') {
    const { linkAddress, refusals } = gateway
    return { pid: process.pid, linkAddress, refusals }
  }
  if (method === 'GET' && url === '/segments') return gateway.listSegments()
  // The gateway checks every field of the request itself.
  if (method === 'POST' && url === '/segments')
    return gateway.addSegment((await readJson(message)) as SegmentRequest)
  const vm = /^\/segments\/([a-z0-9-]+)$/.exec(url)?.[1]
  if (method === 'DELETE' && vm !== undefined) {
    await gateway.removeSegment(vm)
    return {}
  }
  throw new NetError('NET_REQUEST_INVALID', `no such request: ${method} ${url}`)
}

async function readJson(message: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of message as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > REQUEST_BYTES_MAX)
      throw new NetError('NET_REQUEST_INVALID', `over ${REQUEST_BYTES_MAX} bytes`)
    chunks.push(chunk)
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'))
  } catch (error) {
    throw new NetError('NET_REQUEST_INVALID', 'the request is not JSON', { cause: error })
  }
}

/** Every method rejects with the NetError that the gateway threw, or NET_GATEWAY_UNREACHABLE. */
export class GatewayClient {
  readonly #address: string
  readonly #identity: Identity | null

  /** `address` is that of the control socket, `unix:DIR/gateway.sock` by default; one of another host needs an identity. */
  constructor(address: string, identity: Identity | null = null) {
    this.#address = address
    this.#identity = identity
  }

  info(): Promise<GatewayInfo> {
    return this.#request('GET', '/gateway')
  }

  list(): Promise<SegmentInfo[]> {
    return this.#request('GET', '/segments')
  }

  add(segment: SegmentRequest): Promise<SegmentInfo & { readonly token: string }> {
    return this.#request('POST', '/segments', segment)
  }

  async remove(vm: string): Promise<void> {
    await this.#request('DELETE', `/segments/${encodeURIComponent(vm)}`)
  }

  /** The shape of an answer is the gateway's promise: both ends are one program of one version. */
  async #request<T>(method: string, path: string, body?: object): Promise<T> {
    const { status, text } = await this.#exchange(
      method,
      path,
      body === undefined ? '' : JSON.stringify(body),
    )
    const answered = JSON.parse(text) as T & { code: string; message: string }
    if (status === 200) return answered
    throw new NetError(
      isNetErrorCode(answered.code) ? answered.code : 'NET_GATEWAY_UNREACHABLE',
      answered.message,
    )
  }

  #exchange(method: string, path: string, body: string): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const fail = (error: Error) => {
        reject(
          new NetError('NET_GATEWAY_UNREACHABLE', `${this.#address}: ${error.message}`, { cause: error }),
        )
      }
      const outgoing = this.#outgoing({ method, path, agent: false, timeout: CLIENT_TIMEOUT_MS })
      outgoing.on('response', (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('error', fail)
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }),
        )
      })
      outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer within ${CLIENT_TIMEOUT_MS} ms`)))
      outgoing.on('error', fail)
      outgoing.end(body)
    })
  }

  #outgoing(options: RequestOptions): ClientRequest {
    const where = parseLinkAddress(this.#address)
    if ('path' in where) return request({ ...options, socketPath: where.path })
    const identity = identityAt(where, this.#identity)
    if (identity === null)
      throw new NetError('NET_ADDRESS_INVALID', `control is not served in the clear at ${this.#address}`)
    const { host, port } = where
    return requestSecurely({
      ...options,
      ...identity.clientOptions(),
      host,
      port,
      headers: authorization(identity),
    })
  }
}
