/**
 * Finds the Debian mirrors that this machine's own apt is configured with. Nothing here names a host: which one
 * to use is the administrator's choice, and the machine may reach no other.
 */
import { CommandFailure, runCommand } from './command.ts'
import { ImageError } from './errors.ts'

export interface Mirrors {
  /** Base addresses of archives that may be Debian's main one, most likely first. */
  readonly archives: readonly string[]
  /** Base addresses of archives with Debian's security updates. */
  readonly security: readonly string[]
}

/** What `apt-get update --print-uris` prints for a signed suite: `'BASE/dists/SUITE/InRelease' FILE SIZE`. */
const RELEASE_LINE = /^'(.+)\/dists\/([^/']+(?:\/[^/']+)*)\/(?:In)?Release' /

/** Names of suites that only a Debian archive has in common with others of its kind. */
const DEBIAN_SUITE = /^(?:sid|unstable|testing|stable|oldstable|bullseye|bookworm|trixie|forky|duke)$/
const SECURITY_SUITE = /-security$|\/updates$/
const COMPANION_SUITE = /-(?:updates|backports|proposed-updates)$/

/**
 * Asks apt which addresses it would read, without reading them: this works before the first `apt-get update`
 * and without root.
 *
 * @throws ImageError `IMAGE_TOOL_MISSING` without apt, `IMAGE_MIRROR_UNKNOWN` if no source looks like Debian's.
 */
export async function hostMirrors(): Promise<Mirrors> {
  let listing: Buffer
  try {
    listing = await runCommand('apt-get', ['update', '--print-uris'])
  } catch (cause) {
    if (!(cause instanceof CommandFailure)) throw cause
    throw new ImageError('IMAGE_MIRROR_UNKNOWN', `apt cannot read its own sources: ${cause.message}`, {
      cause,
    })
  }
  const mirrors = parseMirrors(listing.toString('utf8'))
  if (mirrors.archives.length === 0) {
    throw new ImageError('IMAGE_MIRROR_UNKNOWN', 'The sources of this machine’s apt name no Debian archive.')
  }
  return mirrors
}

/** Sorts the archives of a listing by what their suites are called. Exported for its tests. */
export function parseMirrors(listing: string): Mirrors {
  const likely = new Set<string>()
  const possible = new Set<string>()
  const security = new Set<string>()
  for (const line of listing.split('\n')) {
    const match = RELEASE_LINE.exec(line)
    if (match === null) continue
    const [, base, suite] = match
    if (SECURITY_SUITE.test(suite)) security.add(base)
    else if (COMPANION_SUITE.test(suite)) likely.add(base)
    else if (DEBIAN_SUITE.test(suite)) possible.add(base)
  }
  // Archives of other makers borrow Debian's suite names but have no `-updates` beside them.
  const archives = [...new Set([...likely, ...possible])].filter((base) => !security.has(base))
  return { archives, security: [...security] }
}
