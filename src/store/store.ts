/**
 * The shared store: the one place all hosts of a cluster agree on. It holds membership, generations and
 * placement, and above all it arbitrates: a replica goes live only after it won a test-and-set here (the paper,
 * section 2.3: "an atomic test-and-set operation on the shared storage").
 *
 * The interface is small on purpose, so that a directory on NFS and an etcd cluster can both be it. Every
 * implementation passes the cases of `store-cases.ts`.
 */
import { UnderstudyError } from '../errors.ts'

/** Longest value in bytes: a placement record is some hundred bytes; 64 KiB leaves room and bounds a read. */
export const VALUE_BYTES_MAX = 64 * 1024

/** Longest key in characters and most parts in it: with the store's own directory it must fit PATH_MAX. */
export const KEY_CHARS_MAX = 256
export const KEY_PARTS_MAX = 8
const KEY_PART = /^[a-z0-9][a-z0-9._-]{0,63}$/

/** Most entries one `list` returns: a thousand VMs with some keys each; more is a sign of a leak. */
export const LIST_ENTRIES_MAX = 10_000

/** How long an operation may take before its caller is told that the store is unreachable. */
export const STORE_TIMEOUT_MS = 2_000

export interface StoreEntry {
  readonly key: string
  readonly value: Uint8Array
  /** Grows with every change of the key, from 1; also across deletion, so that a version never comes back. */
  readonly version: number
}

export type CreateResult =
  | { readonly created: true; readonly version: number }
  | { readonly created: false; readonly existing: StoreEntry }

export type CompareAndSetResult =
  | { readonly set: true; readonly version: number }
  | { readonly set: false; readonly current: StoreEntry | null }

/**
 * Keys are parts joined by `/`, each of lower-case letters, digits, `.`, `_` and `-`, beginning with a letter or
 * digit. A key may hold a value and be the prefix of others.
 *
 * Every method rejects with a `StoreError`. After STORE_UNREACHABLE from a method that writes, the outcome is
 * unknown: the write may have happened, or may even happen shortly after. So a value should name its writer
 * uniquely; the writer asks again, and finds either its own value (it won) or another's (it lost).
 */
export interface Store {
  /** The test-and-set: of all that ever try to create one key, exactly one gets `created: true`. */
  createIfAbsent(key: string, value: Uint8Array): Promise<CreateResult>
  /** The entry, or null if the key was never created or was deleted. May lag behind writes of other hosts. */
  get(key: string): Promise<StoreEntry | null>
  /** Sets the value if the key's version is still `expectedVersion`. */
  compareAndSet(key: string, expectedVersion: number, value: Uint8Array): Promise<CompareAndSetResult>
  /** Deletes the key if its version is still `expectedVersion`. */
  compareAndDelete(key: string, expectedVersion: number): Promise<CompareAndSetResult>
  /** The entry of `prefix` itself and those of all keys below it, ordered by key. `''` lists everything. */
  list(prefix: string): Promise<readonly StoreEntry[]>
  close(): Promise<void>
}

const STORE_ERROR_NEXT = {
  STORE_UNREACHABLE:
    'Check that the shared directory is mounted, writable and not full; the operation may be tried again.',
  STORE_NOT_FOUND:
    'Check the path and that the shared directory is mounted; a new store is made by `understudy up`.',
  STORE_DAMAGED:
    'Restore the file named in the message from a backup of the shared directory, or remove it by hand.',
  STORE_KEY_INVALID: 'Use parts of lower-case letters, digits, ".", "_" and "-", joined by "/".',
  STORE_VALUE_TOO_LONG: `Keep values within ${VALUE_BYTES_MAX} bytes.`,
  STORE_LIST_TOO_LONG: 'List a longer prefix, or delete keys that are no longer needed.',
  STORE_CLOSED: 'Open the store again.',
} as const

export type StoreErrorCode = keyof typeof STORE_ERROR_NEXT

export class StoreError extends UnderstudyError {
  declare readonly code: StoreErrorCode

  constructor(code: StoreErrorCode, message: string, options?: ErrorOptions) {
    super(code, message, STORE_ERROR_NEXT[code], options)
  }
}

/** Throws STORE_KEY_INVALID; an accepted key cannot leave the store's directory, whatever its parts. */
export function checkKey(key: string): void {
  const parts = key.split('/')
  const valid =
    key.length <= KEY_CHARS_MAX && parts.length <= KEY_PARTS_MAX && parts.every((part) => KEY_PART.test(part))
  if (!valid)
    throw new StoreError('STORE_KEY_INVALID', `not a key: ${JSON.stringify(key.slice(0, KEY_CHARS_MAX))}`)
}

export function checkValue(value: Uint8Array): void {
  if (value.length <= VALUE_BYTES_MAX) return
  throw new StoreError('STORE_VALUE_TOO_LONG', `the value has ${value.length} bytes`)
}
