import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { collectModules, withoutSignature } from './modules.ts'
import { makeElf } from './testing/elf-file.ts'

const MAGIC = Buffer.from('~Module signature appended~\n')

function signed(module: Uint8Array, signature: Uint8Array): Buffer {
  const info = Buffer.alloc(12)
  info[2] = 2
  info.writeUInt32BE(signature.length, 8)
  return Buffer.concat([module, signature, info, MAGIC])
}

describe('taking the signature off a module', () => {
  it('gives back exactly what was signed', () => {
    fc.assert(
      fc.property(fc.uint8Array(), fc.uint8Array(), (module, signature) => {
        expect(withoutSignature(signed(module, signature))).toEqual(Buffer.from(module))
      }),
    )
  })

  it('leaves an unsigned module as it is', () => {
    const module = makeElf({ modinfo: ['license=GPL'] })
    expect(withoutSignature(module)).toBe(module)
  })

  it('refuses a signature that says it is longer than the file', () => {
    const file = signed(Buffer.alloc(4), Buffer.alloc(4))
    file.writeUInt32BE(9, file.length - MAGIC.length - 4)
    expect(() => withoutSignature(file)).toThrow(expect.objectContaining({ code: 'IMAGE_PACKAGE_UNUSABLE' }))
    expect(() => withoutSignature(MAGIC)).toThrow(expect.objectContaining({ code: 'IMAGE_PACKAGE_UNUSABLE' }))
  })
})

describe('collecting modules out of a kernel package', () => {
  let root: string
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'understudy-modules-'))
  })
  afterEach(() => rm(root, { recursive: true }))

  async function add(path: string, depends: string): Promise<void> {
    const file = join(root, 'usr/lib/modules/6.12.0/kernel', path)
    await mkdir(dirname(file), { recursive: true })
    await writeFile(file, signed(makeElf({ modinfo: [`depends=${depends}`] }), Buffer.alloc(100)))
  }

  it('puts what a module depends on before it, each once, under the name the kernel knows it by', async () => {
    await add('drivers/net/virtio_net.ko', 'net_failover')
    await add('drivers/net/net_failover.ko', 'failover')
    await add('net/core/failover.ko', '')
    await add('drivers/char/virtio-rng.ko', 'rng-core')
    await add('drivers/char/rng-core.ko', '')
    const modules = await collectModules(root, ['failover', 'virtio-net', 'virtio_rng'])
    expect(modules.map((module) => module.name)).toEqual([
      'failover',
      'net_failover',
      'virtio_net',
      'rng_core',
      'virtio_rng',
    ])
    expect(modules[0].data).toEqual(makeElf({ modinfo: ['depends='] }))
  })

  it('names a module that is not there, and refuses a circle', async () => {
    await add('a.ko', 'b')
    await add('b.ko', 'a')
    await expect(collectModules(root, ['a'])).rejects.toMatchObject({ code: 'IMAGE_PACKAGE_UNUSABLE' })
    await expect(collectModules(root, ['none'])).rejects.toThrow(/none/)
  })
})
