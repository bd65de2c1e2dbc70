import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, it } from 'vitest'
import { openStore } from './open.ts'
import { bytes } from './store-text.ts'
import { freePort } from './testing/etcd-server.ts'

describe('openStore', () => {
  it('opens a directory by its path and by its URL', async () => {
    const root = await mkdtemp(join(tmpdir(), 'understudy store-'))
    const byPath = await openStore(root, { create: true })
    const byUrl = await openStore(pathToFileURL(root).href)
    await byPath.createIfAbsent('key', bytes('1'))
    expect((await byUrl.get('key'))!.value).toEqual(bytes('1'))
    await expect(openStore(join(root, 'none'))).rejects.toMatchObject({ code: 'STORE_NOT_FOUND' })
    await Promise.all([byPath.close(), byUrl.close()])
    await rm(root, { recursive: true })
  })

  it('knows etcd by its addresses', async () => {
    const [one, two] = [await freePort(), await freePort()]
    for (const url of [
      `etcd://127.0.0.1:${one}`,
      `etcd://127.0.0.1:${one},127.0.0.1:${two}/understudy/lab`,
      `etcd://[::1]:${one}/`,
      `etcds://localhost:${one}/a/`,
    ]) {
      await expect(openStore(url, { timeoutMs: 1_000 })).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' })
    }
  })

  it.each([
    '',
    'a\0b',
    'http://127.0.0.1/x',
    'file://elsewhere/path',
    'etcd://',
    'etcd:///prefix',
    'etcd://host:0',
    'etcd://host:65536',
    'etcd://host:2379,',
    'etcd://host:2379,/x',
    'etcd://user:secret@host:2379',
    'etcd://host:2379/UPPER',
    'etcd://host:2379/a//b',
    'etcd://host:2379/../x',
    'etcd://host:2379/a?b',
    `etcd://${Array.from({ length: 17 }, (_, i) => `host${i}`).join(',')}`,
  ])('refuses %j', async (url) => {
    await expect(openStore(url)).rejects.toMatchObject({ code: 'STORE_URL_INVALID' })
  })
})
