/**
 * The store as a directory that all hosts share, correct on any POSIX file system and on NFS.
 *
 * The only atomic step used is link(2): it creates a name or fails because the name exists, on the server, for
 * all clients. `version-tree.ts` has the files, `lease-sightings.ts` says when a lease is over.
 */
import { randomBytes } from 'node:crypto'
import { DirectoryWatch } from './directory-watch.ts'
import { HeldLease, type LeaseKeeper, monotonicMs } from './held-lease.ts'
import { OpenHandles } from './open-handles.ts'
import { SerialOperations } from './serial-operations.ts'
import {
  type CompareAndSetResult,
  type CreateResult,
  checkKey,
  checkTtl,
  checkValue,
  type LeaseResult,
  LIST_ENTRIES_MAX,
  STORE_TIMEOUT_MS,
  type Store,
  type StoreEntry,
  StoreError,
  type Watch,
} from './store.ts'
import type { LeaseMark } from './value-file.ts'
import { type NewVersion, VersionTree } from './version-tree.ts'

export interface DirectoryStoreOptions {
  /** Makes the directory a store if it is none. Without it a directory that is not mounted is never mistaken for an empty store. */
  readonly create?: boolean
  /** Bounds each operation, from the call on; see STORE_TIMEOUT_MS. */
  readonly timeoutMs?: number
}

/**
 * How often a watch reads the one file that tells of changes: two or three requests to a file server. The kernel
 * tells of changes on this host at once; of those of other hosts it does not know.
 */
const BELL_INTERVAL_MS = 500

/** Rejects with STORE_NOT_FOUND if `path` is no store, STORE_UNREACHABLE if it cannot be read in time. */
export async function openDirectoryStore(
  path: string,
  options: DirectoryStoreOptions = {},
): Promise<DirectoryStore> {
  const store = new DirectoryStore(path, options.timeoutMs ?? STORE_TIMEOUT_MS)
  await store.prepare(options.create ?? false)
  return store
}

export class DirectoryStore implements Store {
  readonly #tree: VersionTree
  readonly #operations: SerialOperations
  /** Renewals do not wait behind a long listing: that would lose the lease. */
  readonly #renewals: SerialOperations
  readonly #handles = new OpenHandles()

  /** Use `openDirectoryStore`, which also checks the directory. */
  constructor(root: string, timeoutMs: number) {
    this.#tree = new VersionTree(root)
    this.#operations = new SerialOperations(root, timeoutMs)
    this.#renewals = new SerialOperations(root, timeoutMs)
  }

  prepare(create: boolean): Promise<void> {
    return this.#operations.run(() => this.#tree.prepare(create))
  }

