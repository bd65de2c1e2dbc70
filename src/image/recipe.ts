/**
 * A guest image as plain data: which distribution packages, which of their files, which files of our own, and
 * how the kernel is started. The builder knows no image; another image is another recipe.
 */
import { createHash } from 'node:crypto'
import { ImageError } from './errors.ts'
import { MANIFEST_FORMAT_VERSION } from './manifest.ts'

export interface ImageRecipe {
  readonly name: string
  /** A code name of the distribution: `trixie`. Point releases and security updates within it are followed. */
  readonly suite: string
  /** In the distribution's words: `riscv64`. */
  readonly architecture: string
  /** A package that depends on the current kernel, or the kernel's package itself. */
  readonly kernelPackage: string
  /** Packages whose files are wanted. Their dependencies come along. */
  readonly packages: readonly string[]
  /**
   * Packages that need not come although others depend on them: what only maintainer scripts use, and those are
   * never run here.
   */
  readonly withoutPackages: readonly string[]
  /**
   * Files out of the packages, as paths without a leading slash; one that ends in a slash is a directory with all
   * below it. Symbolic links bring their targets, programs and libraries bring the shared libraries they need;
   * nothing else is taken.
   */
  readonly packageFiles: readonly string[]
  /** Kernel modules, in the order to load them; modules they depend on are put before them. */
  readonly modules: readonly string[]
  /** What is added to the packages' files, by path without a leading slash. */
  readonly files: { readonly [path: string]: RecipeFile }
  /** The kernel's default command line. */
  readonly append: string
  /** The default guest memory in MiB. */
  readonly memoryMiB: number
  /**
   * Whether its init knows `understudy.snapshot` on the kernel command line: to wait, at the point up to which all
   * machines are the same, for a line on the virtio console that says which one it is.
   */
  readonly savable?: boolean
}

export type RecipeFile =
  | { readonly kind: 'text'; readonly text: string; readonly permissions: number }
  | { readonly kind: 'symlink'; readonly target: string }
  | { readonly kind: 'directory'; readonly permissions: number }

/** Names are path components and appear in command lines: nothing in them needs quoting, and none is hidden. */
const NAME_PATTERN = /^[a-z0-9][a-z0-9-]{0,62}$/

/** @throws ImageError `IMAGE_NAME_INVALID` */
export function checkImageName(name: string): string {
  if (!NAME_PATTERN.test(name)) {
    throw new ImageError('IMAGE_NAME_INVALID', `${JSON.stringify(name)} is no name for an image.`)
  }
  return name
}

/**
 * Says whether an image was made by this very recipe. Covers the format of images too, so that a new format
 * has them built anew.
 */
export function recipeDigest(recipe: ImageRecipe): string {
  return createHash('sha256')
    .update(JSON.stringify([MANIFEST_FORMAT_VERSION, sortKeys(recipe)]))
    .digest('hex')
}

function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys)
  if (typeof value !== 'object' || value === null) return value
  const sorted = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(sorted.map(([key, inner]) => [key, sortKeys(inner)]))
}
