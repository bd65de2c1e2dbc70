import { UnderstudyError } from '../errors.ts'

const BRING_AN_IMAGE =
  'build the image on a Debian 12 or newer machine with `understudy image build` and copy its directory ' +
  '(kernel, initrd, manifest.json) to the same place here: ~/.cache/understudy/images/NAME, or below $UNDERSTUDY_IMAGES'

/** Everything that can go wrong with a guest image, with what the reader can do about it. Codes are stable. */
const NEXT = {
  IMAGE_NAME_INVALID:
    'Name an image with lower-case letters, digits and hyphens, at most 63, beginning with a letter or digit.',
  IMAGE_RECIPE_UNKNOWN: 'Choose one of the names given above.',
  IMAGE_NOT_FOUND: 'Run `understudy image build NAME` first.',
  IMAGE_CORRUPT: 'Run `understudy image build NAME` again: it replaces what is damaged.',
  IMAGE_FORMAT_UNSUPPORTED: 'Run `understudy image build NAME` with this version of understudy.',
  IMAGE_TOOL_MISSING: `Install the Debian packages apt, dpkg and util-linux; or ${BRING_AN_IMAGE}.`,
  IMAGE_MIRROR_UNKNOWN: `Give this machine's apt a Debian mirror (a line such as "deb MIRROR bookworm main" in its sources); or ${BRING_AN_IMAGE}.`,
  IMAGE_KEYRING_MISSING: `Install the Debian package debian-archive-keyring; or ${BRING_AN_IMAGE}.`,
  IMAGE_DOWNLOAD_FAILED: `Check that \`apt-get update\` works on this machine and that its mirror carries the suite and architecture named above; or ${BRING_AN_IMAGE}.`,
  IMAGE_SIGNATURE_INVALID:
    'Upgrade the Debian package debian-archive-keyring, check the clock of this machine, and try again.',
  IMAGE_COMMAND_FAILED: 'Read what the command says above; a full disk is the usual reason.',
  IMAGE_STORAGE_FAILED:
    'Free half a gigabyte of disk space, or set UNDERSTUDY_IMAGES to a directory that can be written.',
  IMAGE_PACKAGE_UNUSABLE:
    'The distribution changed this package: correct the recipe of the image, or report the version named above.',
  IMAGE_TREE_INVALID: 'Correct the recipe of this image.',
} as const

export type ImageErrorCode = keyof typeof NEXT

export class ImageError extends UnderstudyError {
  declare readonly code: ImageErrorCode

  constructor(code: ImageErrorCode, message: string, options?: ErrorOptions) {
    super(code, message, NEXT[code], options)
  }
}