  createIfAbsent(key: string, value: Uint8Array): Promise<CreateResult> {
    return this.#operations.run(async (signal) => {
      checkKey(key)
      checkValue(value)
      return this.#create(key, { value }, signal)
    })
  }

  get(key: string): Promise<StoreEntry | null> {
    return this.#operations.run(async () => {
      checkKey(key)
      return this.#read(key)
    })
  }

  compareAndSet(key: string, expectedVersion: number, value: Uint8Array): Promise<CompareAndSetResult> {
    return this.#operations.run(async (signal) => {
      checkKey(key)
      checkValue(value)
      return this.#succeed(key, expectedVersion, value, signal)
    })
  }

  compareAndDelete(key: string, expectedVersion: number): Promise<CompareAndSetResult> {
    return this.#operations.run(async (signal) => {
      checkKey(key)
      return this.#succeed(key, expectedVersion, null, signal)
    })
  }

  list(prefix: string): Promise<readonly StoreEntry[]> {
    return this.#operations.run(async () => {
      if (prefix !== '') checkKey(prefix)
      const entries: StoreEntry[] = []
      await this.#tree.walk(prefix, async (key) => {
        const found = await this.#read(key)
        if (found !== null) entries.push(found)
        if (entries.length > LIST_ENTRIES_MAX)
          throw new StoreError('STORE_LIST_TOO_LONG', `more than ${LIST_ENTRIES_MAX} entries`)
      })
      return entries.sort((a, b) => (a.key < b.key ? -1 : 1))
    })
  }

  lease(key: string, value: Uint8Array, ttlMs: number): Promise<LeaseResult> {
    return this.#operations.run(async (signal) => {
      checkKey(key)
      checkValue(value)
      checkTtl(ttlMs)
      const mark: LeaseMark = { ttlMs, holder: randomBytes(8).toString('hex') }
      const stampS = nextStampS(0)
      const begunMs = monotonicMs()
      const result = await this.#create(key, { value, lease: mark, stampS }, signal)
      if (!result.created) return { held: false, existing: result.existing }
      const keeper = new DirectoryLease(this.#tree, this.#renewals, key, mark, result.version, stampS)
      const lease = new HeldLease(key, ttlMs, begunMs, keeper)
      this.#handles.addLease(lease)
      // Whoever asked was told that the store is unreachable: nobody would ever release it.
      if (signal.aborted) lease.end('closed')
      return { held: true, lease }
    })
  }

  watch(prefix: string, onChange: () => void): Watch {
    if (prefix !== '') checkKey(prefix)
    const part = (hint: () => void) => new DirectoryWatch(this.#tree, this.#operations, prefix, hint)
    return this.#handles.addWatch(part, BELL_INTERVAL_MS, onChange)
  }

  async close(): Promise<void> {
    this.#handles.close()
    await Promise.all([this.#operations.close(), this.#renewals.close()])
  }

  async #create(key: string, made: NewVersion & { value: Uint8Array }, signal: AbortSignal) {
    for (;;) {
      const latest = await this.#tree.latest(key)
      if (latest.value !== null) {
        const existing: StoreEntry = { key, version: latest.version, value: latest.value }
        return { created: false, existing } as const
      }
      // The successor of a tombstone or of a lease that is over, or version 1 of a key that never was.
      const version = latest.version + 1
      if (await this.#tree.link(key, version, made, signal)) return { created: true, version } as const
    }
  }

  async #succeed(
    key: string,
    expectedVersion: number,
    value: Uint8Array | null,
    signal: AbortSignal,
  ): Promise<CompareAndSetResult> {
    const latest = await this.#tree.latest(key)
    const matches = latest.version === expectedVersion && latest.value !== null
    const version = expectedVersion + 1
    if (matches && (await this.#tree.link(key, version, { value }, signal))) return { set: true, version }
    return { set: false, current: await this.#read(key) }
  }

  async #read(key: string): Promise<StoreEntry | null> {
    const { version, value } = await this.#tree.latest(key)
    return value === null ? null : { key, version, value }
  }
}

/** What the holder of a lease does in the directory. */
class DirectoryLease implements LeaseKeeper {
  readonly #tree: VersionTree
  readonly #operations: SerialOperations
  readonly #key: string
  readonly #mark: LeaseMark
  #version: number
  #stampS: number

  constructor(
    tree: VersionTree,
    operations: SerialOperations,
    key: string,
    mark: LeaseMark,
    version: number,
    stampS: number,
  ) {
    this.#tree = tree
    this.#operations = operations
    this.#key = key
    this.#mark = mark
    this.#version = version
    this.#stampS = stampS
  }

  renew(): Promise<boolean> {
    return this.#operations.run(async (signal) => {
      if (!(await this.#findOwn())) return false
      signal.throwIfAborted()
      this.#stampS = nextStampS(this.#stampS)
      await this.#tree.stamp(this.#key, this.#version, this.#stampS)
      return true
    })
  }

  update(value: Uint8Array): Promise<boolean> {
    return this.#operations.run(async (signal) => {
      checkValue(value)
      if (!(await this.#findOwn())) return false
      this.#stampS = nextStampS(this.#stampS)
      const made = { value, lease: this.#mark, stampS: this.#stampS }
      if (!(await this.#tree.link(this.#key, this.#version + 1, made, signal))) return false
      this.#version++
      return true
    })
  }

  release(): Promise<void> {
    return this.#operations.run(async (signal) => {
      if (await this.#findOwn()) await this.#tree.link(this.#key, this.#version + 1, { value: null }, signal)
    })
  }

  /** Whether the newest version is of this lease. It may be newer than known, if the answer to an update was late. */
  async #findOwn(): Promise<boolean> {
    const newest = await this.#tree.newestVersion(this.#key)
    // A listing may be stale, but a version that was seen does not go away.
    if (newest <= this.#version) return true
    const latest = await this.#tree.latest(this.#key)
    if (latest.lease?.holder !== this.#mark.holder) return false
    this.#version = latest.version
    return true
  }
}

/** Grows with each renewal. That it is near the time of day is for people who look at the files. */
function nextStampS(previousS: number): number {
  return Math.max(previousS + 1, Math.floor(Date.now() / 1000))
}
