// Finds the Node that comes along as the npm package `node`, and runs it as if it were this process.
import { spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { createRequire } from 'node:module'
import { constants as osConstants } from 'node:os'
import { dirname, join } from 'node:path'

/** The sources need a Node that strips types and has zstd and process.execve. */
export const NODE_MAJOR_MIN = 26

/** The path of the bundled Node, or null if npm has not installed it or kept its install script from running. */
export function bundledNode() {
  try {
    const packageFile = createRequire(import.meta.url).resolve('node/package.json')
    const node = join(dirname(packageFile), 'bin', 'node')
    accessSync(node, constants.X_OK)
    return node
  } catch {
    return null
  }
}

/**
 * Runs `node` with `args` on this process's terminal, and ends as it ends: same exit code, or same signal.
 * Where Node can, this process becomes the other, so that no wrapper is left to be killed apart from it.
 */
export async function runInPlaceOf(node, args, env = process.env) {
  if (typeof process.execve === 'function') process.execve(node, [node, ...args], env)
  const child = spawn(node, args, { stdio: 'inherit', env })
  // Ctrl-C reaches both from the terminal; the child decides what to do about it, so here it must not end us.
  const forwarded = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR2', 'SIGWINCH', 'SIGCONT']
  for (const signal of forwarded) process.on(signal, () => child.kill(signal))
  const { code, signal } = await new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', (exitCode, exitSignal) => resolve({ code: exitCode, signal: exitSignal }))
  })
  if (signal === null) process.exit(code)
  for (const name of forwarded) process.removeAllListeners(name)
  process.kill(process.pid, signal)
  // A signal that is ignored by default does not end us; then the shells' convention does.
  process.exit(128 + osConstants.signals[signal])
}
