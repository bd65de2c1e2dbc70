/**
 * Makes a guest image from a recipe: packages through apt, unpacked, picked over, and packed into what a kernel
 * boots from. Everything but the download is a function of the packages and the recipe.
 */
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { CommandFailure, runCommand } from './command.ts'
import { writeCpio } from './cpio.ts'
import { buildsDirectory, type OpenedImage, openImage, packagesDirectory, publishImage } from './directory.ts'
import { ImageError } from './errors.ts'
import { withLock } from './lock.ts'
import { MANIFEST_FORMAT_VERSION } from './manifest.ts'
import { collectModules } from './modules.ts'
import { type DownloadedPackage, downloadPackages } from './packages.ts'
import type { ImageProgressListener } from './progress.ts'
import { checkImageName, type ImageRecipe, recipeDigest } from './recipe.ts'
import { bench } from './recipes/bench.ts'
import { tiny } from './recipes/tiny.ts'
import { buildRootTree } from './root-tree.ts'

export interface BuildOptions {
  readonly progress?: ImageProgressListener
  /** Looks for newer packages even if the image is there and intact. */
  readonly refresh?: boolean
}

/** The images this program can build. */
export const RECIPES: ReadonlyMap<string, ImageRecipe> = new Map(
  [tiny, bench].map((recipe) => [recipe.name, recipe]),
)

/** Documentation/arch/riscv/boot-image-header.rst of the kernel: the second magic, at offset 0x38. */
const KERNEL_MAGIC = Buffer.from('RSC\x05', 'latin1')
const KERNEL_MAGIC_OFFSET = 0x38
const KERNEL_FILE = /^vmlinu[xz]-/

/** No image's name has a dot in it, so no build's directory begins like this. */
const WORK_PREFIX = '.work-'

/**
 * Builds the image `name` unless it is there already, made by the same recipe and intact. Safe to call from
 * several processes at once: one builds, the others wait and use what it made.
 *
 * @throws ImageError
 */
export async function buildImage(name: string, options: BuildOptions = {}): Promise<OpenedImage> {
  const recipe = RECIPES.get(checkImageName(name))
  if (recipe === undefined) {
    throw new ImageError(
      'IMAGE_RECIPE_UNKNOWN',
      `There is no recipe for an image ${name}; there is ${[...RECIPES.keys()].join(', ')}.`,
    )
  }
  return buildFromRecipe(recipe, options)
}

/** As `buildImage`, for a recipe of the caller's own. */
export async function buildFromRecipe(recipe: ImageRecipe, options: BuildOptions = {}): Promise<OpenedImage> {
  const progress = options.progress ?? (() => undefined)
  const finished = (image: OpenedImage): OpenedImage => {
    const bytes = image.manifest.kernel.sizeBytes + image.manifest.initrd.sizeBytes
    progress({ step: 'ready', fraction: 1, detail: `${recipe.name}, ${Math.round(bytes / 2 ** 20)} MiB` })
    return image
  }
  const present = options.refresh === true ? null : await intactImage(recipe)
  if (present !== null) return finished(present)

  return storageErrorsTyped(() => buildUnderLock(recipe, options.refresh === true, progress)).then(finished)
}

async function buildUnderLock(
  recipe: ImageRecipe,
  refresh: boolean,
  progress: ImageProgressListener,
): Promise<OpenedImage> {
  await mkdir(buildsDirectory(), { recursive: true })
  const onWait = () => progress({ step: 'waiting', fraction: null, detail: 'another process is building' })
  return withLock(join(buildsDirectory(), 'lock'), onWait, async () => {
    const builtMeanwhile = refresh ? null : await intactImage(recipe)
    if (builtMeanwhile !== null) return builtMeanwhile
    const packages = await downloadPackages(
      packagesDirectory(),
      { ...recipe, packages: [recipe.kernelPackage, ...recipe.packages] },
      progress,
    )
    await removeLeftovers()
    const work = await mkdtemp(join(buildsDirectory(), WORK_PREFIX))
    try {
      await assemble(recipe, packages, work, progress)
    } finally {
      await rm(work, { recursive: true, force: true })
    }
    return openImage(recipe.name)
  })
}

/** Turns what the file system refuses (ENOSPC, EACCES, EROFS and the like) into an error of this module. */
async function storageErrorsTyped<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    if (!(cause instanceof Error) || !('syscall' in cause)) throw cause
    throw new ImageError('IMAGE_STORAGE_FAILED', `The image cannot be written: ${cause.message}.`, { cause })
  }
}

/** What builds left behind that were killed. Under the lock none of it is in use. */
async function removeLeftovers(): Promise<void> {
  for (const entry of await readdir(buildsDirectory())) {
    if (entry.startsWith(WORK_PREFIX))
      await rm(join(buildsDirectory(), entry), { recursive: true, force: true })
  }
}

async function assemble(
  recipe: ImageRecipe,
  packages: readonly DownloadedPackage[],
  work: string,
  progress: ImageProgressListener,
): Promise<void> {
  for (const [index, { name, path }] of packages.entries()) {
    progress({ step: 'unpack', fraction: index / packages.length, detail: name })
    await unpack(path, work)
  }
  progress({ step: 'assemble', fraction: null, detail: 'kernel and initial file system' })
  const modules = await collectModules(work, recipe.modules)
  const tree = await buildRootTree(work, recipe, modules)
  await publishImage(recipe.name, {
    kernel: await findKernel(work),
    initrd: writeCpio(tree),
    describe: (kernel, initrd) => ({
      formatVersion: MANIFEST_FORMAT_VERSION,
      name: recipe.name,
      suite: recipe.suite,
      architecture: recipe.architecture,
      recipe: recipeDigest(recipe),
      packages: packages.map(({ name, version }) => ({ name, version })),
      kernel,
      initrd,
      append: recipe.append,
      memoryMiB: recipe.memoryMiB,
      savable: recipe.savable ?? false,
    }),
  })
}

/** The image if it is there, whole, and made by this recipe. */
async function intactImage(recipe: ImageRecipe): Promise<OpenedImage | null> {
  try {
    const image = await openImage(recipe.name)
    return image.manifest.recipe === recipeDigest(recipe) ? image : null
  } catch (cause) {
    if (cause instanceof ImageError) return null
    throw cause
  }
}

async function unpack(archive: string, directory: string): Promise<void> {
  try {
    await runCommand('dpkg-deb', ['--extract', archive, directory])
  } catch (cause) {
    if (!(cause instanceof CommandFailure)) throw cause
    throw new ImageError('IMAGE_COMMAND_FAILED', `${archive} cannot be unpacked: ${cause.message}`, { cause })
  }
}

async function findKernel(root: string): Promise<Buffer> {
  const boot = join(root, 'boot')
  const names = (await readdir(boot).catch(() => [])).filter((name) => KERNEL_FILE.test(name))
  if (names.length !== 1) {
    throw new ImageError('IMAGE_PACKAGE_UNUSABLE', `The packages hold ${names.length} kernels, not one.`)
  }
  const kernel = await readFile(join(boot, names[0]))
  const magic = kernel.subarray(KERNEL_MAGIC_OFFSET, KERNEL_MAGIC_OFFSET + KERNEL_MAGIC.length)
  if (!magic.equals(KERNEL_MAGIC)) {
    throw new ImageError('IMAGE_PACKAGE_UNUSABLE', `${names[0]} is no uncompressed RISC-V Image.`)
  }
  return kernel
}
