/**
 * A control socket: HTTP, JSON unless a route says otherwise. Host agents and replicas both serve one. On a Unix socket, who may talk to it is
 * decided by the permissions of the directory it lies in; on TCP, by certificate and token (`src/security/https.ts`).
 * Requests are checked against a schema before anything sees them; errors go back with their stable code and advice.
 */
import { rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { z } from 'zod'
import { UnderstudyError } from '../errors.ts'
import { refusalOf, type SecureServerOptions, secureServer } from '../security/https.ts'
import type { Identity } from '../security/identity.ts'
import type { Refusals } from '../security/refusals.ts'
import { ControlError } from './errors.ts'
import { socketPath } from './socket-path.ts'

/** A request is a handful of names and numbers; a configuration with its publish list fits many times. */
const BODY_BYTES_MAX = 256 * 1024

export interface RouteRequest {
  /** Values of the `:name` parts of the path. */
  readonly params: { readonly [name: string]: string }
  readonly query: URLSearchParams
  readonly body: unknown
  /** The address of who asks; undefined on a Unix socket. */
  readonly from: string | undefined
}

export interface Route {
  readonly method: 'GET' | 'POST' | 'DELETE'
  /** Segments starting with `:` match anything and are handed over by name. */
  readonly path: string
  /** Answered over TCP without certificate and token, too: a host that joins has neither. */
  readonly isOpen?: boolean
  /** Resolves to what is sent back as JSON, or to a `TextAnswer`. */
  handle(request: RouteRequest): unknown
}

/** An answer that is not JSON, for readers that want another format (metrics). */
export class TextAnswer {
  readonly contentType: string
  readonly text: string

  constructor(contentType: string, text: string) {
    this.contentType = contentType
    this.text = text
  }
}

/** Takes over the byte stream of a connection that asked for an upgrade (a console). */
export interface UpgradeRoute {
  readonly path: string
  handle(request: RouteRequest, stream: Duplex): void | Promise<void>
}

/** Ties a schema to a handler, so that the handler sees checked data only. */
export function checked<T>(schema: z.ZodType<T>, body: unknown): T {
  const result = schema.safeParse(body)
  if (!result.success) throw new ControlError('CONTROL_BAD_REQUEST', z.prettifyError(result.error))
  return result.data
}

/** Where hosts of the cluster may call, port 0 for any. */
export interface ControlEndpoint {
  readonly host: string
  readonly port: number
  readonly identity: Identity
  readonly refusals: Refusals
}

export class ControlServer {
  readonly #server: Server
  /** Of the Unix socket, or null. */
  readonly #path: string | null

  private constructor(server: Server, path: string | null) {
    this.#server = server
    this.#path = path
  }

  /** Listens on a Unix socket, replacing a stale one that a dead process left, or on TCP for hosts of the cluster. */
  static async listen(
    where: string | ControlEndpoint,
    routes: readonly Route[],
    upgrades: readonly UpgradeRoute[] = [],
  ): Promise<ControlServer> {
    const isUnix = typeof where === 'string'
    if (isUnix) rmSync(socketPath(where), { force: true })
    const security = isUnix ? null : securityOf(where, routes)
    const server = security === null ? createServer() : secureServer(security)
    server.on('request', (request, response) => void answer(routes, security, request, response))
    server.on(
      'upgrade',
      (request: IncomingMessage, stream: Duplex) => void upgrade(upgrades, security, request, stream),
    )
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      if (isUnix) server.listen(where, resolve)
      else server.listen(where.port, where.host, resolve)
    })
    return new ControlServer(server, isUnix ? where : null)
  }

  /** Where it listens on TCP. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
    if (this.#path !== null) rmSync(this.#path, { force: true })
  }
}

/** The paths that are open are whole: a parameter in one would open more than it says. */
function securityOf({ identity, refusals }: ControlEndpoint, routes: readonly Route[]): SecureServerOptions {
  const openPaths = new Set(routes.filter(({ isOpen }) => isOpen).map(({ path }) => path))
  return { identity, refusals, openPaths }
}

/** Null on a Unix socket. */
type Security = SecureServerOptions | null

