/**
 * The store as a directory that all hosts share, correct on any POSIX file system and on NFS.
 *
 * The only atomic step used is link(2): it creates a name or fails because the name exists, on the server, for
 * all clients. So each version of a key is a file of its own, written and flushed under a temporary name and
 * then linked to `KEY/=VERSION`; whoever links version n+1 first has made the change from n. Nothing is ever
 * overwritten, and a reader takes the highest version.
 *
 *     DIR/understudy-store        marks the directory as a store; without it nothing is written
 *     DIR/tmp/PID-RANDOM          versions being written
 *     DIR/data/vm/demo/=0000000003
 *
 * NFS has two traps. The reply to a link may be lost and its repetition answered EEXIST although the first was
 * done: the temporary file's link count tells. And listings may be stale: so what a listing says is only ever a
 * guess at the next version, and the link decides.
 */
import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { link, mkdir, open, readdir, rm, stat, unlink } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import {
  type CompareAndSetResult,
  type CreateResult,
  checkKey,
  checkValue,
  LIST_ENTRIES_MAX,
  STORE_TIMEOUT_MS,
  type Store,
  type StoreEntry,
  StoreError,
} from './store.ts'
import { decodeValueFile, encodeValueFile, VALUE_FILE_BYTES_MAX } from './value-file.ts'

const MARKER = 'understudy-store'
const VERSION_NAME = /^=([0-9]{10})$/

/**
 * Versions of a key kept behind the newest. A writer that was paused between its link and its check must still
 * find its own version, or know from the newer ones that it was overtaken.
 */
const OLD_VERSIONS_KEPT = 16

/** A temporary file this old belongs to a process that died; no live writer needs an hour. */
const TEMPORARY_AGE_MS_MAX = 3_600_000

