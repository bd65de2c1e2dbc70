/** Runs a program to its end and says how long that took. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'

export interface TimedRun {
  readonly seconds: number
  readonly stderr: string
}

/** From start to exit. Throws an Error with the program's own words when it fails or takes longer than `timeoutMs`. */
export async function timeProcess(
  command: string,
  args: readonly string[],
  timeoutMs: number,
): Promise<TimedRun> {
  const startedMs = performance.now()
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs)
  try {
    const [status, signal] = await once(child, 'close')
    const seconds = (performance.now() - startedMs) / 1000
    if (status !== 0)
      throw new Error(`${command} ${args.join(' ')} ended with ${signal ?? status}: ${stderr.trim()}`)
    return { seconds, stderr }
  } finally {
    clearTimeout(timer)
  }
}
