// Makes the checkout ready to run: the npm packages of the lockfile, the Node among them, and the programs of
// the distribution. Does nothing, in some milliseconds, when all is there. Needs only Node 20 and npm.
import { spawnSync } from 'node:child_process'
import { readFileSync, realpathSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bundledNode, NODE_MAJOR_MIN } from './node.mjs'
import { installPrograms } from './packages.mjs'

export const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** What the user must do; printed without a stack. */
export class SetupError extends Error {}

/**
 * Brings everything that is missing and returns the path of the Node to run the sources with. Throws SetupError
 * with exact instructions where it cannot. `test` adds what only the tests need.
 */
export function ensureSetup({ test = false } = {}) {
  if (process.platform !== 'linux') throw new SetupError(`needs Linux; this is ${process.platform}.`)
  if (!packagesMatchLockfile()) {
    say('installing npm packages, Node 26 among them (about 60 MB)')
    npm(['ci', '--no-audit', '--no-fund', '--loglevel=error'])
  }
  if (bundledNode() === null) {
    // Some npm configurations keep install scripts from running; this package's fetches its binary in one.
    say('fetching the Node binary')
    npm(['rebuild', 'node', '--ignore-scripts=false', '--foreground-scripts'])
  }
  const node = bundledNode()
  if (node === null) {
    throw new SetupError(
      'node_modules/node/bin/node is missing: npm kept the install script of the package `node` from running.\n' +
        `Allow it with\n\n    npm rebuild node --ignore-scripts=false\n\nor put a Node ${NODE_MAJOR_MIN} for this machine there by hand.`,
    )
  }
  try {
    installPrograms({ test }, say)
  } catch (error) {
    throw new SetupError(error.message, { cause: error })
  }
  checkRuns(node)
  return node
}

function checkRuns(node) {
  const { status, stderr, error } = spawnSync(node, ['--version'], { encoding: 'utf8' })
  if (status === 0) return
  throw new SetupError(
    `the Node from npm does not run on this machine: ${(stderr || error?.message || '').trim()}\nIt needs a glibc of 2.28 or newer.`,
  )
}

/** Runs `main` and prints a SetupError as what it is. */
export async function runSetupCommand(main) {
  try {
    await main()
  } catch (error) {
    if (!(error instanceof SetupError)) throw error
    console.error(`understudy: ${error.message}`)
    process.exit(1)
  }
}

/**
 * Whether node_modules holds what the lockfile says. npm keeps a lockfile of what it installed in there;
 * comparing the two tells more than their dates, which a clone or a branch switch change at will.
 */
function packagesMatchLockfile() {
  let wanted
  let installed
  try {
    wanted = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')).packages
    installed = JSON.parse(readFileSync(join(ROOT, 'node_modules/.package-lock.json'), 'utf8')).packages
  } catch {
    return false
  }
  return Object.entries(wanted).every(([path, { version, optional, link }]) => {
    if (path === '' || link) return true
    const found = installed[path]
    // Optional packages are those of other platforms, most of them.
    return found === undefined ? optional === true : found.version === version
  })
}

function npm(args) {
  // npm must not run on the very Node that it is about to replace.
  const ours = join(ROOT, 'node_modules')
  const path = (process.env.PATH ?? '').split(delimiter).filter((entry) => !entry.startsWith(ours))
  const env = { ...process.env, PATH: path.join(delimiter) }
  const { status, error } = spawnSync('npm', args, { cwd: ROOT, stdio: ['ignore', 2, 2], env })
  if (error?.code === 'ENOENT')
    throw new SetupError('npm is not on PATH; install it (Debian: apt-get install npm).')
  if (status !== 0)
    throw new SetupError(`\`npm ${args.join(' ')}\` failed, see above. Mend its cause and run this again.`)
}

function say(message) {
  console.error(`understudy: ${message}`)
}

const isMain =
  process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)
if (isMain) {
  await runSetupCommand(() => {
    ensureSetup({ test: process.argv.includes('--test') })
    say('everything is there.')
  })
}
