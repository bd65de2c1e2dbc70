/** What lies beside the kernel and the initial file system of an image and describes them. */
import { z } from 'zod'
import { ImageError } from './errors.ts'

/** Raised when a reader of the older form could misread the newer one. */
export const MANIFEST_FORMAT_VERSION = 1

/** A manifest lists a few dozen packages; a file larger than this is none of ours and is not read. */
export const MANIFEST_BYTES_MAX = 1024 * 1024

const SHA256 = z.string().regex(/^[0-9a-f]{64}$/)

const ARTIFACT = z.object({
  sha256: SHA256,
  sizeBytes: z.number().int().positive(),
})

const MANIFEST = z.object({
  formatVersion: z.literal(MANIFEST_FORMAT_VERSION),
  name: z.string(),
  /** The distribution's code name and architecture: `trixie`, `riscv64`. */
  suite: z.string(),
  architecture: z.string(),
  /** Which recipe made this, so that a changed recipe is noticed. */
  recipe: SHA256,
  /** Sorted by name. */
  packages: z.array(z.object({ name: z.string(), version: z.string() })),
  kernel: ARTIFACT,
  initrd: ARTIFACT,
  /** The kernel's command line unless the user gives another. */
  append: z.string(),
  /** Guest memory in MiB unless the user gives another size. */
  memoryMiB: z.number().int().positive(),
  /** Whether its init can be saved before it has an identity; images that were built before this was known cannot. */
  savable: z.boolean().default(false),
})

export type ImageManifest = z.infer<typeof MANIFEST>
export type ImageArtifact = z.infer<typeof ARTIFACT>

const VERSION_ONLY = z.object({ formatVersion: z.number() })

export function formatManifest(manifest: ImageManifest): string {
  return `${JSON.stringify(manifest, null, 2)}\n`
}

/** @throws ImageError `IMAGE_CORRUPT`, or `IMAGE_FORMAT_UNSUPPORTED` if another version wrote it. */
export function parseManifest(text: string, path: string): ImageManifest {
  let data: unknown
  try {
    data = JSON.parse(text)
  } catch (cause) {
    throw new ImageError('IMAGE_CORRUPT', `${path} is not JSON.`, { cause })
  }
  const version = VERSION_ONLY.safeParse(data)
  if (version.success && version.data.formatVersion !== MANIFEST_FORMAT_VERSION) {
    throw new ImageError(
      'IMAGE_FORMAT_UNSUPPORTED',
      `${path} has format version ${version.data.formatVersion}; this program reads ${MANIFEST_FORMAT_VERSION}.`,
    )
  }
  const manifest = MANIFEST.safeParse(data)
  if (!manifest.success) {
    const reason = z.prettifyError(manifest.error).replaceAll('\n', ' ')
    throw new ImageError('IMAGE_CORRUPT', `${path} is no manifest of an image: ${reason}`)
  }
  return manifest.data
}
