/**
 * Debian packages of another release and architecture through the host's apt, in directories of our own: the
 * host's package state is neither read nor touched, and nothing needs root. Signatures are always verified.
 */

import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CommandFailure, runCommand } from './command.ts'
import { ImageError } from './errors.ts'
import { hostMirrors } from './mirror.ts'
import type { ImageProgressListener } from './progress.ts'

export interface Package {
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

/** Where debian-archive-keyring has put its keys, newest form first. */
const KEYRINGS = [
  '/usr/share/keyrings/debian-archive-keyring.pgp',
  '/usr/share/keyrings/debian-archive-keyring.gpg',
]

/** The host's settings that matter for reaching its mirror: proxies, certificates, retries, address family. */
const HOST_SETTING =
  /^Acquire::(?!IndexTargets|cdrom|Languages|Allow|GzipIndexes|By-Hash)[A-Za-z0-9:_.+/-]+ ".*";$/

/** How apt says that a signature is wrong, as opposed to a file that is not there. */
const SIGNATURE_COMPLAINT =
  /NO_PUBKEY|EXPKEYSIG|BADSIG|REVKEYSIG|is not signed|signatures? (?:couldn't|could not|were invalid|verification)|Sub-process .*(?:sqv|gpgv)/i

/**
 * Resolves, downloads and verifies packages below `directory`, where later calls find what is already there.
 *
 * @throws ImageError `IMAGE_TOOL_MISSING`, `IMAGE_KEYRING_MISSING`, `IMAGE_MIRROR_UNKNOWN`,
 *   `IMAGE_SIGNATURE_INVALID` or `IMAGE_DOWNLOAD_FAILED`.
 */
export async function downloadPackages(
  directory: string,
  request: PackageRequest,
  progress: ImageProgressListener,
): Promise<readonly Package[]> {
  const apt = await privateApt(directory, request)
  await updateIndex(apt, request, progress)
  const names = await resolve(apt, request)
  progress({ step: 'download', fraction: 0, detail: `${names.length} packages` })
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
  return names.map((file) => ({ ...splitArchiveName(file), path: join(apt.archives, file) }))
}

/** An apt with its own configuration, sources, state and cache. */
interface PrivateApt {
  readonly sources: string
  readonly archives: string
  readonly empty: string
  run(args: readonly string[], onStatus?: (percent: number, detail: string) => void): Promise<string>
}

async function privateApt(directory: string, request: PackageRequest): Promise<PrivateApt> {
  // Indexes of different suites must not be seen together; archives may be shared.
  const root = join(directory, `${request.suite}-${request.architecture}`)
  const state = join(root, 'state')
  const cache = join(root, 'cache')
  const archives = join(cache, 'archives')
  const empty = join(root, 'empty')
  const sources = join(root, 'sources.list')
  for (const path of [join(state, 'lists/partial'), join(archives, 'partial'), join(empty, 'partial')]) {
    await mkdir(path, { recursive: true })
  }
  await writeFile(
    join(state, 'status'),
    request.withoutPackages.map((name) => installed(name, request)).join('\n'),
  )
  const configuration = join(root, 'apt.conf')
  await writeFile(
    configuration,
    [
      ...(await hostSettings()),
      // The host's own fragments hold hooks that act on the host; what is wanted of them stands above.
      'Dir::Etc::main "/dev/null";',
      'Dir::Etc::parts "/dev/null";',
      `Dir::Etc::sourcelist ${quote(sources)};`,
      'Dir::Etc::sourceparts "/dev/null";',
      'Dir::Etc::preferences "/dev/null";',
      'Dir::Etc::preferencesparts "/dev/null";',
      `Dir::State ${quote(state)};`,
      `Dir::State::status ${quote(join(state, 'status'))};`,
      `Dir::Cache ${quote(cache)};`,
      // A hundred megabytes that save a second in a build that happens once.
      'Dir::Cache::pkgcache "";',
      'Dir::Cache::srcpkgcache "";',
      `Dir::Log ${quote(root)};`,
      `APT::Architecture ${quote(request.architecture)};`,
      `APT::Architectures { ${quote(request.architecture)}; };`,
      'APT::Install-Recommends "false";',
      'APT::Get::Assume-Yes "true";',
      'APT::Get::AllowUnauthenticated "false";',
      'Acquire::AllowInsecureRepositories "false";',
      'Acquire::AllowWeakRepositories "false";',
      'Acquire::AllowDowngradeToInsecureRepositories "false";',
      'Acquire::Languages "none";',
      // apt gives root's downloads to a user of its own, who cannot enter a home directory.
      'APT::Sandbox::User "root";',
      'APT::Status-Fd "3";',
      '',
    ].join('\n'),
  )
  const run: PrivateApt['run'] = async (args, onStatus) => {
    const output = await runCommand('apt-get', args, {
      env: { APT_CONFIG: configuration, DEBIAN_FRONTEND: 'noninteractive' },
      onStatus: (line) => {
        // "dlstatus:NUMBER:PERCENT:TEXT", README.progress-reporting of apt.
        const [kind, , percent, ...detail] = line.split(':')
        if (kind === 'dlstatus') onStatus?.(Number(percent), detail.join(':'))
      },
    })
    return output.toString('utf8')
  }
  return { sources, archives, empty, run }
}

async function updateIndex(
  apt: PrivateApt,
  request: PackageRequest,
  progress: ImageProgressListener,
): Promise<void> {
  const keyring = KEYRINGS.find((path) => existsSync(path))
  if (keyring === undefined) {
    throw new ImageError(
      'IMAGE_KEYRING_MISSING',
      `None of ${KEYRINGS.join(', ')} is there to verify Debian’s packages with.`,
    )
  }
  const mirrors = await hostMirrors()
  const line = (base: string, suite: string) =>
    `deb [arch=${request.architecture} signed-by=${keyring}] ${base} ${suite} main\n`
  const security = mirrors.security.map((base) => line(base, `${request.suite}-security`)).join('')
  const complaints: string[] = []
  for (const archive of mirrors.archives) {
    const main = line(archive, request.suite)
    const complaint = await tryIndex(apt, main + security, progress)
    if (complaint === null) return
    // Security updates are also gathered in point releases, so a mirror without them is good enough.
    if (security !== '' && (await tryIndex(apt, main, progress)) === null) {
      progress({
        step: 'index',
        fraction: 1,
        detail: 'without security updates, which this mirror cannot give',
      })
      return
    }
    complaints.push(complaint)
  }
  const complaint = complaints.join('\n')
  const code = SIGNATURE_COMPLAINT.test(complaint) ? 'IMAGE_SIGNATURE_INVALID' : 'IMAGE_DOWNLOAD_FAILED'
  throw new ImageError(code, `apt cannot read ${request.suite} for ${request.architecture}:\n${complaint}`)
}

/** Null if apt has read and verified the indexes of `sources`, else its complaint. */
async function tryIndex(
  apt: PrivateApt,
  sources: string,
  progress: ImageProgressListener,
): Promise<string | null> {
  await writeFile(apt.sources, sources)
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
async function resolve(apt: PrivateApt, request: PackageRequest): Promise<readonly string[]> {
  // With an empty cache apt prints every archive, not only those still to be fetched.
  const args = [
    'install',
    '--print-uris',
    '-qq',
    '-o',
    `Dir::Cache::archives=${apt.empty}`,
    ...request.packages,
  ]
  let listing: string
  try {
    listing = await apt.run(args)
  } catch (cause) {
    if (!(cause instanceof CommandFailure)) throw cause
    throw new ImageError(
      'IMAGE_DOWNLOAD_FAILED',
      `apt finds no way to satisfy ${request.packages.join(', ')}:\n${cause.complaint}`,
    )
  }
  return [...listing.matchAll(/^'[^']+' (\S+\.deb) /gm)].map((match) => match[1]).sort()
}

/** An entry of dpkg's status file that makes apt take a package for installed, in a version new enough for all. */
function installed(name: string, request: PackageRequest): string {
  return [
    `Package: ${name}`,
    'Status: install ok installed',
    'Maintainer: understudy',
    `Architecture: ${request.architecture}`,
    'Multi-Arch: foreign',
    'Version: 9999:1',
    'Description: not needed in a guest image',
    '',
  ].join('\n')
}

async function hostSettings(): Promise<readonly string[]> {
  const dump = await runCommand('apt-config', ['dump'])
  return dump
    .toString('utf8')
    .split('\n')
    .filter((line) => HOST_SETTING.test(line))
}

/** apt's configuration has no escape for a quote inside a string. */
function quote(value: string): string {
  if (/["\n]/.test(value)) {
    throw new ImageError(
      'IMAGE_COMMAND_FAILED',
      `apt cannot work in ${value}: its path holds a quotation mark.`,
    )
  }
  return `"${value}"`
}

/** `NAME_VERSION_ARCHITECTURE.deb`, in which apt writes the colon of an epoch as `%3a`. */
function splitArchiveName(file: string): { readonly name: string; readonly version: string } {
  const [name, version] = file.split('_')
  return { name, version: decodeURIComponent(version) }
}
