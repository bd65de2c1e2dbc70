/**
 * The keys that Debian's archive is signed with.
 *
 * The host's copy may be older than the release that an image is made of. Then the newer keys come the way an
 * upgrade would bring them: in the package that the host's own apt, with the keys the host trusts, verifies.
 */
import { existsSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { CommandFailure, runCommand } from './command.ts'
import { ImageError } from './errors.ts'
import { createPrivateApt } from './private-apt.ts'

const KEYRING_PACKAGE = 'debian-archive-keyring'

/** Where the package puts its keys; newer releases use the first. */
const KEYRING_PATHS = [
  'usr/share/keyrings/debian-archive-keyring.pgp',
  'usr/share/keyrings/debian-archive-keyring.gpg',
]

/** The path of the host's keyring, or null if it has none. */
export function hostKeyring(): string | null {
  return keyringBelow('/')
}

/**
 * The path of the keyring in the newest package that the host's mirror has.
 *
 * @param directory for apt's files and the unpacked package.
 * @throws ImageError `IMAGE_KEYRING_MISSING`
 */
export async function fetchKeyring(directory: string): Promise<string> {
  const unpacked = join(directory, 'unpacked')
  try {
    const apt = await createPrivateApt({
      root: directory,
      architecture: null,
      hostSources: true,
      installed: [],
    })
    await apt.run(['update'])
    const isKeyring = (file: string) => file.startsWith(`${KEYRING_PACKAGE}_`)
    for (const older of (await readdir(apt.archivesPath)).filter(isKeyring))
      await rm(join(apt.archivesPath, older))
    await apt.run(['download', KEYRING_PACKAGE])
    const archive = (await readdir(apt.archivesPath)).find(isKeyring)
    if (archive !== undefined)
      await runCommand('dpkg-deb', ['--extract', join(apt.archivesPath, archive), unpacked])
  } catch (cause) {
    if (!(cause instanceof CommandFailure)) throw cause
    throw new ImageError('IMAGE_KEYRING_MISSING', `apt cannot get ${KEYRING_PACKAGE}: ${cause.message}`, {
      cause,
    })
  }
  const keyring = keyringBelow(unpacked)
  if (keyring === null)
    throw new ImageError('IMAGE_KEYRING_MISSING', `The package ${KEYRING_PACKAGE} holds no keyring.`)
  return keyring
}

function keyringBelow(root: string): string | null {
  return KEYRING_PATHS.map((path) => join(root, path)).find((path) => existsSync(path)) ?? null
}
