/**
 * Requests to etcd's JSON gateway (etcd 3.4 and later, "gRPC gateway"), with several endpoints.
 *
 * An endpoint that does not answer is passed over for the next, within one time limit for the whole request. But a
 * request that may not be done twice goes to another endpoint only if it surely never left: once it was handed to
 * a connection its outcome is unknown, and asked again a transaction that won would say that it lost.
 */
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { z } from 'zod'
import { errorCode } from './serial-operations.ts'
import { StoreError, VALUE_BYTES_MAX } from './store.ts'

/** Entries asked for at once: with the longest values some 22 MB of JSON, which etcd and Node both bear. */
export const PAGE_ENTRIES = 256
/** Base64 is four thirds of a value; the rest of an entry is key and numbers. */
const ANSWER_BYTES_MAX = PAGE_ENTRIES * (2 * VALUE_BYTES_MAX)

export interface EtcdTls {
  /** PEM: whom to trust in place of the system's authorities; the client's certificate and key. */
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
}

export interface EtcdEndpoints {
  /** `HOST:PORT`, each. */
  readonly endpoints: readonly string[]
  /** Null for plain HTTP. */
  readonly tls: EtcdTls | null
}

/** `refused` is etcd's own answer, with the code of gRPC. */
export type EtcdAnswer<T> =
  | { readonly ok: true; readonly body: T }
  | { readonly ok: false; readonly code: number; readonly message: string }

export interface EtcdRequestOptions {
  /** Whether the request may be done twice, so that another endpoint may be asked after one that fell silent. */
  readonly repeatable: boolean
  readonly timeoutMs: number
}

/** gRPC status codes (grpc.io, "Status codes and their use in gRPC"). */
export const GRPC_NOT_FOUND = 5
/** Deadline exceeded, unavailable, unknown, internal: another endpoint may do better. */
const GRPC_PASSING = new Set([4, 14, 2, 13])

const REFUSAL = z.object({ code: z.number().int(), message: z.string().optional() })

export class EtcdClient {
  readonly #endpoints: readonly string[]
  readonly #agent: HttpAgent
  readonly #secure: boolean
  /** Index of the endpoint that answered last. */
  #preferred = 0
  #closed = false

  constructor({ endpoints, tls }: EtcdEndpoints) {
    this.#endpoints = endpoints
    this.#secure = tls !== null
    this.#agent =
      tls === null ? new HttpAgent({ keepAlive: true }) : new HttpsAgent({ ...tls, keepAlive: true })
  }

