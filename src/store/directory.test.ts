import { execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  mkdir,
  mkdtemp,
  open,
  readdir,
  rename,
  rm,
  symlink,
  unlink,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openDirectoryStore } from './directory.ts'
import { leaseCases } from './lease-cases.ts'
import { LEASE_TTL_MS_MAX, LEASE_TTL_MS_MIN, StoreError } from './store.ts'
import { type StoreUnderTest, storeCases } from './store-cases.ts'
import { bytes, text } from './store-text.ts'
import { decodeValueFile, encodeValueFile } from './value-file.ts'

async function openForCases(): Promise<StoreUnderTest> {
  const root = await mkdtemp(join(tmpdir(), 'understudy-store-'))
  const other = await openDirectoryStore(root, { create: true })
  // One client comes by another way, which can be taken from it: its share is unmounted.
  const mount = `${root}-mount`
  const heal = () => symlink(root, mount)
  await heal()
  const store = await openDirectoryStore(mount)
  const dispose = async () => {
    await Promise.all([store.close(), other.close()])
    await rm(mount, { force: true })
    await rm(root, { recursive: true })
  }
  return { store, other, url: root, isolate: () => unlink(mount), heal, dispose }
}

storeCases('directory', openForCases)
leaseCases('directory', openForCases)

describe('directory store', () => {
  let root: string
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'understudy-store-'))
  })
  afterEach(() => rm(root, { recursive: true, force: true }))

  it('arbitrates between processes: one winner for each key, no change lost', async () => {
    await openDirectoryStore(root, { create: true })
    const processes = 4
    const contest = new URL('./store-contest.ts', import.meta.url).pathname
    const outputs = await Promise.all(
      Array.from({ length: processes }, () => promisify(execFile)(process.execPath, [contest, root])),
    )
    const reports = outputs.map(({ stdout }) => JSON.parse(stdout) as { won: string[]; added: number })
    const won = reports.flatMap((report) => report.won)
    expect(new Set(won).size).toBe(won.length)
    expect(won.length).toBe(40)
    const count = await (await openDirectoryStore(root)).get('count')
    expect(Number(text(count!.value))).toBe(reports.reduce((sum, report) => sum + report.added, 0))
    expect(await readdir(join(root, 'tmp'))).toEqual([])
  })

  it('survives a writer killed at any moment: every key is absent or whole', async () => {
    const store = await openDirectoryStore(root, { create: true })
    const contest = new URL('./store-contest.ts', import.meta.url).pathname
    const writer = spawn(process.execPath, [contest, root], { stdio: 'ignore' })
    while ((await store.list('')).length < 5) await new Promise(setImmediate)
    writer.kill('SIGKILL')
    await once(writer, 'exit')
    const entries = await store.list('')
    for (const { key, version } of entries)
      expect((await store.compareAndDelete(key, version)).set).toBe(true)
    expect(await store.list('')).toEqual([])
  })

  it('does not mistake an unmounted directory for an empty store', async () => {
    await expect(openDirectoryStore(root)).rejects.toMatchObject({ code: 'STORE_NOT_FOUND' })
    await expect(openDirectoryStore(join(root, 'none'))).rejects.toMatchObject({ code: 'STORE_NOT_FOUND' })
    const mounted = join(root, 'mounted')
    const store = await openDirectoryStore(mounted, { create: true })
    await store.createIfAbsent('key', bytes('1'))
    await rename(mounted, join(root, 'elsewhere'))
    await mkdir(mounted)
    const unreachable = { code: 'STORE_UNREACHABLE' }
    await expect(store.get('key')).rejects.toMatchObject(unreachable)
    await expect(store.list('')).rejects.toMatchObject(unreachable)
    await expect(store.createIfAbsent('key', bytes('2'))).rejects.toMatchObject(unreachable)
    expect(await readdir(mounted)).toEqual([])
    await rm(mounted, { recursive: true })
    await rename(join(root, 'elsewhere'), mounted)
    expect(text((await store.get('key'))!.value)).toBe('1')
  })

  it('gives up in time on a file system that hangs, and recovers with it', async () => {
    const store = await openDirectoryStore(root, { create: true, timeoutMs: 100 })
    await mkdir(join(root, 'data', 'key'))
    // Opening a FIFO blocks until somebody opens its other end: a file server that does not answer.
    const fifo = join(root, 'data', 'key', '=0000000001')
    execFileSync('mkfifo', [fifo])
    const unreachable = { code: 'STORE_UNREACHABLE' }
    await expect(store.get('key')).rejects.toMatchObject(unreachable)
    await expect(store.createIfAbsent('other', bytes('x'))).rejects.toMatchObject(unreachable)
    const server = await open(fifo, 'w')
    await server.writeFile(encodeValueFile(bytes('late')))
    await server.close()
    await store.close()
    const again = await openDirectoryStore(root)
    expect(await again.get('other')).toBe(null)
  })

  it('says which file is damaged', async () => {
    const store = await openDirectoryStore(root, { create: true })
    await store.createIfAbsent('vm/demo', bytes('value'))
    await writeFile(join(root, 'data/vm/demo/=0000000001'), 'nonsense')
    await expect(store.get('vm/demo')).rejects.toMatchObject({ code: 'STORE_DAMAGED' })
    await expect(store.get('vm/demo')).rejects.toThrow(/vm\/demo\/=0000000001/)
  })

  it('keeps few old versions, and refuses a change from one that is long gone', async () => {
    const store = await openDirectoryStore(root, { create: true })
    await store.createIfAbsent('key', bytes('1'))
    for (let version = 1; version < 40; version++)
      await store.compareAndSet('key', version, bytes(`${version + 1}`))
    const names = await readdir(join(root, 'data/key'))
    expect(names.length).toBeLessThanOrEqual(18)
    expect(names).not.toContain('=0000000002')
    expect(await store.compareAndSet('key', 1, bytes('stale'))).toMatchObject({ set: false })
    expect((await store.get('key'))!.version).toBe(40)
  })

  it('does not let a writer win that was paused while many others did', async () => {
    const store = await openDirectoryStore(root, { create: true })
    const directory = join(root, 'data', 'key')
    await mkdir(directory)
    // The writer reads version 1 and is stopped doing so, for it is a FIFO that nobody has written yet.
    const first = join(directory, '=0000000001')
    execFileSync('mkfifo', [first])
    const paused = store.compareAndSet('key', 1, bytes('stale'))
    const others = await open(first, 'w')
    for (const name of ['=0000000029', '=0000000030']) {
      await writeFile(join(directory, name), encodeValueFile(bytes('newer')))
    }
    await rm(first)
    await others.writeFile(encodeValueFile(bytes('old')))
    await others.close()
    const current = { key: 'key', value: bytes('newer'), version: 30 }
    expect(await paused).toEqual({ set: false, current })
    expect(await store.get('key')).toEqual(current)
    expect(await readdir(directory)).toEqual(['=0000000029', '=0000000030'])
  })

  it('removes temporary files that a dead process left', async () => {
    await openDirectoryStore(root, { create: true })
    const old = join(root, 'tmp', '1-old')
    await writeFile(old, 'x')
    await writeFile(join(root, 'tmp', '1-new'), 'x')
    await utimes(old, 0, 0)
    await openDirectoryStore(root)
    expect(await readdir(join(root, 'tmp'))).toEqual(['1-new'])
  })
})

describe('the value file', () => {
  const value = fc.uint8Array({ maxLength: 100 })
  const lease = fc.record({
    ttlMs: fc.integer({ min: LEASE_TTL_MS_MIN, max: LEASE_TTL_MS_MAX }),
    holder: fc.stringMatching(/^[0-9a-f]{16}$/),
  })
  const contents = fc.oneof(
    fc.record({ value, lease }),
    fc.record({ value: fc.option(value), lease: fc.constant(null) }),
  )

  it('gives back what was written', () => {
    fc.assert(
      fc.property(contents, ({ value, lease }) => {
        expect(decodeValueFile(encodeValueFile(value, lease), 'file')).toEqual({ value, lease })
      }),
    )
  })

  it('notices any byte changed and any byte missing', () => {
    fc.assert(
      fc.property(contents, fc.nat(), fc.integer({ min: 1, max: 255 }), ({ value, lease }, at, change) => {
        const file = encodeValueFile(value, lease)
        const changed = file.slice()
        changed[at % file.length]! ^= change
        expect(() => decodeValueFile(changed, 'file')).toThrow(StoreError)
        expect(() => decodeValueFile(file.subarray(0, at % file.length), 'file')).toThrow(StoreError)
      }),
    )
  })
})
