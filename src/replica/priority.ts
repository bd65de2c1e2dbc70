/**
 * Who gets a core first when there are not enough. The I/O threads sleep most of the time, and what they do is
 * short; but the other replica counts the milliseconds until they do it, and a client waits. The CPU threads take
 * whatever is left. Without this a busy host looks like a dead one to its peers.
 */
import { spawn } from 'node:child_process'
import { readlinkSync } from 'node:fs'
import { setPriority } from 'node:os'

/** The lowest real-time priority: above all normal threads, below anything else that asked for real time. */
const REALTIME_PRIORITY = '1'

/** About a third of a core's weight against a normal thread: enough to be preempted at once. */
const CPU_THREAD_NICE = 5

/** A tenth of a core's weight: what others leave. */
const CLONE_NICE = 10

export interface PriorityOptions {
  /** Whether threads and processes it starts later get it too. */
  readonly inherited: boolean
}

/**
 * Asks for real-time scheduling of one thread (the main thread of a process has the process's id). Needs a
 * privilege that not everybody has: resolves to whether it was granted. Without it everything works, only later
 * under load.
 */
export function raiseThread(threadId: number, options: PriorityOptions): Promise<boolean> {
  const inheritance = options.inherited ? [] : ['--reset-on-fork']
  const args = [...inheritance, '--rr', '--pid', REALTIME_PRIORITY, String(threadId)]
  return new Promise((resolve) => {
    const child = spawn('chrt', args, { stdio: 'ignore' })
    child.on('error', () => resolve(false))
    child.on('exit', (code) => resolve(code === 0))
  })
}

/**
 * Takes back what `raiseThread` gave, and more: the thread yields to everything until it is raised again. Resolves when it is
 * done, or cannot be.
 */
export function unraiseThread(threadId: number): Promise<void> {
  return new Promise((resolve) => {
    const child = spawn('chrt', ['--other', '--pid', '0', String(threadId)], { stdio: 'ignore' })
    child.on('error', () => resolve())
    child.on('exit', (code) => {
      if (code === 0) setPriority(threadId, CLONE_NICE)
      resolve()
    })
  })
}

/** Makes the calling thread yield to I/O threads. Any thread may do this to itself. */
export function lowerThisThread(): void {
  setThisThread(CPU_THREAD_NICE)
}

/**
 * Makes the calling thread, which becomes a clone, yield to everything: a guest runs already, maybe on this very host, and
 * is not to notice. Only where `restoreThisThread` can take it back, which needs the privilege that `raiseThread` needs.
 */
export function yieldThisThread(): void {
  setThisThread(CLONE_NICE)
}

export function restoreThisThread(): void {
  setThisThread(0)
}

function setThisThread(nice: number): void {
  try {
    const threadId = Number(readlinkSync('/proc/thread-self').split('/').at(-1))
    setPriority(threadId, nice)
  } catch {
    // Where threads cannot be told apart, the guest is only less considerate.
  }
}
