// Which programs of the machine's distribution are needed, and how to get them. Programs are looked for by name,
// not by package, so that a machine without apt may bring them in any way it likes.
import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

/** Of the architectures that the Node package exists for. */
const LIBRARY_DIRECTORIES = [
  '/usr/lib/x86_64-linux-gnu',
  '/usr/lib/aarch64-linux-gnu',
  '/usr/lib64',
  '/usr/lib',
]

/** `command` is looked for on PATH, of `files` one must exist; `home` says where it comes from where there is no apt. */
const RUN_TIME = [
  {
    debian: 'libatomic1',
    files: LIBRARY_DIRECTORIES.map((directory) => `${directory}/libatomic.so.1`),
    why: 'is a library that the Node from npm is linked with',
    home: 'https://gcc.gnu.org',
  },
  { debian: 'passt', command: 'passt', why: 'connects guests to the network', home: 'https://passt.top' },
  {
    debian: 'apt',
    command: 'apt-get',
    why: 'fetches the packages that guest images are made of',
    home: 'a Debian machine',
  },
  { debian: 'dpkg', command: 'dpkg-deb', why: 'unpacks them', home: 'https://git.dpkg.org' },
  { debian: 'gpgv', command: 'gpgv', why: 'verifies their signatures', home: 'https://gnupg.org' },
  {
    debian: 'debian-archive-keyring',
    files: [
      '/usr/share/keyrings/debian-archive-keyring.gpg',
      '/usr/share/keyrings/debian-archive-keyring.pgp',
    ],
    why: 'holds the keys of those signatures',
    home: 'the Debian package of that name',
  },
]

const TEST_TIME = [
  {
    debian: 'qemu-user',
    command: 'qemu-riscv64',
    why: 'is compared with, instruction by instruction',
    home: 'https://www.qemu.org',
  },
  {
    debian: 'qemu-system-misc',
    command: 'qemu-system-riscv64',
    why: 'is compared with as a whole machine',
    home: 'https://www.qemu.org',
  },
  {
    debian: 'redis-tools',
    command: 'redis-cli',
    why: 'is the client of the tests',
    home: 'https://redis.io',
  },
]

/** Where system programs lie even if an account's PATH leaves some out. */
const SYSTEM_DIRECTORIES = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin']

/** Another apt may be at work, unattended upgrades above all; it is worth waiting for. */
const LOCK_WAIT_S = 300

function isThere(program, find) {
  if (program.files !== undefined) return program.files.some((file) => existsSync(file))
  return find(program.command) !== null
}

export function which(command) {
  const directories = [
    ...(process.env.PATH ?? '').split(':').filter((entry) => entry !== ''),
    ...SYSTEM_DIRECTORIES,
  ]
  for (const directory of directories) {
    try {
      const path = join(directory, command)
      accessSync(path, constants.X_OK)
      return path
    } catch {}
  }
  return null
}

/** The programs that are not there. */
export function missingPrograms({ test, find = which }) {
  return [...RUN_TIME, ...(test ? TEST_TIME : [])].filter((program) => !isThere(program, find))
}

/**
 * Installs what is missing with apt-get and says so. Throws an Error whose message says exactly what to do if
 * that is not possible here. `find` looks a program up, `uid` is the user's: a test may say otherwise.
 */
export function installPrograms({ test, find = which, uid = process.getuid() }, say) {
  const missing = missingPrograms({ test, find })
  if (missing.length === 0) return
  const packages = missing.map((program) => program.debian)
  const aptGet = find('apt-get')
  if (aptGet === null) throw new Error(bringInstead(missing))
  const asRoot = rootPrefix(find, uid)
  const command = `apt-get install -y --no-install-recommends ${packages.join(' ')}`
  if (asRoot === null) {
    throw new Error(
      `these packages are missing, and installing them needs root; run\n\n    sudo ${command}\n\nand then this again.`,
    )
  }
  say(
    `installing Debian packages: ${missing.map((program) => `${program.debian} (${program.why})`).join(', ')}`,
  )
  const apt = (...args) => runApt([...asRoot, aptGet, '-o', `DPkg::Lock::Timeout=${LOCK_WAIT_S}`, ...args])
  const install = () => apt('install', '-y', '--no-install-recommends', ...packages)
  const fresh = !hasPackageLists()
  if (fresh) apt('update')
  // Lists that are there may still be of last month and name files that the mirror no longer has.
  if (!install() && (fresh || !apt('update') || !install())) {
    throw new Error(
      `apt-get failed, see above. When its cause is mended, run this again, or by hand:\n\n    ${command}\n`,
    )
  }
  const still = missingPrograms({ test, find })
  if (still.length > 0)
    throw new Error(`apt-get installed everything, yet these are not found:\n${table(still)}`)
}

function bringInstead(missing) {
  return `this machine has no apt-get. Install these programs in its own way, so that they are on PATH, and run this again:\n${table(missing)}`
}

function table(programs) {
  const line = (program) => `    ${program.command ?? program.files[0]}  (${program.home}; it ${program.why})`
  return programs.map(line).join('\n')
}

/** The command prefix that makes us root, or null if nothing does without asking for a password. */
function rootPrefix(find, uid) {
  if (uid === 0) return []
  const sudo = find('sudo')
  return sudo !== null && spawnSync(sudo, ['-n', 'true'], { stdio: 'ignore' }).status === 0
    ? [sudo, '-n']
    : null
}

function hasPackageLists() {
  try {
    return readdirSync('/var/lib/apt/lists').some((name) => name.includes('_Packages'))
  } catch {
    return false
  }
}

function runApt([command, ...args]) {
  // apt asks nothing of a pipeline, and its progress goes where our own goes.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  // sudo clears the environment; env(1) after it sets the variable again.
  const [program, ...rest] =
    args[0] === '-n'
      ? [command, '-n', 'env', 'DEBIAN_FRONTEND=noninteractive', ...args.slice(1)]
      : [command, ...args]
  return spawnSync(program, rest, { stdio: ['ignore', 2, 2], env }).status === 0
}
