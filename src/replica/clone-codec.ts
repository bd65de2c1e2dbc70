/**
 * What goes over the connection by which a running machine is cloned (FT VMotion): the state of the source as of its
 * frame cursor, from the source to the clone, and what the two say about it.
 *
 *     u8 kind, u32 length, payload       big-endian
 *
 * From the source: `header` first, then `state` in any number of pieces (the bytes of a snapshot, cut anywhere; each by
 * itself compressed or not), `end`, and, once the clone is the backup, `bound`. From the clone: `restored`, or `failed`
 * with the reason. A connection that ends without `bound` means that there will be no pair.
 */
import { z } from 'zod'
import { ReplicaError } from './errors.ts'

export const CLONE_VERSION = 1

export const cloneHeaderSchema = z.strictObject({
  version: z.literal(CLONE_VERSION),
  vm: z.string().max(64),
  /** The clone's incarnation: random, so that only the source that was told of it gets in. */
  replica: z.string().max(128),
  generation: z.int().min(1),
  /** Where the log goes on behind the state: the frame cursor; clock as decimal digits, since it has 64 bits. */
  sequence: z.int().min(0),
  clock: z.string().regex(/^[0-9]{1,20}$/),
  clockRate: z.int().min(0).max(0xffff_ffff),
})

export type CloneHeader = z.infer<typeof cloneHeaderSchema>

export const cloneFailureSchema = z.strictObject({ code: z.string().max(64), message: z.string().max(4096) })

export type CloneFailure = z.infer<typeof cloneFailureSchema>

export type CloneMessage =
  | { readonly kind: 'header'; readonly header: CloneHeader }
  | { readonly kind: 'state'; readonly bytes: Uint8Array }
  /** The bytes are compressed with zstd; they unpack to at most STATE_BYTES_MAX. */
  | { readonly kind: 'packed-state'; readonly bytes: Uint8Array }
  | { readonly kind: 'end' }
  | { readonly kind: 'bound' }
  | { readonly kind: 'restored' }
  | { readonly kind: 'failed'; readonly failure: CloneFailure }

const KINDS = ['header', 'state', 'packed-state', 'end', 'bound', 'restored', 'failed'] as const

/** Of one piece of state: a record of 256 pages and its bookkeeping fit several times. */
export const STATE_BYTES_MAX = 4 * 1024 * 1024
/** Of everything else: names and numbers. */
const TEXT_BYTES_MAX = 16 * 1024
const PREFIX_BYTES = 5

export function encodeCloneMessage(message: CloneMessage): Uint8Array[] {
  const payload = payloadOf(message)
  const prefix = Buffer.alloc(PREFIX_BYTES)
  prefix.writeUInt8(KINDS.indexOf(message.kind), 0)
  prefix.writeUInt32BE(payload.length, 1)
  return payload.length === 0 ? [prefix] : [prefix, payload]
}

function payloadOf(message: CloneMessage): Uint8Array {
  switch (message.kind) {
    case 'header':
      return Buffer.from(JSON.stringify(message.header))
    case 'failed':
      return Buffer.from(JSON.stringify(message.failure))
    case 'state':
    case 'packed-state':
      return message.bytes
    default:
      return new Uint8Array()
  }
}

/** Takes the bytes of one direction of a connection and gives whole messages. */
export class CloneDecoder {
  #chunks: Buffer[] = []
  #bytes = 0

  /** Throws CLONE_NONSENSE; nothing that follows can be understood then. */
  push(chunk: Buffer): CloneMessage[] {
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    const messages: CloneMessage[] = []
    for (let message = this.#next(); message !== null; message = this.#next()) messages.push(message)
    return messages
  }

  #next(): CloneMessage | null {
    if (this.#bytes < PREFIX_BYTES) return null
    const prefix = this.#peek(PREFIX_BYTES)
    const kind = KINDS[prefix.readUInt8(0)]
    const length = prefix.readUInt32BE(1)
    const isState = kind === 'state' || kind === 'packed-state'
    if (kind === undefined || length > (isState ? STATE_BYTES_MAX : TEXT_BYTES_MAX)) {
      throw new ReplicaError('CLONE_NONSENSE', `A message of kind ${kind} has ${length} bytes.`)
    }
    if (this.#bytes < PREFIX_BYTES + length) return null
    const whole = this.#peek(PREFIX_BYTES + length)
    this.#bytes -= whole.length
    this.#chunks = this.#bytes === 0 ? [] : [this.#chunks[0].subarray(whole.length)]
    return messageOf(kind, whole.subarray(PREFIX_BYTES))
  }

  /** The first `length` bytes; afterwards they, and all that follows, are in the first chunk. */
  #peek(length: number): Buffer {
    if (this.#chunks[0].length < length) this.#chunks = [Buffer.concat(this.#chunks)]
    return this.#chunks[0].subarray(0, length)
  }
}

function messageOf(kind: (typeof KINDS)[number], payload: Buffer): CloneMessage {
  switch (kind) {
    case 'header':
      return { kind, header: parse(cloneHeaderSchema, payload) }
    case 'failed':
      return { kind, failure: parse(cloneFailureSchema, payload) }
    case 'state':
    case 'packed-state':
      return { kind, bytes: payload }
    default:
      if (payload.length > 0) throw new ReplicaError('CLONE_NONSENSE', `A message ${kind} carries bytes.`)
      return { kind }
  }
}

function parse<T>(schema: z.ZodType<T>, payload: Buffer): T {
  try {
    return schema.parse(JSON.parse(payload.toString('utf8')))
  } catch (error) {
    throw new ReplicaError('CLONE_NONSENSE', 'A message of a clone connection does not have its fields.', {
      cause: error,
    })
  }
}
