/**
 * The link between a replica and the gateway: frames in the stream framing, and between them control messages
 * (JSON, marked by the top bit of the length word; `stream.ts`).
 *
 *     replica                                   gateway
 *     hello {vm, replica, generation, token} ->
 *                                            <- welcome {liveGeneration}     or refused, and the link ends
 *     live {generation}                      ->
 *                                            <- live {generation}            or refused
 *     frames                                <->  frames
 *     taken {frames}                         ->
 *                                            <- fenced {generation}          another replica is live
 *
 * A backup links up beforehand, so that going live costs one message. Frames flow, both ways, only on the link
 * that is live; what any other sends is dropped and counted. `taken` acknowledges frames that the backup also
 * holds: the gateway keeps those that are not and gives them to whoever goes live next.
 */
import { z } from 'zod'
import { NetError } from './errors.ts'

export const LINK_PROTOCOL = 1

/** Bounds a control message; the longest legal one has a few hundred bytes. */
export const CONTROL_BYTES_MAX = 1024

/** A link that has not said hello by then is no replica. */
export const HELLO_TIMEOUT_MS = 5_000

/** As host names (RFC 1123, 2.1), because the name becomes part of paths and of the guest's host name. */
export const vmNameSchema = z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'not a VM name')

export const generationSchema = z.int().nonnegative()

/** Shared between the gateway and the replicas of one VM; 32 random bytes in hexadecimal have 64 characters. */
export const tokenSchema = z.string().min(16).max(128)

const helloSchema = z.strictObject({
  type: z.literal('hello'),
  protocol: z.literal(LINK_PROTOCOL),
  vm: vmNameSchema,
  /** Names the replica in logs: host and process id. */
  replica: z.string().min(1).max(128),
  generation: generationSchema,
  token: tokenSchema,
})

const fromReplicaSchema = z.discriminatedUnion('type', [
  helloSchema,
  z.strictObject({ type: z.literal('live'), generation: generationSchema }),
  /** How many of the frames delivered on this link so far are safe. */
  z.strictObject({ type: z.literal('taken'), frames: z.int().nonnegative() }),
])

const fromGatewaySchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('welcome'), liveGeneration: generationSchema.nullable() }),
  z.strictObject({ type: z.literal('live'), generation: generationSchema }),
  z.strictObject({ type: z.literal('fenced'), generation: generationSchema }),
  z.strictObject({ type: z.literal('refused'), code: z.string(), message: z.string() }),
])

export type Hello = z.infer<typeof helloSchema>
export type FromReplica = z.infer<typeof fromReplicaSchema>
export type FromGateway = z.infer<typeof fromGatewaySchema>

export function encodeMessage(message: FromReplica | FromGateway): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(message))
}

/** Throws NET_CONTROL_MALFORMED. */
export function decodeFromReplica(bytes: Uint8Array): FromReplica {
  return decode(fromReplicaSchema, bytes)
}

/** Throws NET_CONTROL_MALFORMED. */
export function decodeFromGateway(bytes: Uint8Array): FromGateway {
  return decode(fromGatewaySchema, bytes)
}

function decode<T>(schema: z.ZodType<T>, bytes: Uint8Array): T {
  let json: unknown
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (error) {
    throw new NetError('NET_CONTROL_MALFORMED', 'a control message is not JSON', { cause: error })
  }
  const result = schema.safeParse(json)
  if (result.success) return result.data
  const issue = result.error.issues[0]!
  throw new NetError(
    'NET_CONTROL_MALFORMED',
    `a control message is malformed at ${issue.path.join('.') || 'its type'}: ${issue.message}`,
  )
}
