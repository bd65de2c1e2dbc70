/**
 * The files of a store in a shared directory. Each version of a key is a file of its own, written and flushed
 * under a temporary name and then linked to `KEY/=VERSION`; whoever links version n+1 first has made the change
 * from n. Nothing is ever overwritten, and a reader takes the highest version.
 *
 *     DIR/understudy-store        marks the directory as a store; without it nothing is written
 *     DIR/changes                 gets other bytes after each change, so that one short file tells of all of them
 *     DIR/tmp/PID-RANDOM          versions being written
 *     DIR/data/vm/demo/=0000000003
 *
 * NFS has two traps. The reply to a link may be lost and its repetition answered EEXIST although the first was
 * done: the temporary file's link count tells. And listings may be stale: so what a listing says is only ever a
 * guess at the next version, and the link decides.
 *
 * A lease is renewed by setting the time of modification of its newest version: one request, no new file, nothing
 * flushed. The time is only a number that grows with each renewal, in whole seconds, which every file system
 * keeps; nobody compares it with a clock. An NFS server that answers has it on disk.
 */
import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { mkdir, open, rm, stat, utimes } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { exists, linkOnce, readBounded, readdirOrEmpty, syncDirectory, writeSynced } from './durable-files.ts'
import { monotonicMs } from './held-lease.ts'
import { LeaseSightings } from './lease-sightings.ts'
import { StoreError } from './store.ts'
import { decodeValueFile, encodeValueFile, type LeaseMark, VALUE_FILE_BYTES_MAX } from './value-file.ts'

const MARKER = 'understudy-store'
const BELL = 'changes'
const BELL_BYTES = 16
const VERSION_NAME = /^=([0-9]{10})$/

/**
 * Versions of a key kept behind the newest. A writer that was paused between its link and its check must still
 * find its own version, or know from the newer ones that it was overtaken.
 */
const OLD_VERSIONS_KEPT = 16

/** A temporary file this old belongs to a process that died; no live writer needs an hour. */
const TEMPORARY_AGE_MS_MAX = 3_600_000

export interface LatestVersion {
  /** 0 if the key never was. */
  readonly version: number
  /** Null if the key never was, was deleted, or its lease is over. */
  readonly value: Uint8Array | null
  readonly lease: LeaseMark | null
}

/** What is linked as a version: a value, a lease with the stamp of its first renewal, or null for a tombstone. */
export interface NewVersion {
  readonly value: Uint8Array | null
  readonly lease?: LeaseMark
  readonly stampS?: number
}

export class VersionTree {
  readonly root: string
  readonly #sightings = new LeaseSightings()

  constructor(root: string) {
    this.root = root
  }

  get bellPath(): string {
    return join(this.root, BELL)
  }

  async prepare(create: boolean): Promise<void> {
    const marker = join(this.root, MARKER)
    if (create) {
      await mkdir(join(this.root, 'tmp'), { recursive: true })
      await mkdir(join(this.root, 'data'), { recursive: true })
      const handle = await open(marker, 'a')
      await handle.sync().finally(() => handle.close())
      await this.#ring()
      await syncDirectory(this.root)
    } else if (!(await exists(marker))) {
      throw new StoreError('STORE_NOT_FOUND', `${this.root} is not a store`)
    }
    await this.#sweepTemporaries()
  }

