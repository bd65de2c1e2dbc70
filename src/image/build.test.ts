import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { buildImage } from './build.ts'
import { openImage, publishImage } from './directory.ts'
import { MANIFEST_FORMAT_VERSION } from './manifest.ts'
import { recipeDigest } from './recipe.ts'
import { tiny } from './recipes/tiny.ts'

let images: string
beforeEach(async () => {
  images = await mkdtemp(join(tmpdir(), 'understudy-build-'))
  vi.stubEnv('UNDERSTUDY_IMAGES', images)
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await rm(images, { recursive: true, force: true })
})

async function publishTiny(recipe: string): Promise<void> {
  await publishImage('tiny', {
    kernel: Buffer.from('kernel'),
    initrd: Buffer.from('initrd'),
    describe: (kernel, initrd) => ({
      formatVersion: MANIFEST_FORMAT_VERSION,
      name: 'tiny',
      suite: tiny.suite,
      architecture: tiny.architecture,
      recipe,
      packages: [],
      kernel,
      initrd,
      append: tiny.append,
      memoryMiB: tiny.memoryMiB,
      savable: false,
    }),
  })
}

describe('building an image', () => {
  it('does nothing when this recipe’s image is there, even without any tool', async () => {
    await publishTiny(recipeDigest(tiny))
    vi.stubEnv('PATH', '/nonexistent')
    const steps: string[] = []
    const image = await buildImage('tiny', { progress: ({ step }) => steps.push(step) })
    expect(image).toEqual(await openImage('tiny'))
    expect(steps).toEqual(['ready'])
  })

  it.each([
    ['another recipe', async () => publishTiny('f'.repeat(64))],
    [
      'a damaged kernel',
      async () => {
        await publishTiny(recipeDigest(tiny))
        await writeFile((await openImage('tiny')).kernelPath, 'kernal')
      },
    ],
    ['no image', async () => undefined],
  ])('sets about building over %s, and says what is missing where there is no apt', async (_, arrange) => {
    await arrange()
    vi.stubEnv('PATH', '/nonexistent')
    await expect(buildImage('tiny')).rejects.toMatchObject({
      code: 'IMAGE_TOOL_MISSING',
      next: expect.stringMatching(/apt.*dpkg.*manifest\.json/),
    })
  })

  it('refuses names without a recipe', async () => {
    await expect(buildImage('large')).rejects.toMatchObject({ code: 'IMAGE_RECIPE_UNKNOWN' })
    await expect(buildImage('../tiny')).rejects.toMatchObject({ code: 'IMAGE_NAME_INVALID' })
  })

  it('says that the place for images cannot be written', async () => {
    await writeFile(join(images, 'file'), '')
    vi.stubEnv('UNDERSTUDY_IMAGES', join(images, 'file'))
    await expect(buildImage('tiny')).rejects.toMatchObject({ code: 'IMAGE_STORAGE_FAILED' })
  })
})
