/** The calling side of a control socket: one JSON request, or an upgraded byte stream; on this host or to another. */
import { type ClientRequest, type RequestOptions, request } from 'node:http'
import { request as requestSecurely } from 'node:https'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { z } from 'zod'
import { UnderstudyError } from '../errors.ts'
import { SecurityError } from '../security/errors.ts'
import { authorization } from '../security/https.ts'
import type { Identity } from '../security/identity.ts'
import { PROBE_MS } from '../security/links.ts'
import { ControlError, RemoteError } from './errors.ts'

/** An answer lists the virtual machines of one host. */
const ANSWER_BYTES_MAX = 16 * 1024 * 1024

/** Most answers come from memory; a caller of something slow says how long it may take. */
const TIMEOUT_MS = 5_000

const errorSchema = z.object({
  error: z.object({ code: z.string(), message: z.string(), next: z.string() }),
})

/** Where a server listens: its Unix socket, or its address, where a host of the cluster is asked as one. */
export type ControlTarget =
  | { readonly socket: string }
  | { readonly host: string; readonly port: number; readonly identity: Identity }

export type ControlCall = ControlTarget & {
  readonly method: 'GET' | 'POST' | 'DELETE'
  readonly path: string
  readonly body?: unknown
  readonly timeoutMs?: number
}

/** Makes one call and checks the answer. Throws `RemoteError` with what the server reported, or `ControlError`. */
export async function callControl<T>(call: ControlCall, answer: z.ZodType<T>): Promise<T> {
  const { status, text } = await exchange(call)
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw new ControlError('CONTROL_NONSENSE', `${call.path} answered something that is not JSON.`, {
      cause: error,
    })
  }
  if (status !== 200) {
    const reported = errorSchema.safeParse(json)
    if (!reported.success)
      throw new ControlError('CONTROL_NONSENSE', `${call.path} answered with status ${status}.`)
    const { code, message, next } = reported.data.error
    throw new RemoteError(code, message, next)
  }
  const result = answer.safeParse(json)
  if (!result.success) throw new ControlError('CONTROL_NONSENSE', z.prettifyError(result.error))
  return result.data
}

function exchange(call: ControlCall): Promise<{ status: number; text: string }> {
  const timeoutMs = call.timeoutMs ?? TIMEOUT_MS
  return new Promise((resolve, reject) => {
    const body = call.body === undefined ? undefined : JSON.stringify(call.body)
    const outgoing = requestTo(call, { path: call.path, method: call.method })
    const timer = setTimeout(() => {
      outgoing.destroy(new ControlError('CONTROL_TIMEOUT', `${call.path} took longer than ${timeoutMs} ms.`))
    }, timeoutMs)
    const fail = (error: Error) => {
      clearTimeout(timer)
      reject(unreachable(call, outgoing, error))
    }
    outgoing.on('error', fail)
    outgoing.on('response', (response) => {
      const chunks: Buffer[] = []
      let bytes = 0
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        chunks.push(chunk)
        if (bytes > ANSWER_BYTES_MAX) {
          outgoing.destroy(new ControlError('CONTROL_NONSENSE', `${call.path} answered too much.`))
        }
      })
      response.on('error', fail)
      response.on('end', () => {
        clearTimeout(timer)
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') })
      })
    })
    outgoing.end(body)
  })
}

/** Opens a byte stream (a console) through an HTTP upgrade. Resolves once the server has accepted it. */
export function openStream(where: ControlTarget, path: string): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const outgoing = requestTo(where, {
      path,
      method: 'GET',
      headers: { connection: 'Upgrade', upgrade: 'understudy' },
    })
    outgoing.on('error', (error) => reject(unreachable(where, outgoing, error)))
    outgoing.on('response', (response) => {
      response.destroy()
      const code = response.statusCode === 401 ? 'CONTROL_UNAUTHORIZED' : 'CONTROL_NOT_FOUND'
      reject(new ControlError(code, `${path} is no stream here (status ${response.statusCode}).`))
    })
    outgoing.on('upgrade', (_response, stream, head) => {
      if (head.length > 0) stream.unshift(head)
      resolve(stream)
    })
    outgoing.end()
  })
}

function requestTo(where: ControlTarget, options: RequestOptions): ClientRequest {
  if ('socket' in where) return request({ ...options, socketPath: where.socket, agent: false })
  const { host, port, identity } = where
  const outgoing = requestSecurely({
    ...options,
    ...identity.clientOptions(),
    host,
    port,
    agent: false,
    headers: { ...options.headers, ...authorization(identity) },
  })
  // An answer may be waited for for a minute, from a host that has lost its power meanwhile.
  outgoing.setSocketKeepAlive(true, PROBE_MS)
  return outgoing
}

function unreachable(where: ControlTarget, { socket }: ClientRequest, error: Error): UnderstudyError {
  if (error instanceof UnderstudyError) return error
  const address = 'socket' in where ? where.socket : `${where.host} port ${where.port}`
  const text = `${address} (${error.message}).`
  // It is set when the certificate of the other side did not pass.
  if ((socket as TLSSocket | null)?.authorizationError) {
    return new SecurityError('SECURITY_PEER_REFUSED', text, { cause: error })
  }
  return new ControlError('CONTROL_UNREACHABLE', `Nobody answers at ${text}`, { cause: error })
}
