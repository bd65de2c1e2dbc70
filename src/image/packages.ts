/** Debian packages of another release and architecture, with their dependencies: resolved, fetched, verified. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CommandFailure } from './command.ts'
import { ImageError } from './errors.ts'
import { fetchKeyring, hostKeyring } from './keyring.ts'
import { hostMirrors } from './mirror.ts'
import { createPrivateApt, type PrivateApt } from './private-apt.ts'
import type { ImageProgressListener } from './progress.ts'

export interface DownloadedPackage {
  readonly name: string
  readonly version: string
  /** The downloaded archive. */
  readonly path: string
}

export interface PackageRequest {
  readonly suite: string
  readonly architecture: string
  readonly packages: readonly string[]
  /** Taken for installed already, so that nothing is fetched for them. */
  readonly withoutPackages: readonly string[]
}

/** How apt says that a signature is wrong or its key unknown, as opposed to a file that is not there. */
const SIGNATURE_COMPLAINT =
  /NO_PUBKEY|EXPKEYSIG|BADSIG|REVKEYSIG|is not signed|signatures? |Sub-process \S*(?:sqv|gpgv)/i

/**
 * Everything is kept below `directory`, where later calls find it: what is there already is not fetched again.
 *
 * @throws ImageError `IMAGE_TOOL_MISSING`, `IMAGE_KEYRING_MISSING`, `IMAGE_MIRROR_UNKNOWN`,
 *   `IMAGE_SIGNATURE_INVALID` or `IMAGE_DOWNLOAD_FAILED`.
 */
export async function downloadPackages(
  directory: string,
  request: PackageRequest,
  progress: ImageProgressListener,
): Promise<readonly DownloadedPackage[]> {
  const apt = await createPrivateApt({
    // Indexes of different releases must not be seen together.
    root: join(directory, `${request.suite}-${request.architecture}`),
    architecture: request.architecture,
    hostSources: false,
    installed: request.withoutPackages,
  })
  await readIndex(apt, directory, request, progress)
  const files = await resolvePackages(apt, request)
  progress({ step: 'download', fraction: 0, detail: `${files.length} packages` })
  try {
    await apt.run(['install', '--download-only', ...request.packages], (percent, detail) => {
      progress({ step: 'download', fraction: percent / 100, detail })
    })
  } catch (cause) {
    if (!(cause instanceof CommandFailure)) throw cause
    throw new ImageError('IMAGE_DOWNLOAD_FAILED', `apt cannot download the packages:\n${cause.complaint}`, {
      cause,
    })
  }
  return files.map((file) => ({ ...splitArchiveName(file), path: join(apt.archivesPath, file) }))
}

/** Tries the host's archives with the host's keys, then, if signatures were the trouble, with the newest keys. */
async function readIndex(
  apt: PrivateApt,
  directory: string,
  request: PackageRequest,
  progress: ImageProgressListener,
): Promise<void> {
  const keyring = hostKeyring()
  const complaint = keyring === null ? null : await tryArchives(apt, keyring, request, progress)
  if (keyring !== null && complaint === null) return
  if (complaint !== null && !SIGNATURE_COMPLAINT.test(complaint)) {
    throw new ImageError('IMAGE_DOWNLOAD_FAILED', describeFailure(request, complaint))
  }
  progress({ step: 'index', fraction: null, detail: 'fetching newer keys of Debian' })
  const newest = await fetchKeyring(join(directory, 'keyring'))
  const complaintWithNewest = await tryArchives(apt, newest, request, progress)
  if (complaintWithNewest !== null) {
    const code = SIGNATURE_COMPLAINT.test(complaintWithNewest)
      ? 'IMAGE_SIGNATURE_INVALID'
      : 'IMAGE_DOWNLOAD_FAILED'
    throw new ImageError(code, describeFailure(request, complaintWithNewest))
  }
}

function describeFailure(request: PackageRequest, complaint: string): string {
  return `apt cannot read ${request.suite} for ${request.architecture}:\n${complaint}`
}

/** Null once an archive was read and verified, else what apt complained of. */
async function tryArchives(
  apt: PrivateApt,
  keyring: string,
  request: PackageRequest,
  progress: ImageProgressListener,
): Promise<string | null> {
  const mirrors = await hostMirrors()
  const line = (base: string, suite: string) =>
    `deb [arch=${request.architecture} signed-by=${keyring}] ${base} ${suite} main\n`
  const security = mirrors.security.map((base) => line(base, `${request.suite}-security`)).join('')
  const complaints: string[] = []
  for (const archive of mirrors.archives) {
    const main = line(archive, request.suite)
    const complaint = await tryIndex(apt, main + security, progress)
    if (complaint === null) return null
    // Security updates are also gathered in point releases, so a mirror without them is good enough.
    if (security !== '' && (await tryIndex(apt, main, progress)) === null) {
      progress({
        step: 'index',
        fraction: 1,
        detail: 'without security updates, which this mirror cannot give',
      })
      return null
    }
    complaints.push(complaint)
  }
  return complaints.join('\n')
}

/** Null if apt has read and verified the indexes of `sources`, else its complaint. */
async function tryIndex(
  apt: PrivateApt,
  sources: string,
  progress: ImageProgressListener,
): Promise<string | null> {
  await writeFile(apt.sourcesPath, sources)
  progress({ step: 'index', fraction: null, detail: 'reading and verifying' })
  try {
    await apt.run(['update', '--error-on=any'], (percent, detail) => {
      progress({ step: 'index', fraction: percent / 100, detail })
    })
    return null
  } catch (cause) {
    if (!(cause instanceof CommandFailure)) throw cause
    return cause.complaint
  }
}

/** File names of the archives of all packages that the request needs, dependencies included, sorted. */
async function resolvePackages(apt: PrivateApt, request: PackageRequest): Promise<readonly string[]> {
  // With an empty cache apt prints every archive, not only those still to be fetched.
  const empty = join(apt.root, 'empty')
  await mkdir(join(empty, 'partial'), { recursive: true })
  const args = ['install', '--print-uris', '-qq', '-o', `Dir::Cache::archives=${empty}`, ...request.packages]
  let listing: string
  try {
    listing = await apt.run(args)
  } catch (cause) {
    if (!(cause instanceof CommandFailure)) throw cause
    throw new ImageError(
      'IMAGE_DOWNLOAD_FAILED',
      `apt cannot satisfy ${request.packages.join(', ')}:\n${cause.complaint}`,
      { cause },
    )
  }
  return [...listing.matchAll(/^'[^']+' (\S+\.deb) /gm)].map((match) => match[1]).sort()
}

/** `NAME_VERSION_ARCHITECTURE.deb`, in which apt writes the colon of an epoch as `%3a`. */
function splitArchiveName(file: string): { readonly name: string; readonly version: string } {
  const [name, version] = file.split('_')
  return { name, version: decodeURIComponent(version) }
}
