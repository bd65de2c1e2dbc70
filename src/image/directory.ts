/**
 * Where images live, and how they are opened.
 *
 *     IMAGES/NAME            a link to the build in use, or a directory that someone brought
 *     IMAGES/.builds/        builds: kernel, initrd, manifest.json
 *     IMAGES/.packages/      apt's directories
 *     IMAGES/.snapshots/     snapshots of booted images, made again when they are missing
 *
 * A build is replaced by moving the link, so whoever opened the old one goes on reading the old one.
 */
import { createHash, randomUUID } from 'node:crypto'
import { createReadStream } from 'node:fs'
import {
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  realpath,
  rename,
  rm,
  stat,
  symlink,
} from 'node:fs/promises'
import { homedir } from 'node:os'
import { basename, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { ImageError } from './errors.ts'
import {
  formatManifest,
  type ImageArtifact,
  type ImageManifest,
  MANIFEST_BYTES_MAX,
  parseManifest,
} from './manifest.ts'
import { checkImageName } from './recipe.ts'

export interface OpenedImage {
  readonly manifest: ImageManifest
  readonly kernelPath: string
  readonly initrdPath: string
}

export interface ImageListing {
  readonly name: string
  /** Null if the image cannot be used; `error` says why. */
  readonly manifest: ImageManifest | null
  readonly error: ImageError | null
}

const KERNEL_FILE = 'kernel'
const INITRD_FILE = 'initrd'
const MANIFEST_FILE = 'manifest.json'

/** The directory of all images. */
export function imagesDirectory(): string {
  return process.env.UNDERSTUDY_IMAGES || join(homedir(), '.cache/understudy/images')
}

/** The directory of one image. @throws ImageError `IMAGE_NAME_INVALID` */
export function imageDirectory(name: string): string {
  return join(imagesDirectory(), checkImageName(name))
}

export function packagesDirectory(): string {
  return join(imagesDirectory(), '.packages')
}

export function buildsDirectory(): string {
  return join(imagesDirectory(), '.builds')
}

/**
 * Finds an image and verifies every byte of it. The paths stay good while a newer build replaces this one.
 *
 * @throws ImageError `IMAGE_NAME_INVALID`, `IMAGE_NOT_FOUND`, `IMAGE_CORRUPT` or `IMAGE_FORMAT_UNSUPPORTED`.
 */
export async function openImage(name: string): Promise<OpenedImage> {
  const image = await findImage(name)
  await verifyImage(image)
  return image
}

/** Finds an image by its manifest; its files are not looked at. Throws as `openImage`. */
export async function findImage(name: string): Promise<OpenedImage> {
  const directory = await realDirectory(name)
  const manifest = await readManifest(name, directory)
  return {
    manifest,
    kernelPath: join(directory, KERNEL_FILE),
    initrdPath: join(directory, INITRD_FILE),
  }
}

/** Verifies every byte of an image. Throws IMAGE_CORRUPT. */
export async function verifyImage({ manifest, kernelPath, initrdPath }: OpenedImage): Promise<void> {
  await Promise.all([verify(kernelPath, manifest.kernel), verify(initrdPath, manifest.initrd)])
}

/** Where snapshots of booted images are kept. */
export function snapshotsDirectory(): string {
  return join(imagesDirectory(), '.snapshots')
}

/** All images, sorted by name. Reads manifests only: what is listed as usable may still fail to open. */
export async function listImages(): Promise<readonly ImageListing[]> {
  const names = (await readdir(imagesDirectory()).catch(() => []))
    .filter((name) => !name.startsWith('.'))
    .sort()
  return Promise.all(
    names.map(async (name): Promise<ImageListing> => {
      try {
        return { name, manifest: await readManifest(name, await realDirectory(name)), error: null }
      } catch (error) {
        if (!(error instanceof ImageError)) throw error
        return { name, manifest: null, error }
      }
    }),
  )
}

export interface BuiltImage {
  readonly kernel: Uint8Array
  readonly initrd: Uint8Array
  readonly describe: (kernel: ImageArtifact, initrd: ImageArtifact) => ImageManifest
}

/**
 * Makes a build the image `name`. Readers see either the former image or the new one, whole. The former one is
 * kept until the next time, for processes that have just opened it. Hold the build lock.
 */
export async function publishImage(name: string, image: BuiltImage): Promise<void> {
  const manifest = image.describe(artifactOf(image.kernel), artifactOf(image.initrd))
  const build = `${name}-${randomUUID()}`
  const directory = join(buildsDirectory(), build)
  await mkdir(directory, { recursive: true })
  await writeDurably(join(directory, KERNEL_FILE), image.kernel)
  await writeDurably(join(directory, INITRD_FILE), image.initrd)
  await writeDurably(join(directory, MANIFEST_FILE), Buffer.from(formatManifest(manifest)))

  const link = imageDirectory(name)
  const former = await readlink(link).then(basename, () => null)
  // A directory in the link's place was brought by someone; a link cannot be moved over it.
  if ((await lstat(link).catch(() => null))?.isDirectory()) {
    await rename(link, join(buildsDirectory(), `${name}-${randomUUID()}`))
  }
  const next = join(buildsDirectory(), `${build}.link`)
  await symlink(join('.builds', build), next)
  await rename(next, link)
  await removeBuilds(name, [build, former])
}

async function removeBuilds(name: string, kept: readonly (string | null)[]): Promise<void> {
  const uuid = /^[0-9a-f-]{36}(?:\.link)?$/
  for (const entry of await readdir(buildsDirectory())) {
    // Another image's name may begin with this one's.
    const ours = entry.startsWith(`${name}-`) && uuid.test(entry.slice(name.length + 1))
    if (ours && !kept.includes(entry))
      await rm(join(buildsDirectory(), entry), { recursive: true, force: true })
  }
}

async function realDirectory(name: string): Promise<string> {
  const directory = imageDirectory(name)
  try {
    return await realpath(directory)
  } catch (cause) {
    throw new ImageError('IMAGE_NOT_FOUND', `There is no image ${name} at ${directory}.`, { cause })
  }
}

async function readManifest(name: string, directory: string): Promise<ImageManifest> {
  const path = join(directory, MANIFEST_FILE)
  let text: string
  try {
    const { size } = await stat(path)
    if (size > MANIFEST_BYTES_MAX) throw new RangeError(`${size} bytes are more than ${MANIFEST_BYTES_MAX}`)
    text = await readFile(path, 'utf8')
  } catch (cause) {
    throw new ImageError('IMAGE_CORRUPT', `${path} cannot be read: ${(cause as Error).message}`, { cause })
  }
  const manifest = parseManifest(text, path)
  if (manifest.name !== name) {
    throw new ImageError('IMAGE_CORRUPT', `${path} describes the image ${manifest.name}.`)
  }
  return manifest
}

async function verify(path: string, artifact: ImageArtifact): Promise<void> {
  const hash = createHash('sha256')
  try {
    const { size } = await stat(path)
    if (size !== artifact.sizeBytes) throw new RangeError(`${size} bytes instead of ${artifact.sizeBytes}`)
    await pipeline(createReadStream(path), hash)
  } catch (cause) {
    throw new ImageError('IMAGE_CORRUPT', `${path} cannot be used: ${(cause as Error).message}`, { cause })
  }
  if (hash.digest('hex') !== artifact.sha256) {
    throw new ImageError('IMAGE_CORRUPT', `${path} differs from the SHA-256 in its manifest.`)
  }
}

function artifactOf(data: Uint8Array): ImageArtifact {
  return { sha256: createHash('sha256').update(data).digest('hex'), sizeBytes: data.length }
}

async function writeDurably(path: string, data: Uint8Array): Promise<void> {
  const file = await open(path, 'wx', 0o644)
  try {
    await file.writeFile(data)
    await file.sync()
  } finally {
    await file.close()
  }
}
