/**
 * The shared store: the one place all hosts of a cluster agree on. It holds membership, generations and
 * placement, and above all it arbitrates: a replica goes live only after it won a test-and-set here (the paper,
 * section 2.3: "an atomic test-and-set operation on the shared storage").
 *
 * A lease says who is there. It never says who may go live: it rests on clocks that run at about the same rate,
 * which a suspended host's clock does not, and only a test-and-set needs none.
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

/** Shortest lease in milliseconds: etcd counts whole seconds, and each lease is renewed three times in its time. */
export const LEASE_TTL_MS_MIN = 1_000
/** Longest lease in milliseconds: whoever waits an hour for a dead holder has made a mistake. */
export const LEASE_TTL_MS_MAX = 3_600_000

export interface StoreEntry {
  readonly key: string
  readonly value: Uint8Array
  /** At least 1. Grows with every change of the key, also across deletion, so that a version never comes back. */
  readonly version: number
}

export type CreateResult =
  | { readonly created: true; readonly version: number }
  | { readonly created: false; readonly existing: StoreEntry }

export type CompareAndSetResult =
  | { readonly set: true; readonly version: number }
  | { readonly set: false; readonly current: StoreEntry | null }

/**
 * Why a lease ended. `expired`: it could not be renewed in time. `replaced`: somebody changed or deleted its key,
 * or took it. `released`: its holder gave it back. `closed`: its holder closed the store.
 */
export type LeaseEnd = 'expired' | 'replaced' | 'released' | 'closed'

/** A key that is there for as long as its holder is. It is renewed by itself until it ends. */
export interface Lease {
  readonly key: string
  /**
   * Whether the lease still stands, by the holder's own monotonic clock. Ask before an act that relies on it:
   * after a pause of the whole process this is false at once, before any timer ran.
   */
  readonly held: boolean
  /**
   * Resolves with the reason when the lease ended; never rejects. On `expired` that is before anybody else may
   * take the key, as long as this process runs.
   */
  readonly lost: Promise<LeaseEnd>
  /** Changes the value. Rejects with STORE_LEASE_LOST if the lease ended before the change was known to be made. */
  update(value: Uint8Array): Promise<void>
  /** Ends the lease and deletes its key. If that rejects, the key runs out by itself. */
  release(): Promise<void>
}

export type LeaseResult =
  | { readonly held: true; readonly lease: Lease }
  | { readonly held: false; readonly existing: StoreEntry }

export interface Watch {
  /** No call of `onChange` begins after this. */
  close(): void
}

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
  /**
   * Creates the key as `createIfAbsent` does, and keeps it there until the lease is released or its holder is
   * gone. Then it is absent for everybody, `ttlMs` after its last renewal at the earliest. It may be later: etcd
   * rounds up to whole seconds, and a client of a directory must itself have seen the lease stand still for that
   * long. A key that somebody changes by its version is a plain key again.
   */
  lease(key: string, value: Uint8Array, ttlMs: number): Promise<LeaseResult>
  /**
   * Calls `onChange` soon after the watch began, and soon after anything at or below `prefix` may have changed, the
   * expiry of a lease included. Renewals of leases are no changes. One call may stand for many changes; the caller
   * lists again. While the store is unreachable nothing is called; when it is back, once. `onChange` must not throw.
   */
  watch(prefix: string, onChange: () => void): Watch
  /** Ends its watches and leases; the keys of the leases stay until they run out. */
  close(): Promise<void>
}

const STORE_ERROR_NEXT = {
  STORE_UNREACHABLE:
    'Check that the shared directory is mounted, writable and not full, or that etcd runs and has a quorum; the operation may be tried again.',
  STORE_NOT_FOUND:
    'Check the path and that the shared directory is mounted; `understudy up` and `understudy cluster init` make new ones.',
  STORE_DAMAGED: 'Restore what the message names from a backup of the store, or remove it by hand.',
  STORE_KEY_INVALID: 'Use parts of lower-case letters, digits, ".", "_" and "-", joined by "/".',
  STORE_VALUE_TOO_LONG: `Keep values within ${VALUE_BYTES_MAX} bytes.`,
  STORE_LIST_TOO_LONG: 'List a longer prefix, or delete keys that are no longer needed.',
  STORE_CLOSED: 'Open the store again.',
  STORE_LEASE_LOST: 'Take the lease again, and do not act on the old one.',
  STORE_TTL_INVALID: `Give a lease a whole number of milliseconds from ${LEASE_TTL_MS_MIN} to ${LEASE_TTL_MS_MAX}.`,
  STORE_URL_INVALID:
    'Give the path of a directory, file:///PATH, or etcd://HOST:PORT[,HOST:PORT...][/PREFIX] (etcds:// for TLS).',
} as const

export type StoreErrorCode = keyof typeof STORE_ERROR_NEXT

export class StoreError extends UnderstudyError {
  declare readonly code: StoreErrorCode

  constructor(code: StoreErrorCode, message: string, options?: ErrorOptions) {
    super(code, message, STORE_ERROR_NEXT[code], options)
  }
}

export function isKey(key: string): boolean {
  const parts = key.split('/')
  return (
    key.length <= KEY_CHARS_MAX && parts.length <= KEY_PARTS_MAX && parts.every((part) => KEY_PART.test(part))
  )
}

/** Throws STORE_KEY_INVALID; an accepted key cannot leave the store's directory, whatever its parts. */
export function checkKey(key: string): void {
  if (!isKey(key))
    throw new StoreError('STORE_KEY_INVALID', `not a key: ${JSON.stringify(key.slice(0, KEY_CHARS_MAX))}`)
}

export function checkValue(value: Uint8Array): void {
  if (value.length <= VALUE_BYTES_MAX) return
  throw new StoreError('STORE_VALUE_TOO_LONG', `the value has ${value.length} bytes`)
}

/** Throws STORE_TTL_INVALID. */
export function checkTtl(ttlMs: number): void {
  if (Number.isSafeInteger(ttlMs) && ttlMs >= LEASE_TTL_MS_MIN && ttlMs <= LEASE_TTL_MS_MAX) return
  throw new StoreError('STORE_TTL_INVALID', `a lease of ${ttlMs} ms`)
}
