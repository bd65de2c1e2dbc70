/** From an image to what a replica boots, or goes on from. */
import { randomBytes } from 'node:crypto'
import { bootSnapshot } from '../cluster/boot-snapshot.ts'
import type { OpenedImage } from '../image/directory.ts'
import { GENERATION_ID_BYTES } from '../machine/devices/generation/generation.ts'
import type { Boot, Start } from '../replica/config.ts'

/**
 * Typed on the serial console to shut the guest down: the images here have a login prompt there that asks root for
 * no password. Ctrl-C first gets rid of whatever is half typed there, and of a login that asks for a password. Where
 * somebody is logged in already, `root` is an unknown command and harmless.
 */
export const POWER_OFF_INPUT = ['\x03', 'root\n', 'poweroff\n']

export function bootOf(image: OpenedImage, name: string, more: string | undefined): Boot {
  const words = [image.manifest.append, `hostname=${name}`, more ?? '']
  return { kernel: image.kernelPath, initrd: image.initrdPath, append: words.join(' ').trim() }
}

export interface StartOptions {
  readonly image: OpenedImage
  readonly name: string
  readonly memoryBytes: number
  /** More words for the kernel's command line. */
  readonly append?: string | undefined
  /** Called when the image has to be booted first, once. */
  readonly onMake?: () => void
}

/** The snapshot of the booted image, and what makes a machine started from it this one; null when there can be none. */
export async function startOf({ image, name, append, ...options }: StartOptions): Promise<Start | null> {
  const words = `${image.manifest.append} ${append ?? ''}`.trim()
  const snapshot = await bootSnapshot({ image, append: words, ...options })
  if (snapshot === null) return null
  const generation = randomBytes(GENERATION_ID_BYTES).toString('hex')
  return { ...snapshot, identity: { generation, words: `hostname=${name}` } }
}
