/**
 * How host agents tell the gateway about VMs: HTTP with JSON on a Unix socket that only its owner can open.
 * Server and client stand together.
 *
 *     GET    /segments          -> SegmentInfo[]
 *     POST   /segments          SegmentRequest -> SegmentInfo and token
 *     DELETE /segments/VM
 *     GET    /gateway           -> GatewayInfo
 *
 * Errors come as {code, message} with status 409 where a retry may help and 400 otherwise; the client throws them
 * again as the NetError they were.
 */
import { chmod } from 'node:fs/promises'
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'
import { listenAt, parseAddress } from './address.ts'
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
}

/** Rejects with NET_ADDRESS_INVALID or NET_LISTEN_FAILED. Close the server before the gateway. */
export async function serveGatewayControl(gateway: Gateway, address: string): Promise<Server> {
  const server = createServer((message, response) => void answer(gateway, message, response))
  await listenAt(server, address)
  const where = parseAddress(address)
  if ('path' in where) await chmod(where.path, 0o600)
  return server
}

async function answer(gateway: Gateway, message: IncomingMessage, response: ServerResponse): Promise<void> {
  try {
    const result = await route(gateway, message)
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(result))
  } catch (error) {
    const known = error instanceof NetError
    const body = known
      ? { code: error.code, message: error.message }
      : { code: 'INTERNAL', message: String(error) }
    const status = !known ? 500 : CONFLICTS.has(error.code) ? 409 : 400
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }
}

async function route(gateway: Gateway, message: IncomingMessage): Promise<unknown> {
  const { method, url = '' } = message
  if (method === 'GET' && url === '/gateway') return { pid: process.pid, linkAddress: gateway.linkAddress }
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

  /** `address` is that of the control socket, `unix:DIR/gateway.sock` by default. */
  constructor(address: string) {
    this.#address = address
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
    const where = parseAddress(this.#address)
    const target = 'path' in where ? { socketPath: where.path } : where
    return new Promise((resolve, reject) => {
      const fail = (error: Error) => {
        reject(
          new NetError('NET_GATEWAY_UNREACHABLE', `${this.#address}: ${error.message}`, { cause: error }),
        )
      }
      const outgoing = request(
        { ...target, method, path, agent: false, timeout: CLIENT_TIMEOUT_MS },
        (response) => {
          const chunks: Buffer[] = []
          response.on('data', (chunk: Buffer) => chunks.push(chunk))
          response.on('error', fail)
          response.on('end', () =>
            resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }),
          )
        },
      )
      outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer within ${CLIENT_TIMEOUT_MS} ms`)))
      outgoing.on('error', fail)
      outgoing.end(body)
    })
  }
}
