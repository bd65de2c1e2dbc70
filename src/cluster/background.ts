/** Starting and ending the processes of a local cluster: they outlive the command that started them. */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { readableLog } from '../replica/process-log.ts'
import { withCompileCache } from './compile-cache.ts'
import { ClusterError } from './errors.ts'

/** How often a process that starts or ends is looked at. */
const LOOK_MS = 25

/** How much of a log file goes into an error message. */
const LOG_TAIL_CHARS = 2_000

export interface BackgroundOptions {
  /** The module the process runs. */
  readonly module: URL
  readonly args: readonly string[]
  /** Gets stdout and stderr, appended. */
  readonly logFile: string
  readonly execArgv?: readonly string[]
  /** Beside what this process has. */
  readonly environment?: Readonly<Record<string, string>>
  /** Whether the process takes messages from this one. */
  readonly takesMessages?: boolean
}

/** Starts a Node process in a session of its own, so that signals to this terminal do not reach it. */
export function startBackground(options: BackgroundOptions): ChildProcess {
  const log = openSync(options.logFile, 'a', 0o600)
  try {
    const child = spawn(
      process.execPath,
      [...(options.execArgv ?? []), options.module.pathname, ...options.args],
      {
        detached: true,
        stdio: options.takesMessages === true ? ['ignore', log, log, 'ipc'] : ['ignore', log, log],
        env: { ...withCompileCache(process.env), ...options.environment },
      },
    )
    child.unref()
    child.channel?.unref()
    return child
  } finally {
    closeSync(log)
  }
}

/** Waits until `ready` resolves to something; fails when the process ends before or `timeoutMs` passes. */
export async function untilReady<T>(
  child: ChildProcess,
  logFile: string,
  timeoutMs: number,
  ready: () => Promise<T | null>,
): Promise<T> {
  const deadlineMs = performance.now() + timeoutMs
  for (;;) {
    const result = await ready()
    if (result !== null) return result
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new ClusterError(
        'CLUSTER_START_FAILED',
        `A process ended at its start (${child.signalCode ?? child.exitCode}); ${logFile} ends with: ${logTail(logFile)}`,
      )
    }
    if (performance.now() > deadlineMs) {
      throw new ClusterError(
        'CLUSTER_START_FAILED',
        `A process was not ready in ${timeoutMs} ms; see ${logFile}.`,
      )
    }
    await sleep(LOOK_MS)
  }
}

/** The end of a log file as people read it: what was said, without the fields of structured lines. */
export function logTail(logFile: string): string {
  try {
    return readableLog(readFileSync(logFile, 'utf8')).slice(-LOG_TAIL_CHARS).trim()
  } catch {
    return '(nothing)'
  }
}

/** Writes down a process so that `processOf` knows it again: ids are used again, but not with the same time of start. */
export function rememberProcess(pidFile: string, pid: number): void {
  writeFileSync(pidFile, `${pid} ${startTicks(pid)}\n`, { mode: 0o600 })
}

/** The process that was written to `pidFile`, if it is still that one. Null when it has ended. */
export function processOf(pidFile: string): number | null {
  try {
    const [pid, ticks] = readFileSync(pidFile, 'latin1').trim().split(' ')
    return startTicks(Number(pid)) === ticks && isAlive(Number(pid)) ? Number(pid) : null
  } catch {
    return null
  }
}

/** When a process started, in clock ticks since the host did (proc_pid_stat(5), field 22). */
function startTicks(pid: number): string {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
}

/** Whether a process with this id is there and has not ended. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
  return !isZombie(pid)
}

/** A zombie has ended; only its parent has not looked yet. */
function isZombie(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat.slice(stat.lastIndexOf(')') + 2).startsWith('Z')
  } catch {
    return false
  }
}

/** Ends a process: SIGTERM, and SIGKILL when it is still there after `graceMs`. Resolves when it has ended. */
export async function endProcess(pid: number, graceMs: number): Promise<void> {
  signal(pid, 'SIGTERM')
  const deadlineMs = performance.now() + graceMs
  let killed = false
  while (isAlive(pid)) {
    if (!killed && performance.now() > deadlineMs) {
      signal(pid, 'SIGKILL')
      killed = true
    }
    await sleep(LOOK_MS)
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // It ended by itself meanwhile.
  }
}
