/** From an image to what a replica boots. */
import type { OpenedImage } from '../image/directory.ts'
import type { Boot } from '../replica/config.ts'

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
