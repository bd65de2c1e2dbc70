/**
 * A replica before it is one: a process that has loaded everything and waits to be told which machine it carries. Starting
 * a process and loading takes longer than all that comes afterwards when a machine goes on from a snapshot.
 */
import type { Worker } from 'node:worker_threads'
import { prepareThread } from './cpu.ts'
import { raiseThread } from './priority.ts'

/** The machine of this project; a test may name another. */
export const PRODUCT_MACHINE = new URL(
  `../compiler/create${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`,
  import.meta.url,
)

export interface Standby {
  readonly thread: Worker
  /** Whether this process got real-time scheduling. */
  readonly raised: boolean
}

export async function standBy(): Promise<Standby> {
  const thread = prepareThread(PRODUCT_MACHINE.href)
  return { thread, raised: await raiseThread(process.pid, { inherited: false }) }
}

/** Resolves to the configuration file once the agent names it. The process ends when the agent does before that. */
export function configurationNamed(): Promise<string> {
  return new Promise((resolve) => {
    const orphaned = (): void => process.exit(0)
    process.once('disconnect', orphaned)
    process.once('message', (path) => {
      process.off('disconnect', orphaned)
      // From here on it lives without its agent.
      process.disconnect?.()
      resolve(String(path))
    })
  })
}