  /** The newest version; version 0 and value null if there is none. */
  async latest(key: string): Promise<LatestVersion> {
    const directory = this.#keyDirectory(key)
    for (;;) {
      const version = Math.max(0, ...(await versionsIn(directory)))
      if (version === 0) {
        await this.checkMounted()
        this.#sightings.forget(key)
        return { version, value: null, lease: null }
      }
      const path = join(directory, versionName(version))
      const readBegunMs = monotonicMs()
      const read = await readBounded(path, VALUE_FILE_BYTES_MAX)
      const readEndedMs = monotonicMs()
      // Gone only if many newer versions came meanwhile: look again.
      if (read === null) continue
      const { value, lease } = decodeValueFile(read.bytes, path)
      if (lease === null) {
        this.#sightings.forget(key)
        return { version, value, lease }
      }
      const sighting = { version, ttlMs: lease.ttlMs, stamp: read.mtimeNs, readBegunMs, readEndedMs }
      return { version, value: this.#sightings.mayBeHeld(key, sighting) ? value : null, lease }
    }
  }

  /** Whether this call made `version`. The value is on disk, under its name, before it says so. */
  async link(key: string, version: number, made: NewVersion, signal: AbortSignal): Promise<boolean> {
    const directory = this.#keyDirectory(key)
    const temporary = join(this.root, 'tmp', `${process.pid}-${randomBytes(8).toString('hex')}`)
    await writeSynced(temporary, encodeValueFile(made.value, made.lease ?? null), made.stampS ?? null)
    try {
      await this.#makeKeyDirectory(directory)
      // The caller was told that the store is unreachable; a write now would surprise it more than none.
      signal.throwIfAborted()
      const linked = await linkOnce(temporary, join(directory, versionName(version)))
      await syncDirectory(directory)
      if (!linked) return false
      await this.#ring()
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

  /** The highest version by the listing, 0 if there is none. */
  async newestVersion(key: string): Promise<number> {
    const version = Math.max(0, ...(await versionsIn(this.#keyDirectory(key))))
    if (version === 0) await this.checkMounted()
    return version
  }

  /** Renews the lease that `version` is. */
  async stamp(key: string, version: number, stampS: number): Promise<void> {
    await utimes(join(this.#keyDirectory(key), versionName(version)), stampS, stampS)
  }

  /** Calls `visit` for each key at and below `prefix` that ever had a version. */
  async walk(prefix: string, visit: (key: string, newestVersion: number) => Promise<void>): Promise<void> {
    await this.checkMounted()
    const data = join(this.root, 'data')
    const descend = async (directory: string): Promise<void> => {
      const names = await readdirOrEmpty(directory)
      const newest = Math.max(0, ...versionsOf(names))
      if (newest > 0) await visit(relative(data, directory), newest)
      for (const name of names) if (!name.startsWith('=')) await descend(join(directory, name))
    }
    await descend(join(data, prefix))
  }

  /** An absent key is told from an absent store: nothing may be decided from an empty mount point. */
  async checkMounted(): Promise<void> {
    if (await exists(join(this.root, MARKER))) return
    throw new StoreError('STORE_UNREACHABLE', `${this.root} is no longer a store`)
  }

  /** Differs after each change that was made by a writer that lived to tell. */
  async bell(): Promise<string> {
    const read = await readBounded(this.bellPath, BELL_BYTES)
    if (read === null) await this.checkMounted()
    return read === null ? '' : Buffer.from(read.bytes).toString('hex')
  }

  /** The change is made; that it is told of late harms nothing, so no failure here may look like one of the change. */
  async #ring(): Promise<void> {
    try {
      const handle = await open(this.bellPath, constants.O_WRONLY | constants.O_CREAT, 0o666)
      await handle.write(randomBytes(BELL_BYTES), 0, BELL_BYTES, 0).finally(() => handle.close())
    } catch {
      // Watches look at everything now and then.
    }
  }

  /** Never makes the root: where that is gone, the shared directory is not mounted. */
  async #makeKeyDirectory(directory: string): Promise<void> {
    const first = await mkdir(directory, { recursive: true })
    if (first === undefined) return
    for (let made = directory; made !== dirname(first); made = dirname(made))
      await syncDirectory(dirname(made))
  }

  async #sweepTemporaries(): Promise<void> {
    const directory = join(this.root, 'tmp')
    for (const name of await readdirOrEmpty(directory)) {
      const path = join(directory, name)
      const status = await stat(path).catch(() => null)
      if (status !== null && Date.now() - status.mtimeMs > TEMPORARY_AGE_MS_MAX)
        await rm(path, { force: true })
    }
  }

  #keyDirectory(key: string): string {
    return join(this.root, 'data', key)
  }
}

function versionName(version: number): string {
  return `=${String(version).padStart(10, '0')}`
}

async function versionsIn(directory: string): Promise<number[]> {
  return versionsOf(await readdirOrEmpty(directory))
}

function versionsOf(names: readonly string[]): number[] {
  return names.flatMap((name) => {
    const match = VERSION_NAME.exec(name)
    return match === null ? [] : [Number(match[1])]
  })
}
