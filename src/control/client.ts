/** The calling side of a control socket: one JSON request over a Unix socket, or an upgraded byte stream. */
import { request } from 'node:http'
import type { Duplex } from 'node:stream'
import { z } from 'zod'
import { ControlError, RemoteError } from './errors.ts'

/** An answer lists the virtual machines of one host. */
const ANSWER_BYTES_MAX = 16 * 1024 * 1024

/** Most answers come from memory; a caller of something slow says how long it may take. */
const TIMEOUT_MS = 5_000

const errorSchema = z.object({
  error: z.object({ code: z.string(), message: z.string(), next: z.string() }),
})

/** Where a server listens. */
export interface ControlTarget {
  /** The Unix socket of the server. */
  readonly socket: string
}

export interface ControlCall extends ControlTarget {
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
    const outgoing = request({ socketPath: call.socket, path: call.path, method: call.method, agent: false })
    const timer = setTimeout(() => {
      outgoing.destroy(new ControlError('CONTROL_TIMEOUT', `${call.path} took longer than ${timeoutMs} ms.`))
    }, timeoutMs)
    const fail = (error: Error) => {
      clearTimeout(timer)
      reject(
        error instanceof ControlError
          ? error
          : new ControlError('CONTROL_UNREACHABLE', `Nobody answers at ${call.socket} (${error.message}).`, {
              cause: error,
            }),
      )
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
export function openStream({ socket }: ControlTarget, path: string): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const outgoing = request({
      socketPath: socket,
      path,
      method: 'GET',
      agent: false,
      headers: { connection: 'Upgrade', upgrade: 'understudy' },
    })
    const unreachable = (error: Error) =>
      reject(
        new ControlError('CONTROL_UNREACHABLE', `Nobody answers at ${socket} (${error.message}).`, {
          cause: error,
        }),
      )
    outgoing.on('error', unreachable)
    outgoing.on('response', (response) => {
      response.destroy()
      reject(
        new ControlError('CONTROL_NOT_FOUND', `${path} is no stream here (status ${response.statusCode}).`),
      )
    })
    outgoing.on('upgrade', (_response, stream, head) => {
      if (head.length > 0) stream.unshift(head)
      resolve(stream)
    })
    outgoing.end()
  })
}
