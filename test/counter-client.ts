/**
 * A client of the Redis in a guest that keeps asking over one connection, and writes down what it asked, when, and what came
 * back: a history for `linearizability.ts`. Half of what it asks are increments, the rest reads and writes of values that are
 * never written twice.
 *
 * A connection that breaks, or an answer that takes too long, leaves an operation without answer; who goes on afterwards, over a
 * new connection, is another process of the history.
 */
import { connect, type Socket } from 'node:net'
import { z } from 'zod'
import type { Random } from '../src/sim/random.ts'
import { RedisReplies, type RedisReply, redisCommand } from './redis-protocol.ts'

const RECONNECT_MS = 50

const times = {
  process: z.string(),
  key: z.string(),
  callMs: z.number(),
  returnMs: z.number().nullable(),
}
const value = z.object({ value: z.number().int() })
const text = z.string().nullable()

/** One line of what a client writes down. Times are of its own clock, in milliseconds. */
export const clientRecordSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('counter'),
    operation: z.object({
      ...times,
      request: z.object({ kind: z.enum(['increment', 'read']) }),
      result: value.nullable(),
    }),
  }),
  z.object({
    kind: z.literal('register'),
    operation: z.object({
      ...times,
      request: z.discriminatedUnion('kind', [
        z.object({ kind: z.literal('read') }),
        z.object({ kind: z.literal('write'), value: z.string() }),
      ]),
      result: z
        .discriminatedUnion('kind', [
          z.object({ kind: z.literal('read'), value: text }),
          z.object({ kind: z.literal('written') }),
        ])
        .nullable(),
    }),
  }),
  /** The connection of a process is no more, though nobody asked for that; from a client's first answer on. */
  z.object({
    kind: z.literal('break'),
    process: z.string(),
    atMs: z.number(),
    why: z.enum(['closed', 'reset', 'timed-out', 'nonsense']),
    detail: z.string(),
  }),
])

export type ClientRecord = z.infer<typeof clientRecordSchema>
type Question = {
  readonly kind: 'counter' | 'register'
  readonly does: 'read' | 'change'
  readonly key: string
}

export interface ClientOptions {
  readonly address: string
  readonly port: number
  readonly name: string
  /** Counters and registers each. Clients meet at the same ones. */
  readonly keys: number
  /** Between an answer and the next question. */
  readonly pauseMs: number
  /** How long an answer may take; far above any takeover, or one that is late counts as lost. */
  readonly answerMsMax: number
  readonly random: Random
  readonly record: (record: ClientRecord) => void
}

/** What was asked and not yet answered. */
interface Asked {
  readonly question: Question
  /** What a change writes. */
  readonly value: string
  readonly callMs: number
}

export class CounterClient {
  readonly #options: ClientOptions
  #lives = 0
  #values = 0
  #asked: Asked | null = null
  #socket: Socket | null = null
  #timer: NodeJS.Timeout | null = null
  #wasAnswered = false
  #stopping = false
  #finalReads: Question[] = []
  readonly #first = Promise.withResolvers<void>()
  readonly #finished = Promise.withResolvers<void>()

  constructor(options: ClientOptions) {
    this.#options = options
  }

  /** Begins; resolves with the first answer. Tries to connect for as long as it takes. */
  start(): Promise<void> {
    this.#connect()
    return this.#first.promise
  }

