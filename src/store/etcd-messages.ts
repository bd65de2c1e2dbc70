/**
 * The messages of etcd's JSON gateway that the store uses (etcd v3, `rpc.proto`): bytes are Base64, 64-bit numbers
 * are decimal strings, and fields that are zero or empty are left out.
 */
import { z } from 'zod'

const INT64 = z.string().regex(/^-?[0-9]{1,19}$/)

/** A revision counts the changes of a whole cluster: no cluster lives to make 2^53 of them. */
const REVISION = INT64.transform(Number).pipe(z.int().nonnegative())

const HEADER = z.object({ revision: REVISION })

const KEY_VALUE = z.object({
  key: z.base64().transform(decode),
  value: z.base64().default('').transform(decode),
  mod_revision: REVISION,
  lease: INT64.default('0'),
})
export type EtcdKeyValue = z.infer<typeof KEY_VALUE>

export const RANGE_ANSWER = z.object({
  header: HEADER,
  kvs: z.array(KEY_VALUE).default([]),
  more: z.boolean().default(false),
  count: INT64.default('0'),
})

export const TXN_ANSWER = z.object({
  header: HEADER,
  succeeded: z.boolean().default(false),
  responses: z.array(z.object({ response_range: RANGE_ANSWER.optional() })).default([]),
})

export const GRANT_ANSWER = z.object({ ID: INT64, TTL: INT64 })

/** TTL 0 is left out: there is no such lease any more. */
export const KEEPALIVE_ANSWER = z.object({ result: z.object({ TTL: INT64.default('0') }) })

export const REVOKE_ANSWER = z.object({})

export interface EtcdRange {
  readonly key: string
  readonly range_end?: string
}

export function encode(bytes: Uint8Array | string): string {
  return Buffer.from(bytes as Uint8Array).toString('base64')
}

/** All keys below `path`: `/` is followed by `0` in the order of bytes. */
export function below(path: string): EtcdRange {
  return { key: encode(`${path}/`), range_end: encode(`${path}0`) }
}

/** `path` itself and all below it, and a few neighbours that begin with it. */
export function around(path: string): EtcdRange {
  return { key: encode(path), range_end: encode(`${path}0`) }
}

/** The keys of `range` from the one after `last` on. */
export function after(range: EtcdRange, last: Uint8Array): EtcdRange {
  return { ...range, key: encode(Buffer.concat([last, Buffer.of(0)])) }
}

export function put(key: string, value: Uint8Array, lease?: string) {
  return {
    request_put: { key: encode(key), value: encode(value), ...(lease === undefined ? {} : { lease }) },
  }
}

export function remove(key: string) {
  return { request_delete_range: { key: encode(key) } }
}

export function read(range: EtcdRange, limit?: number) {
  return { request_range: { ...range, ...(limit === undefined ? {} : { limit: String(limit) }) } }
}

/** The key was never created or is deleted. */
export function isAbsent(key: string) {
  return { key: encode(key), target: 'CREATE', result: 'EQUAL', create_revision: '0' }
}

export function isAtRevision(key: string, revision: number) {
  return { key: encode(key), target: 'MOD', result: 'EQUAL', mod_revision: String(revision) }
}

export function isLeasedBy(key: string, lease: string) {
  return { key: encode(key), target: 'LEASE', result: 'EQUAL', lease }
}

function decode(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'base64'))
}