  /** Rejects with STORE_UNREACHABLE, or STORE_DAMAGED if the answer is none of `schema`. */
  async post<T>(
    path: string,
    body: unknown,
    schema: z.ZodType<T>,
    { repeatable, timeoutMs }: EtcdRequestOptions,
  ): Promise<EtcdAnswer<T>> {
    this.#checkOpen()
    const untilMs = performance.now() + timeoutMs
    const first = this.#preferred
    let failure: Error = new Error('no endpoint')
    for (let i = 0; i < this.#endpoints.length; i++) {
      const index = (first + i) % this.#endpoints.length
      const remainingMs = untilMs - performance.now()
      if (remainingMs <= 0) break
      const attempt = new Attempt(remainingMs / (this.#endpoints.length - i), repeatable ? null : remainingMs)
      try {
        const { status, text } = await this.#exchange(index, path, body, attempt)
        this.#checkOpen()
        const refusal = status === 200 ? null : refusalOf(status, text)
        if (refusal === null || !GRPC_PASSING.has(refusal.code)) {
          this.#preferred = index
          return refusal === null
            ? { ok: true, body: parseAnswer(text, schema, path) }
            : { ok: false, ...refusal }
        }
        failure = new Error(`${this.#endpoints[index]}: ${refusal.message}`)
      } catch (error) {
        if (error instanceof StoreError) throw error
        failure = error as Error
      }
      this.#checkOpen()
      // The next request begins elsewhere, whatever becomes of this one.
      if (this.#preferred === index) this.#preferred = (index + 1) % this.#endpoints.length
      if (attempt.sent && !repeatable) break
    }
    throw new StoreError('STORE_UNREACHABLE', `etcd: ${failure.message}`, { cause: failure })
  }

  /**
   * Begins a request whose answer has no end. `onData` gets its parts, `onEnd` is called once, when it ended for
   * whatever reason. Returns what ends it.
   */
  stream(path: string, body: unknown, onData: (part: Buffer) => void, onEnd: () => void): () => void {
    this.#checkOpen()
    let ended = false
    const end = (): void => {
      if (ended) return
      ended = true
      request.destroy()
      onEnd()
    }
    // Not through the agent: a request that lasts would only be in the way of others.
    const request = this.#request(this.#preferred, path, false, (response) => {
      if (response.statusCode !== 200) return end()
      response.on('data', onData)
      response.on('close', end)
      response.on('error', end)
    })
    request.on('error', end)
    request.end(JSON.stringify(body))
    return end
  }

  /** Has the next request begin at another endpoint. */
  passOver(): void {
    this.#preferred = (this.#preferred + 1) % this.#endpoints.length
  }

  close(): void {
    this.#closed = true
    this.#agent.destroy()
  }

  #checkOpen(): void {
    if (this.#closed) throw new StoreError('STORE_CLOSED', 'the store was closed')
  }

  #request(index: number, path: string, pooled: boolean, onResponse: (response: IncomingMessage) => void) {
    const url = new URL(`${this.#secure ? 'https' : 'http'}://${this.#endpoints[index]}${path}`)
    const options = { method: 'POST', headers: { 'content-type': 'application/json' } }
    const tls = (this.#agent as HttpsAgent).options
    const agent = pooled ? this.#agent : this.#secure ? new HttpsAgent({ ...tls, keepAlive: false }) : false
    return this.#secure
      ? httpsRequest(url, { ...options, agent }, onResponse)
      : httpRequest(url, { ...options, agent }, onResponse)
  }

  #exchange(
    index: number,
    path: string,
    body: unknown,
    attempt: Attempt,
  ): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const request = this.#request(index, path, true, (response) => {
        const parts: Buffer[] = []
        let length = 0
        response.on('data', (part: Buffer) => {
          parts.push(part)
          length += part.length
          if (length > ANSWER_BYTES_MAX)
            request.destroy(new Error(`an answer beyond ${ANSWER_BYTES_MAX} bytes`))
        })
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, text: Buffer.concat(parts).toString() }),
        )
        response.on('error', reject)
      })
      const giveUp = (): void => {
        request.destroy(new Error(`${this.#endpoints[index]} did not answer in time`))
      }
      const connected = (): void => attempt.connected(giveUp)
      attempt.begin(giveUp)
      request.on('socket', (socket) => {
        if (!socket.connecting) return connected()
        socket.once(this.#secure ? 'secureConnect' : 'connect', connected)
      })
      request.on('error', (error) => reject(nameEndpoint(error, this.#endpoints[index]!)))
      request.on('close', () => attempt.end())
      request.end(JSON.stringify(body))
    })
  }
}

/** The time one endpoint gets: its share, or if the request must not be repeated all that is left once connected. */
class Attempt {
  /** Whether the request may have reached the endpoint. */
  sent = false
  readonly #shareMs: number
  readonly #sentMs: number | null
  readonly #begunMs = performance.now()
  #timer: NodeJS.Timeout | undefined

  constructor(shareMs: number, sentMs: number | null) {
    this.#shareMs = shareMs
    this.#sentMs = sentMs
  }

  begin(giveUp: () => void): void {
    this.#timer = setTimeout(giveUp, this.#shareMs)
  }

  connected(giveUp: () => void): void {
    this.sent = true
    if (this.#sentMs === null) return
    clearTimeout(this.#timer)
    this.#timer = setTimeout(giveUp, Math.max(0, this.#begunMs + this.#sentMs - performance.now()))
  }

  end(): void {
    clearTimeout(this.#timer)
  }
}

function parseAnswer<T>(text: string, schema: z.ZodType<T>, path: string): T {
  const parsed = schema.safeParse(jsonOrNull(text))
  if (parsed.success) return parsed.data
  throw new StoreError(
    'STORE_DAMAGED',
    `etcd answered ${path} with nonsense: ${z.prettifyError(parsed.error)}`,
  )
}

function refusalOf(status: number, text: string): { code: number; message: string } {
  const parsed = REFUSAL.safeParse(jsonOrNull(text))
  // Not etcd's own form: a proxy, or another program.
  if (!parsed.success) return { code: 14, message: `HTTP status ${status}` }
  return { code: parsed.data.code, message: parsed.data.message ?? `code ${parsed.data.code}` }
}

function jsonOrNull(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

function nameEndpoint(error: Error, endpoint: string): Error {
  return errorCode(error) === null ? error : new Error(`${endpoint}: ${error.message}`, { cause: error })
}