  /** Waits for the answer that is due, then reads every key once if it is asked to, and closes. */
  stop(readsAll: boolean): Promise<void> {
    this.#stopping = true
    if (readsAll) {
      this.#finalReads = Array.from({ length: this.#options.keys }, (_, n) => [
        { kind: 'counter', does: 'read', key: `counter:${n}` } as const,
        { kind: 'register', does: 'read', key: `register:${n}` } as const,
      ]).flat()
    }
    if (this.#asked === null && this.#socket?.readyState === 'open') {
      if (this.#timer !== null) clearTimeout(this.#timer)
      this.#askNext()
    } else if (this.#socket === null && !readsAll) this.#finish()
    return this.#finished.promise
  }

  get #process(): string {
    return `${this.#options.name}.${this.#lives}`
  }

  #connect(): void {
    const { address, port } = this.#options
    const socket = connect({ host: address, port, noDelay: true })
    const replies = new RedisReplies()
    let failure: NodeJS.ErrnoException | null = null
    let isNonsense = false
    this.#socket = socket
    socket.setEncoding('latin1')
    socket.on('connect', () => this.#askNext())
    socket.on('data', (data: string) => {
      try {
        for (const reply of replies.push(data)) this.#answered(reply)
      } catch (error) {
        isNonsense = true
        socket.destroy(error as Error)
      }
    })
    socket.on('error', (error) => {
      failure = error
    })
    socket.on('end', () => socket.destroy())
    socket.on('close', () => {
      if (this.#socket !== socket) return
      const why = isNonsense ? 'nonsense' : failure?.code === 'ECONNRESET' ? 'reset' : 'closed'
      this.#broken(why, failure?.message ?? '')
    })
  }

  #askNext(): void {
    this.#timer = null
    const question = this.#stopping ? this.#finalReads.shift() : this.#draw()
    if (question === undefined) return this.#finish()
    const { answerMsMax } = this.#options
    const value = `${this.#process}:${++this.#values}`
    this.#asked = { question, value, callMs: performance.now() }
    this.#timer = setTimeout(() => this.#broken('timed-out', `no answer in ${answerMsMax} ms`), answerMsMax)
    this.#socket!.write(commandOf(question, value))
  }

  #draw(): Question {
    // Who listens for a Redis that still starts may be reset at any time, and asks for nothing that could be half done.
    if (!this.#wasAnswered) return { kind: 'counter', does: 'read', key: 'counter:0' }
    const { random, keys } = this.#options
    const kind = random.chance(0.65) ? 'counter' : 'register'
    const does = random.chance(kind === 'counter' ? 0.75 : 0.5) ? 'change' : 'read'
    return { kind, does, key: `${kind}:${random.whole(0, keys - 1)}` }
  }

  #answered(reply: RedisReply): void {
    const asked = this.#asked
    if (asked === null) throw new Error(`an answer that nobody asked for: ${JSON.stringify(reply)}`)
    const record = recordOf(this.#process, asked, performance.now(), reply)
    this.#asked = null
    clearTimeout(this.#timer!)
    this.#options.record(record)
    this.#wasAnswered = true
    this.#first.resolve()
    if (this.#stopping) this.#askNext()
    else this.#timer = setTimeout(() => this.#askNext(), this.#options.pauseMs)
  }

  #broken(why: 'closed' | 'reset' | 'timed-out' | 'nonsense', detail: string): void {
    const socket = this.#socket
    this.#socket = null
    socket?.destroy()
    if (this.#timer !== null) clearTimeout(this.#timer)
    if (this.#asked !== null && this.#wasAnswered)
      this.#options.record(recordOf(this.#process, this.#asked, null, null))
    this.#asked = null
    if (this.#wasAnswered) {
      this.#options.record({ kind: 'break', process: this.#process, atMs: performance.now(), why, detail })
    }
    this.#lives++
    if (this.#stopping && this.#finalReads.length === 0) return this.#finish()
    this.#timer = setTimeout(() => this.#connect(), RECONNECT_MS)
  }

  #finish(): void {
    const socket = this.#socket
    this.#socket = null
    socket?.destroy()
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#finished.resolve()
  }
}

function commandOf({ kind, does, key }: Question, value: string): string {
  if (does === 'read') return redisCommand('GET', key)
  return kind === 'counter' ? redisCommand('INCR', key) : redisCommand('SET', key, value)
}

/** Throws an Error at an answer that this question cannot have. */
function recordOf(
  process: string,
  { question: { kind, does, key }, value, callMs }: Asked,
  returnMs: number | null,
  reply: RedisReply | null,
): ClientRecord {
  const when = { process, key, callMs, returnMs }
  if (kind === 'counter') {
    const request = { kind: does === 'read' ? 'read' : 'increment' } as const
    return { kind, operation: { ...when, request, result: reply && { value: numberIn(reply, does) } } }
  }
  if (does === 'read') {
    const result = reply && { kind: 'read' as const, value: bulkIn(reply) }
    return { kind, operation: { ...when, request: { kind: 'read' }, result } }
  }
  if (reply !== null && (reply.kind !== 'status' || reply.text !== 'OK'))
    throw new Error(JSON.stringify(reply))
  const result = reply && { kind: 'written' as const }
  return { kind, operation: { ...when, request: { kind: 'write', value }, result } }
}

function numberIn(reply: RedisReply, does: 'read' | 'change'): number {
  if (does === 'change') {
    if (reply.kind !== 'integer') throw new Error(`no answer to INCR: ${JSON.stringify(reply)}`)
    return reply.value
  }
  const text = bulkIn(reply) ?? '0'
  if (!/^[0-9]{1,15}$/.test(text)) throw new Error(`no counter: ${text}`)
  return Number(text)
}

function bulkIn(reply: RedisReply): string | null {
  if (reply.kind !== 'bulk') throw new Error(`no answer to GET: ${JSON.stringify(reply)}`)
  return reply.value
}
