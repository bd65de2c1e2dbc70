import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { ImageRecipe } from './recipe.ts'
import { tiny } from './recipes/tiny.ts'
import { buildRootTree } from './root-tree.ts'
import { makeElf } from './testing/elf-file.ts'

describe('putting a root file system together', () => {
  let root: string
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'understudy-root-'))
  })
  afterEach(() => rm(root, { recursive: true }))

  async function add(path: string, data: Uint8Array | { readonly link: string }): Promise<void> {
    await mkdir(dirname(join(root, path)), { recursive: true })
    if ('link' in data) await symlink(data.link, join(root, path))
    else await writeFile(join(root, path), data, { mode: 0o755 })
  }

  const recipe = (packageFiles: readonly string[]): ImageRecipe => ({ ...tiny, packageFiles, files: {} })

  it('brings along links’ targets, the interpreter, and libraries of libraries', async () => {
    await add('usr/bin/server', { link: 'server-8' })
    await add('usr/bin/server-8', makeElf({ interpreter: '/lib/ld.so.1', libraries: ['liba.so.1'] }))
    await add('usr/lib/ld.so.1', { link: 'riscv64-linux-gnu/ld.so.1' })
    await add('usr/lib/riscv64-linux-gnu/ld.so.1', makeElf({}))
    await add('usr/lib/riscv64-linux-gnu/liba.so.1', { link: 'liba.so.1.2' })
    await add('usr/lib/riscv64-linux-gnu/liba.so.1.2', makeElf({ libraries: ['libb.so'] }))
    await add('usr/lib/libb.so', makeElf({ libraries: ['liba.so.1'] }))
    await add('usr/bin/other', makeElf({}))
    const tree = await buildRootTree(root, recipe(['usr/bin/server']), [])
    expect([...tree.keys()].sort()).toEqual([
      'dev/console',
      'etc/modules',
      'usr/bin/server',
      'usr/bin/server-8',
      'usr/lib/ld.so.1',
      'usr/lib/libb.so',
      'usr/lib/riscv64-linux-gnu/ld.so.1',
      'usr/lib/riscv64-linux-gnu/liba.so.1',
      'usr/lib/riscv64-linux-gnu/liba.so.1.2',
    ])
    expect(tree.get('usr/bin/server')).toEqual({ kind: 'symlink', target: 'server-8' })
    expect(tree.get('usr/bin/server-8')).toMatchObject({ kind: 'file', permissions: 0o755 })
  })

  it('takes a directory with all below it, and what that needs', async () => {
    await add('usr/lib/python/os.py', Buffer.from('1'))
    await add('usr/lib/python/lib-dynload/zlib.so', makeElf({ libraries: ['libz.so.1'] }))
    await add('usr/lib/libz.so.1', makeElf({}))
    await add('usr/lib/pythonic', Buffer.from('2'))
    const tree = await buildRootTree(root, recipe(['usr/lib/python/']), [])
    expect([...tree.keys()].filter((path) => path.startsWith('usr/')).sort()).toEqual([
      'usr/lib/libz.so.1',
      'usr/lib/python/lib-dynload/zlib.so',
      'usr/lib/python/os.py',
    ])
    await expect(buildRootTree(root, recipe(['usr/lib/ruby/']), [])).rejects.toMatchObject({
      code: 'IMAGE_PACKAGE_UNUSABLE',
      message: expect.stringMatching(/usr\/lib\/ruby/),
    })
  })

  it('says which file is missing and who needs it', async () => {
    await add('usr/bin/server', makeElf({ libraries: ['libgone.so.3'] }))
    await expect(buildRootTree(root, recipe(['usr/bin/server']), [])).rejects.toMatchObject({
      code: 'IMAGE_PACKAGE_UNUSABLE',
      message: expect.stringMatching(/libgone\.so\.3.*usr\/bin\/server/),
    })
  })

  it('refuses links that go round in a circle', async () => {
    await add('usr/bin/a', { link: '../../usr/bin/b' })
    await add('usr/bin/b', { link: '/usr/bin/a' })
    await expect(buildRootTree(root, recipe(['usr/bin/a']), [])).rejects.toThrow(/leads back to itself/)
  })

  it('lists the modules in the order to load them', async () => {
    const modules = [
      { name: 'failover', data: Buffer.from('1') },
      { name: 'virtio_net', data: Buffer.from('2') },
    ]
    const tree = await buildRootTree(root, recipe([]), modules)
    expect(tree.get('etc/modules')).toMatchObject({ data: Buffer.from('failover\nvirtio_net\n') })
    expect(tree.get('usr/lib/modules/virtio_net.ko')).toMatchObject({ data: Buffer.from('2') })
  })
})