export interface DirectoryStoreOptions {
  /** Makes the directory a store if it is none. Without it a directory that is not mounted is never mistaken for an empty store. */
  readonly create?: boolean
  /** Bounds each operation, from the call on; see STORE_TIMEOUT_MS. */
  readonly timeoutMs?: number
}

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
  readonly #root: string
  readonly #timeoutMs: number
  /** Settles when the operation before has; see #run. */
  #previous: Promise<unknown> = Promise.resolve()
  #closed = false

  /** Use `openDirectoryStore`, which also checks the directory. */
  constructor(root: string, timeoutMs: number) {
    this.#root = root
    this.#timeoutMs = timeoutMs
  }

  prepare(create: boolean): Promise<void> {
    return this.#run(async () => {
      const marker = join(this.#root, MARKER)
      if (create) {
        await mkdir(join(this.#root, 'tmp'), { recursive: true })
        await mkdir(join(this.#root, 'data'), { recursive: true })
        const handle = await open(marker, 'a')
        await handle.sync().finally(() => handle.close())
        await syncDirectory(this.#root)
      } else if (!(await exists(marker))) {
        throw new StoreError('STORE_NOT_FOUND', `${this.#root} is not a store`)
      }
      await this.#sweepTemporaries()
    })
  }

  createIfAbsent(key: string, value: Uint8Array): Promise<CreateResult> {
    return this.#run(async (signal) => {
      checkKey(key)
      checkValue(value)
      for (;;) {
        const latest = await this.#latest(key)
        if (latest.value !== null)
          return { created: false, existing: entry(key, latest.version, latest.value) }
        // A tombstone's successor, or version 1 of a key that never was.
        const version = latest.version + 1
        if (await this.#linkVersion(key, version, value, signal)) return { created: true, version }
      }
    })
  }

  get(key: string): Promise<StoreEntry | null> {
    return this.#run(async () => {
      checkKey(key)
      return this.#read(key)
    })
  }

  compareAndSet(key: string, expectedVersion: number, value: Uint8Array): Promise<CompareAndSetResult> {
    return this.#run((signal) => {
      checkKey(key)
      checkValue(value)
      return this.#succeed(key, expectedVersion, value, signal)
    })
  }

  compareAndDelete(key: string, expectedVersion: number): Promise<CompareAndSetResult> {
    return this.#run((signal) => {
      checkKey(key)
      return this.#succeed(key, expectedVersion, null, signal)
    })
  }

  list(prefix: string): Promise<readonly StoreEntry[]> {
    return this.#run(async () => {
      if (prefix !== '') checkKey(prefix)
      await this.#checkMounted()
      const entries: StoreEntry[] = []
      await this.#walk(join(this.#root, 'data', prefix), entries)
      return entries.sort((a, b) => (a.key < b.key ? -1 : 1))
    })
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#previous
  }

  async #succeed(
    key: string,
    expectedVersion: number,
    value: Uint8Array | null,
    signal: AbortSignal,
  ): Promise<CompareAndSetResult> {
    const latest = await this.#latest(key)
    const matches = latest.version === expectedVersion && latest.value !== null
    const version = expectedVersion + 1
    if (matches && (await this.#linkVersion(key, version, value, signal))) return { set: true, version }
    return { set: false, current: await this.#read(key) }
  }

  async #read(key: string): Promise<StoreEntry | null> {
    const { version, value } = await this.#latest(key)
    return value === null ? null : entry(key, version, value)
  }

  /** The newest version; version 0 and value null if there is none. */
  async #latest(key: string): Promise<{ version: number; value: Uint8Array | null }> {
    const directory = this.#keyDirectory(key)
    for (;;) {
      const version = Math.max(0, ...(await versionsIn(directory)))
      if (version === 0) {
        await this.#checkMounted()
        return { version, value: null }
      }
      const path = join(directory, versionName(version))
      const bytes = await readBounded(path)
      // Gone only if many newer versions came meanwhile: look again.
      if (bytes !== null) return { version, value: decodeValueFile(bytes, path) }
    }
  }

  /** Whether this call made `version`. The value is on disk, under its name, before it says so. */
  async #linkVersion(
    key: string,
    version: number,
    value: Uint8Array | null,
    signal: AbortSignal,
  ): Promise<boolean> {
    const directory = this.#keyDirectory(key)
    const temporary = join(this.#root, 'tmp', `${process.pid}-${randomBytes(8).toString('hex')}`)
    await writeSynced(temporary, encodeValueFile(value))
    try {
      await this.#makeKeyDirectory(directory)
      // The caller was told that the store is unreachable; a write now would surprise it more than none.
      signal.throwIfAborted()
      const linked = await linkOnce(temporary, join(directory, versionName(version)))
      await syncDirectory(directory)
      if (!linked) return false
      const versions = await versionsIn(directory)
      // Overtaken long ago: the name was free only because old versions are removed. Nobody reads it.
      if (versions.some((other) => other > version + OLD_VERSIONS_KEPT)) {
        await rm(join(directory, versionName(version)), { force: true })
        return false
      }
      for (const old of versions.filter((other) => other < version - OLD_VERSIONS_KEPT)) {
        await rm(join(directory, versionName(old)), { force: true })
      }
      return true
    } finally {
      await rm(temporary, { force: true })
    }
  }

  /** Never makes the root: where that is gone, the shared directory is not mounted. */
  async #makeKeyDirectory(directory: string): Promise<void> {
    const first = await mkdir(directory, { recursive: true })
    if (first === undefined) return
    for (let made = directory; made !== dirname(first); made = dirname(made))
      await syncDirectory(dirname(made))
  }

  async #walk(directory: string, entries: StoreEntry[]): Promise<void> {
    const names = await readdirOrEmpty(directory)
    if (names.some((name) => VERSION_NAME.test(name))) {
      const found = await this.#read(relative(join(this.#root, 'data'), directory))
      if (found !== null) entries.push(found)
      if (entries.length > LIST_ENTRIES_MAX) {
        throw new StoreError('STORE_LIST_TOO_LONG', `more than ${LIST_ENTRIES_MAX} entries`)
      }
    }
    for (const name of names) if (!name.startsWith('=')) await this.#walk(join(directory, name), entries)
  }

  /** An absent key is told from an absent store: nothing may be decided from an empty mount point. */
  async #checkMounted(): Promise<void> {
    if (await exists(join(this.#root, MARKER))) return
    throw new StoreError('STORE_UNREACHABLE', `${this.#root} is no longer a store`)
  }

  async #sweepTemporaries(): Promise<void> {
    const directory = join(this.#root, 'tmp')
    for (const name of await readdirOrEmpty(directory)) {
      const path = join(directory, name)
      const status = await stat(path).catch(() => null)
      if (status !== null && Date.now() - status.mtimeMs > TEMPORARY_AGE_MS_MAX)
        await rm(path, { force: true })
    }
  }

  #keyDirectory(key: string): string {
    return join(this.#root, 'data', key)
  }

  /**
   * Runs one operation at a time within the time limit. One at a time because a file system that hangs holds a
   * thread of Node's small pool for each call: so at most one is ever lost, and the process lives on.
   */
  #run<T>(operation: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (this.#closed) return Promise.reject(new StoreError('STORE_CLOSED', 'the store was closed'))
    const controller = new AbortController()
    const work = this.#previous.then(() => {
      controller.signal.throwIfAborted()
      return operation(controller.signal)
    })
    this.#previous = work.catch(() => {})
    return new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => {
        const error = new StoreError(
          'STORE_UNREACHABLE',
          `${this.#root}: no answer within ${this.#timeoutMs} ms`,
        )
        controller.abort(error)
        reject(error)
      }, this.#timeoutMs)
      work.then(resolve, (error: unknown) => reject(this.#typed(error))).finally(() => clearTimeout(timer))
    })
  }

  #typed(error: unknown): unknown {
    if (error instanceof StoreError || errorCode(error) === null) return error
    return new StoreError('STORE_UNREACHABLE', `${this.#root}: ${(error as Error).message}`, { cause: error })
  }
}

