/**
 * One build at a time, across processes and across hosts that share the directory.
 *
 * The lock is held by flock(1) on our behalf: the kernel gives it back when that process ends, and that process
 * ends when the pipe from us closes, however we die. So no lock is ever left behind to be judged stale.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { ImageError } from './errors.ts'

const STATUS_TAKEN = 75

/**
 * Runs `work` while holding the lock file at `path`, which is created if need be.
 *
 * @param onWait called once if another process holds the lock.
 * @throws ImageError `IMAGE_TOOL_MISSING` without flock(1), `IMAGE_COMMAND_FAILED` if the file cannot be locked.
 */
export async function withLock<T>(path: string, onWait: () => void, work: () => Promise<T>): Promise<T> {
  let release = await acquire(path, ['--nonblock', '--conflict-exit-code', String(STATUS_TAKEN)])
  if (release === null) {
    onWait()
    release = await acquire(path, [])
  }
  if (release === null) throw new ImageError('IMAGE_COMMAND_FAILED', `flock cannot lock ${path}.`)
  try {
    return await work()
  } finally {
    await release()
  }
}

/** What releases the lock, or null if another holds it and `options` say not to wait. */
async function acquire(path: string, options: readonly string[]): Promise<(() => Promise<void>) | null> {
  // `cat` answers the first line it is sent, which says that the lock is held, and ends with its input.
  const holder = spawn('flock', [...options, path, 'cat'], { stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = new Promise<number | null>((resolve, reject) => {
    holder.once('error', (cause: NodeJS.ErrnoException) => {
      reject(
        cause.code === 'ENOENT'
          ? new ImageError('IMAGE_TOOL_MISSING', 'There is no program flock on this machine.', { cause })
          : cause,
      )
    })
    holder.once('exit', (code) => resolve(code))
  })
  // It may end, refused, before it reads.
  holder.stdin.on('error', () => undefined)
  holder.stdin.write('held\n')
  const status = await Promise.race([ended, once(holder.stdout, 'data').then(() => 'held' as const)])
  if (status === 'held') {
    return async () => {
      holder.stdin.end()
      await ended
    }
  }
  if (status === STATUS_TAKEN) return null
  throw new ImageError('IMAGE_COMMAND_FAILED', `flock failed on ${path} with status ${status}.`)
}
