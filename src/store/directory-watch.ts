/**
 * What a watch sees of a shared directory. Its intervals are short because it mostly reads one small file that
 * every writer changes. The keys are gone through only when that differs, and now and then in case a writer died
 * before it could change it. Leases are looked at a few times in their time to live, for when one stands still
 * nobody tells. One that is over is buried, so that clients that come later need not wait until they know it too.
 */
import { type FSWatcher, watch } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { monotonicMs } from './held-lease.ts'
import type { WatchedPart } from './polled-watch.ts'
import type { SerialOperations } from './serial-operations.ts'
import type { VersionTree } from './version-tree.ts'

/** How often all keys are gone through without a reason. */
const WALK_INTERVAL_MS = 10_000

/** Times that a lease is looked at in its time to live: its end is noticed that much of it late at most. */
const LOOKS_PER_LEASE = 4

/**
 * The file systems whose changes the kernel tells of, by the numbers of statfs(2): ext, XFS, Btrfs, tmpfs, overlay, F2FS,
 * ZFS. On others it would tell only of this host's own changes, and asking it may hang with the file server.
 */
const LOCAL_FILE_SYSTEMS = new Set([
  0xef53, 0x58465342, 0x9123683e, 0x01021994, 0x794c7630, 0xf2f52010, 0x2fc12fc1,
])

interface SeenKey {
  readonly version: number
  readonly present: boolean
  /** Null for a plain key. */
  readonly ttlMs: number | null
}

export class DirectoryWatch implements WatchedPart {
  readonly #tree: VersionTree
  readonly #operations: SerialOperations
  readonly #prefix: string
  readonly #hint: () => void
  #seen = new Map<string, SeenKey>()
  /** Null until the keys were gone through, and again after a failure. */
  #bell: string | null = null
  #walkedMs = 0
  #leasesSeenMs = 0
  #notices: FSWatcher | null = null
  #closed = false

  constructor(tree: VersionTree, operations: SerialOperations, prefix: string, hint: () => void) {
    this.#tree = tree
    this.#operations = operations
    this.#prefix = prefix
    this.#hint = hint
  }

  look(): Promise<string> {
    const looked = this.#operations.run(async (signal) => {
      const bell = await this.#tree.bell()
      const nowMs = monotonicMs()
      if (bell !== this.#bell || nowMs - this.#walkedMs >= WALK_INTERVAL_MS) {
        await this.#walk(signal)
        await this.#askForNotices()
        this.#walkedMs = nowMs
        this.#bell = bell
      } else if (nowMs - this.#leasesSeenMs >= this.#leaseIntervalMs()) {
        for (const [key, { ttlMs }] of this.#seen)
          if (ttlMs !== null) this.#seen.set(key, await this.#see(key, signal))
        this.#leasesSeenMs = nowMs
      }
      return this.#describe()
    })
    return looked.catch((error: unknown) => {
      this.#bell = null
      this.#forgetNotices()
      throw error
    })
  }

  close(): void {
    this.#closed = true
    this.#forgetNotices()
  }

  async #walk(signal: AbortSignal): Promise<void> {
    const seen = new Map<string, SeenKey>()
    await this.#tree.walk(this.#prefix, async (key, newestVersion) => {
      signal.throwIfAborted()
      const known = this.#seen.get(key)
      const same = known !== undefined && known.ttlMs === null && known.version === newestVersion
      seen.set(key, same ? known : await this.#see(key, signal))
    })
    this.#seen = seen
    this.#leasesSeenMs = monotonicMs()
  }

  async #see(key: string, signal: AbortSignal): Promise<SeenKey> {
    const { version, value, lease } = await this.#tree.latest(key)
    if (lease === null) return { version, present: value !== null, ttlMs: null }
    if (value !== null) return { version, present: true, ttlMs: lease.ttlMs }
    // Whoever may only read cannot bury, and still must learn that it is over.
    await this.#tree.link(key, version + 1, { value: null }, signal).catch(() => {})
    return { version, present: false, ttlMs: null }
  }

  #leaseIntervalMs(): number {
    const ttls = [...this.#seen.values()].flatMap(({ ttlMs }) => ttlMs ?? [])
    return Math.min(...ttls) / LOOKS_PER_LEASE
  }

  #describe(): string {
    const present = [...this.#seen].filter(([, { present }]) => present)
    return present.map(([key, { version }]) => `${key}=${version}`).join('\n')
  }

  /** Not before a look succeeded: watch() waits for the file system, and with it would the whole process. */
  async #askForNotices(): Promise<void> {
    if (this.#notices !== null || !(await isLocal(this.#tree.root)) || this.#closed) return
    try {
      this.#notices = watch(this.#tree.bellPath, () => this.#hint())
      this.#notices.on('error', () => this.#forgetNotices())
    } catch {
      // No file before the first change, or no more watches to be had: the intervals do.
    }
  }

  #forgetNotices(): void {
    this.#notices?.close()
    this.#notices = null
  }
}

/** Whether the kernel tells of all changes of the file system that `path` lies on. */
export async function isLocal(path: string): Promise<boolean> {
  return LOCAL_FILE_SYSTEMS.has((await statfs(path)).type)
}