function entry(key: string, version: number, value: Uint8Array): StoreEntry {
  return { key, version, value }
}

function versionName(version: number): string {
  return `=${String(version).padStart(10, '0')}`
}

async function versionsIn(directory: string): Promise<number[]> {
  const versions: number[] = []
  for (const name of await readdirOrEmpty(directory)) {
    const match = VERSION_NAME.exec(name)
    if (match !== null) versions.push(Number(match[1]))
  }
  return versions
}

/** Whether `to` now names this file because of this call. */
async function linkOnce(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
    return true
  } catch (error) {
    // The answer to a link that was done may be lost and repeated as EEXIST: two links mean it was ours.
    if ((await stat(from)).nlink === 2) return true
    if (errorCode(error) === 'EEXIST') return false
    throw error
  }
}

async function writeSynced(path: string, bytes: Uint8Array): Promise<void> {
  const handle = await open(path, 'wx', 0o644)
  try {
    await handle.writeFile(bytes)
    await handle.sync()
  } catch (error) {
    await unlink(path).catch(() => {})
    throw error
  } finally {
    await handle.close()
  }
}

/** The file's bytes, or null if it is not there. Reads one byte more than is legal, so that too long is seen. */
async function readBounded(path: string): Promise<Uint8Array | null> {
  const handle = await open(path, 'r').catch((error: unknown) => {
    if (errorCode(error) === 'ENOENT') return null
    throw error
  })
  if (handle === null) return null
  try {
    const buffer = new Uint8Array(VALUE_FILE_BYTES_MAX + 1)
    let filled = 0
    for (;;) {
      const { bytesRead } = await handle.read(buffer, filled, buffer.length - filled)
      filled += bytesRead
      if (bytesRead === 0 || filled === buffer.length) return buffer.subarray(0, filled)
    }
  } finally {
    await handle.close()
  }
}

async function readdirOrEmpty(directory: string): Promise<string[]> {
  try {
    return await readdir(directory)
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return []
    throw error
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return false
    throw error
  }
}

/** Makes names in the directory outlive a power cut. */
async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await handle.sync()
  } catch (error) {
    // Some network file systems know no flush of a directory; there the server's link is already durable.
    if (errorCode(error) !== 'EINVAL') throw error
  } finally {
    await handle.close()
  }
}

function errorCode(error: unknown): string | null {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : null
}
