/**
 * An apt with configuration, sources, state and cache of its own: the host's package state is neither read nor
 * touched, and nothing needs root. Signatures are always verified.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { runCommand } from './command.ts'
import { ImageError } from './errors.ts'

export interface PrivateAptOptions {
  /** Everything this apt writes lies below. */
  readonly root: string
  /** In the distribution's words; null for the host's own. */
  readonly architecture: string | null
  /** True to read the host's sources instead of `sourcesPath`. */
  readonly hostSources: boolean
  /** Names of packages to take for installed already, so that nothing is fetched for them. */
  readonly installed: readonly string[]
}

/** A download's progress: percent done, and what is being fetched. */
export type AptStatusListener = (percent: number, detail: string) => void

export interface PrivateApt {
  readonly root: string
  /** To be written by the caller, in the form of sources.list(5). */
  readonly sourcesPath: string
  /** Where downloaded packages lie. */
  readonly archivesPath: string
  /**
   * Runs `apt-get` and returns its standard output.
   *
   * @throws CommandFailure if it fails, ImageError `IMAGE_TOOL_MISSING` if it is not there.
   */
  run(args: readonly string[], onStatus?: AptStatusListener): Promise<string>
}

/**
 * The host's settings that matter for reaching its mirror: proxies, certificates, retries, address family.
 * Without those that choose other indexes or would let unverified packages in.
 */
const HOST_SETTING = /^Acquire::(?!IndexTargets|cdrom|Languages|Allow|GzipIndexes)[\w:+./-]+ ".*";$/

/** @throws ImageError `IMAGE_TOOL_MISSING` without apt. */
export async function createPrivateApt(options: PrivateAptOptions): Promise<PrivateApt> {
  const { root } = options
  const statePath = join(root, 'state')
  const statusPath = join(statePath, 'status')
  const cachePath = join(root, 'cache')
  const archivesPath = join(cachePath, 'archives')
  const sourcesPath = join(root, 'sources.list')
  const configurationPath = join(root, 'apt.conf')
  await mkdir(join(statePath, 'lists/partial'), { recursive: true })
  await mkdir(join(archivesPath, 'partial'), { recursive: true })
  const architecture = options.architecture ?? (await hostArchitecture())
  await writeFile(statusPath, options.installed.map((name) => installedEntry(name, architecture)).join('\n'))

  const settings: readonly (readonly [name: string, value: string])[] = [
    // The host's fragments hold hooks that act on the host; what is wanted of them is copied one by one.
    ['Dir::Etc::main', '/dev/null'],
    ['Dir::Etc::parts', '/dev/null'],
    ['Dir::Etc::preferences', '/dev/null'],
    ['Dir::Etc::preferencesparts', '/dev/null'],
    ['Dir::State', statePath],
    ['Dir::State::status', statusPath],
    ['Dir::Cache', cachePath],
    // A hundred megabytes that save a second in a build that happens once.
    ['Dir::Cache::pkgcache', ''],
    ['Dir::Cache::srcpkgcache', ''],
    ['Dir::Log', root],
    ['APT::Architecture', architecture],
    ['APT::Install-Recommends', 'false'],
    ['APT::Get::Assume-Yes', 'true'],
    ['APT::Get::AllowUnauthenticated', 'false'],
    ['Acquire::AllowInsecureRepositories', 'false'],
    ['Acquire::AllowWeakRepositories', 'false'],
    ['Acquire::AllowDowngradeToInsecureRepositories', 'false'],
    ['Acquire::Languages', 'none'],
    // apt gives root's downloads to a user of its own, who cannot enter a home directory.
    ['APT::Sandbox::User', 'root'],
    ['APT::Status-Fd', '3'],
  ]
  const sources: typeof settings = options.hostSources
    ? []
    : [
        ['Dir::Etc::sourcelist', sourcesPath],
        ['Dir::Etc::sourceparts', '/dev/null'],
      ]
  const lines = [...settings, ...sources].map(([name, value]) => `${name} ${quote(value)};`)
  const architectures = `APT::Architectures { ${quote(architecture)}; };`
  await writeFile(configurationPath, `${[...(await hostSettings()), ...lines, architectures].join('\n')}\n`)

  const run: PrivateApt['run'] = async (args, onStatus) => {
    const output = await runCommand('apt-get', args, {
      cwd: archivesPath,
      env: { APT_CONFIG: configurationPath, DEBIAN_FRONTEND: 'noninteractive' },
      onStatus: (line) => {
        // "dlstatus:NUMBER:PERCENT:TEXT", README.progress-reporting of apt.
        const [kind, , percent, ...detail] = line.split(':')
        if (kind === 'dlstatus') onStatus?.(Number(percent), detail.join(':'))
      },
    })
    return output.toString('utf8')
  }
  return { root, sourcesPath, archivesPath, run }
}

/** An entry of dpkg's status file, in a version new enough for every dependency. */
function installedEntry(name: string, architecture: string): string {
  return [
    `Package: ${name}`,
    'Status: install ok installed',
    'Maintainer: understudy',
    `Architecture: ${architecture}`,
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

async function hostArchitecture(): Promise<string> {
  return (await runCommand('dpkg', ['--print-architecture'])).toString('utf8').trim()
}

/** apt's configuration has no escape for a quotation mark inside a string. */
function quote(value: string): string {
  if (/["\n]/.test(value)) {
    throw new ImageError(
      'IMAGE_COMMAND_FAILED',
      `apt cannot work in ${value}: its path holds a quotation mark.`,
    )
  }
  return `"${value}"`
}