/** Throws CONTROL_UNAUTHORIZED. */
function authorize(request: IncomingMessage, pathname: string, security: Security): void {
  const refusal = security === null ? null : refusalOf(request, pathname, security)
  if (refusal !== null) throw new ControlError('CONTROL_UNAUTHORIZED', refusal)
}

async function answer(
  routes: readonly Route[],
  security: Security,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    const { method, pathname, query } = target(request)
    authorize(request, pathname, security)
    const matched = find(routes, pathname, (route) => route.method === method)
    if (!matched) throw new ControlError('CONTROL_NOT_FOUND', `${method} ${pathname} is not served here.`)
    const body = await readBody(request)
    const from = request.socket.remoteAddress
    const result = await matched.route.handle({ params: matched.params, query, body, from })
    send(response, 200, result ?? {})
  } catch (error) {
    send(response, statusOf(error), { error: describeError(error) })
  }
}

async function upgrade(
  routes: readonly UpgradeRoute[],
  security: Security,
  request: IncomingMessage,
  stream: Duplex,
): Promise<void> {
  // A console whose terminal went away ends in an error here, which concerns nobody else.
  stream.on('error', () => stream.destroy())
  const { pathname, query } = target(request)
  try {
    authorize(request, pathname, security)
  } catch {
    stream.end('HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n\r\n')
    return
  }
  const matched = find(routes, pathname, () => true)
  if (!matched) {
    stream.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n')
    return
  }
  stream.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: understudy\r\n\r\n')
  try {
    const from = request.socket.remoteAddress
    await matched.route.handle({ params: matched.params, query, body: undefined, from }, stream)
  } catch {
    stream.destroy()
  }
}

function target(request: IncomingMessage): { method: string; pathname: string; query: URLSearchParams } {
  const url = new URL(request.url ?? '/', 'http://localhost')
  return { method: request.method ?? 'GET', pathname: url.pathname, query: url.searchParams }
}

function find<R extends { readonly path: string }>(
  routes: readonly R[],
  pathname: string,
  accept: (route: R) => boolean,
): { route: R; params: { [name: string]: string } } | null {
  const actual = pathname.split('/')
  for (const route of routes) {
    const wanted = route.path.split('/')
    if (wanted.length !== actual.length || !accept(route)) continue
    const params: { [name: string]: string } = {}
    const fits = wanted.every((part, i) => {
      if (!part.startsWith(':')) return part === actual[i]
      params[part.slice(1)] = decodeURIComponent(actual[i])
      return true
    })
    if (fits) return { route, params }
  }
  return null
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > BODY_BYTES_MAX) {
      throw new ControlError('CONTROL_TOO_LARGE', `A request may have ${BODY_BYTES_MAX} bytes.`)
    }
    chunks.push(chunk)
  }
  if (bytes === 0) return undefined
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'))
  } catch (error) {
    throw new ControlError('CONTROL_BAD_REQUEST', 'The request is not JSON.', { cause: error })
  }
}

export interface ErrorDescription {
  readonly code: string
  readonly message: string
  readonly next: string
}

/** An error as it is sent to the other side, and as the command line prints it. */
export function describeError(error: unknown): ErrorDescription {
  if (error instanceof UnderstudyError) {
    return { code: error.code, message: error.message, next: error.next }
  }
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
  const internal = new ControlError('CONTROL_INTERNAL', message)
  return { code: internal.code, message, next: internal.next }
}

function statusOf(error: unknown): number {
  if (!(error instanceof UnderstudyError)) return 500
  if (error.code === 'CONTROL_NOT_FOUND') return 404
  if (error.code === 'CONTROL_UNAUTHORIZED') return 401
  return error.code === 'CONTROL_TOO_LARGE' ? 413 : 400
}

function send(response: ServerResponse, status: number, body: unknown): void {
  // Of a stranger nothing more is read.
  const close = status === 401 ? { connection: 'close' } : {}
  if (body instanceof TextAnswer) {
    response.writeHead(status, { 'content-type': body.contentType })
    response.end(body.text)
    return
  }
  response.writeHead(status, { 'content-type': 'application/json', ...close })
  response.end(JSON.stringify(body))
}
