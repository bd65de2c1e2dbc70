import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import {
  type BuiltImage,
  buildsDirectory,
  imageDirectory,
  listImages,
  openImage,
  publishImage,
} from './directory.ts'
import { ImageError } from './errors.ts'
import {
  formatManifest,
  type ImageManifest,
  MANIFEST_BYTES_MAX,
  MANIFEST_FORMAT_VERSION,
  parseManifest,
} from './manifest.ts'

function built(
  name: string,
  kernel: Uint8Array = randomBytes(3000),
  initrd: Uint8Array = randomBytes(200),
): BuiltImage {
  return {
    kernel,
    initrd,
    describe: (kernelArtifact, initrdArtifact) => ({
      formatVersion: MANIFEST_FORMAT_VERSION,
      name,
      suite: 'trixie',
      architecture: 'riscv64',
      recipe: '0'.repeat(64),
      packages: [{ name: 'busybox-static', version: '1:1.37.0-6' }],
      kernel: kernelArtifact,
      initrd: initrdArtifact,
      append: 'console=ttyS0',
      memoryMiB: 256,
      savable: false,
    }),
  }
}

let images: string
beforeEach(async () => {
  images = await mkdtemp(join(tmpdir(), 'understudy-images-'))
  vi.stubEnv('UNDERSTUDY_IMAGES', images)
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await rm(images, { recursive: true })
})

describe('the directory of images', () => {
  it('opens what was published', async () => {
    const image = built('web', Buffer.from('kernel'), Buffer.from('initrd'))
    await publishImage('web', image)
    const opened = await openImage('web')
    expect(await readFile(opened.kernelPath, 'utf8')).toBe('kernel')
    expect(await readFile(opened.initrdPath, 'utf8')).toBe('initrd')
    expect(opened.manifest).toMatchObject({ name: 'web', kernel: { sizeBytes: 6 }, append: 'console=ttyS0' })
  })

  it('leaves an opened image readable while it is replaced, and keeps no more than one former build', async () => {
    await publishImage('web', built('web', Buffer.from('old')))
    const opened = await openImage('web')
    await publishImage('web', built('web', Buffer.from('new')))
    expect(await readFile(opened.kernelPath, 'utf8')).toBe('old')
    expect(await readFile((await openImage('web')).kernelPath, 'utf8')).toBe('new')
    await publishImage('web', built('web'))
    expect(await readdir(buildsDirectory())).toHaveLength(2)
  })

  it('keeps the builds of an image whose name begins with another’s', async () => {
    await publishImage('web-two', built('web-two'))
    for (let round = 0; round < 3; round++) await publishImage('web', built('web'))
    await expect(openImage('web-two')).resolves.toBeDefined()
  })

  it('takes the place of a directory that someone brought', async () => {
    await publishImage('web', built('web', Buffer.from('brought')))
    const { manifest } = await openImage('web')
    await rm(imageDirectory('web'))
    await mkdir(imageDirectory('web'))
    await writeFile(join(imageDirectory('web'), 'kernel'), 'brought')
    await writeFile(
      join(imageDirectory('web'), 'initrd'),
      await readFile(join(buildsDirectory(), (await readdir(buildsDirectory()))[0], 'initrd')),
    )
    await writeFile(join(imageDirectory('web'), 'manifest.json'), formatManifest(manifest))
    await expect(openImage('web')).resolves.toMatchObject({ manifest })
    await publishImage('web', built('web', Buffer.from('built')))
    expect(await readFile((await openImage('web')).kernelPath, 'utf8')).toBe('built')
  })

  it.each(['kernel', 'initrd'])('notices a %s that was changed or cut', async (file) => {
    await publishImage('web', built('web'))
    const path = join(imageDirectory('web'), file)
    const content = await readFile(path)
    content[content.length >> 1] ^= 1
    await writeFile(path, content)
    await expect(openImage('web')).rejects.toMatchObject({ code: 'IMAGE_CORRUPT' })
    await truncate(path, 10)
    await expect(openImage('web')).rejects.toMatchObject({ code: 'IMAGE_CORRUPT' })
    await rm(path)
    await expect(openImage('web')).rejects.toMatchObject({ code: 'IMAGE_CORRUPT' })
  })

  it('refuses a manifest that is missing, too large, or another image’s', async () => {
    await publishImage('web', built('other'))
    await expect(openImage('web')).rejects.toThrow(/describes the image other/)
    const path = join(imageDirectory('web'), 'manifest.json')
    await writeFile(path, Buffer.alloc(MANIFEST_BYTES_MAX + 1, ' '))
    await expect(openImage('web')).rejects.toMatchObject({ code: 'IMAGE_CORRUPT' })
    await rm(path)
    await expect(openImage('web')).rejects.toMatchObject({ code: 'IMAGE_CORRUPT' })
  })

  it.each(['', '.', '..', '../x', 'a/b', '.builds', 'A', '-x', 'x'.repeat(64), 'a\0'])(
    'refuses the name %j',
    async (name) => {
      await expect(openImage(name)).rejects.toMatchObject({ code: 'IMAGE_NAME_INVALID' })
    },
  )

  it('says that an image is not there', async () => {
    await expect(openImage('web')).rejects.toMatchObject({ code: 'IMAGE_NOT_FOUND' })
  })

  it('lists what can be used and what cannot, and why', async () => {
    expect(await listImages()).toEqual([])
    await publishImage('web', built('web'))
    await mkdir(imageDirectory('broken'))
    expect(await listImages()).toMatchObject([
      { name: 'broken', manifest: null, error: { code: 'IMAGE_CORRUPT' } },
      { name: 'web', manifest: { name: 'web' }, error: null },
    ])
  })
})

describe('a manifest', () => {
  const manifest: ImageManifest = built('web').describe(
    { sha256: '1'.repeat(64), sizeBytes: 1 },
    { sha256: '2'.repeat(64), sizeBytes: 2 },
  )

  it('reads back as it was written', () => {
    expect(parseManifest(formatManifest(manifest), 'm')).toEqual(manifest)
  })

  it('of another version is told apart from a damaged one', () => {
    const newer = JSON.stringify({
      ...manifest,
      formatVersion: MANIFEST_FORMAT_VERSION + 1,
      kernel: 'elsewhere',
    })
    expect(() => parseManifest(newer, 'm')).toThrow(
      expect.objectContaining({ code: 'IMAGE_FORMAT_UNSUPPORTED' }),
    )
  })

  it('is refused with a typed error, whatever stands in it', () => {
    const fields = fc.constantFrom(...(Object.keys(manifest) as (keyof ImageManifest)[]))
    fc.assert(
      fc.property(fields, fc.jsonValue(), (field, value) => {
        try {
          parseManifest(JSON.stringify({ ...manifest, [field]: value }), 'm')
        } catch (error) {
          expect(error).toBeInstanceOf(ImageError)
        }
      }),
    )
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        expect(() => parseManifest(text, 'm')).toThrow(ImageError)
      }),
    )
  })
})
