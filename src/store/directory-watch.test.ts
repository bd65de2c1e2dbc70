import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type DirectoryStore, openDirectoryStore } from './directory.ts'
import { DirectoryWatch, isLocal } from './directory-watch.ts'
import { SerialOperations } from './serial-operations.ts'
import { LEASE_TTL_MS_MIN } from './store.ts'
import { bytes } from './store-text.ts'
import { VersionTree } from './version-tree.ts'

/** Looks are made by hand, and time passes only where a test says so. */
describe('the watch of a directory', () => {
  let root: string
  let writer: DirectoryStore
  let part: DirectoryWatch
  const hint = vi.fn<() => void>()
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'understudy-watch-'))
    writer = await openDirectoryStore(root, { create: true })
    vi.useFakeTimers({ toFake: ['performance'] })
    hint.mockClear()
    part = new DirectoryWatch(new VersionTree(root), new SerialOperations(root, 10_000), 'host', hint)
  })
  afterEach(async () => {
    part.close()
    vi.useRealTimers()
    await writer.close()
    await rm(root, { recursive: true })
  })

  it('sees changes by what their writer left in the bell, without going through all at intervals', async () => {
    const before = await part.look()
    await writer.createIfAbsent('host/a', bytes('1'))
    const created = await part.look()
    expect(created).not.toBe(before)
    await writer.compareAndSet('host/a', 1, bytes('2'))
    const changed = await part.look()
    expect(changed).not.toBe(created)
    await writer.compareAndDelete('host/a', 2)
    expect(await part.look()).toBe(before)
  })

  it('sees a change that its writer did not live to tell of', async () => {
    const before = await part.look()
    const bell = await new VersionTree(root).bell()
    await writer.createIfAbsent('host/a', bytes('1'))
    vi.spyOn(VersionTree.prototype, 'bell').mockResolvedValue(bell)
    try {
      expect(await part.look()).toBe(before)
      vi.advanceTimersByTime(60_000)
      expect(await part.look()).not.toBe(before)
    } finally {
      vi.restoreAllMocks()
    }
  })

  it('sees a lease run out between two walks, and buries it for those who come later', async () => {
    const before = await part.look()
    const holder = await openDirectoryStore(root)
    await holder.lease('host/a', bytes('1'), LEASE_TTL_MS_MIN)
    await holder.close()
    const held = await part.look()
    expect(held).not.toBe(before)
    for (let i = 0; i < 3; i++) {
      vi.advanceTimersByTime(LEASE_TTL_MS_MIN / 4)
      expect(await part.look()).toBe(held)
      const newcomer = await openDirectoryStore(root)
      expect(await newcomer.get('host/a')).not.toBe(null)
      await newcomer.close()
    }
    vi.advanceTimersByTime(LEASE_TTL_MS_MIN / 4 + 1)
    expect(await part.look()).toBe(before)
    const newcomer = await openDirectoryStore(root)
    expect(await newcomer.get('host/a')).toBe(null)
    await newcomer.close()
  })

  it('is told by the kernel of changes on this host', async () => {
    await part.look()
    if (!(await isLocal(root)))
      return console.warn(`skipped: no notices of changes on the file system of ${tmpdir()}`)
    await writer.createIfAbsent('host/a', bytes('1'))
    await vi.waitFor(() => expect(hint).toHaveBeenCalled(), { timeout: 10_000 })
  })
})
