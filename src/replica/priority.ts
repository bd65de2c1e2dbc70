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

/** Makes the calling thread yield to I/O threads. Any thread may do this to itself. */
export function lowerThisThread(): void {
  try {
    const threadId = Number(readlinkSync('/proc/thread-self').split('/').at(-1))
    setPriority(threadId, CPU_THREAD_NICE)
  } catch {
    // Where threads cannot be told apart, the guest is only less considerate.
  }
}
