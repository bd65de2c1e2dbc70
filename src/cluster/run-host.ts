/**
 * The life of a host agent's process: `understudy up` starts it in the background, `understudy host` is it in the
 * foreground. Ending it leaves its replicas running.
 */
import { existsSync, mkdirSync } from 'node:fs'
import { logError, processLog } from '../replica/process-log.ts'
import { loadIdentity } from '../security/identity.ts'
import { checkReach } from '../security/links.ts'
import { openStore } from '../store/open.ts'
import { HostAgent } from './agent.ts'
import { ClusterLayout } from './layout.ts'

export interface HostOptions {
  readonly directory: string
  readonly host: string
  /** URL of the store. */
  readonly store: string
  /** Where replicas and, beyond loopback, the agent listen. */
  readonly address: string
  /** Where the agent answers other hosts; 0 for any. */
  readonly apiPort: number
  /** Its own name when nothing else is known. */
  readonly failureDomain: string | null
  /** For guests; null for what the machine has. */
  readonly memoryBytes: number | null
}

/** Resolves when the control socket answers. */
export async function runHost(options: HostOptions): Promise<HostAgent> {
  const { directory, host, store: storeUrl } = options
  const log = processLog({ part: 'agent', host })
  const crash = (error: unknown): void => {
    logError(log, 'fatal', error)
    process.exit(1)
  }
  process.on('uncaughtException', crash)
  process.on('unhandledRejection', crash)
  const cluster = new ClusterLayout(directory)
  const layout = cluster.host(host)
  mkdirSync(layout.directory, { recursive: true, mode: 0o700 })
  const identityDirectory = existsSync(cluster.identity) ? cluster.identity : null
  const identity = identityDirectory === null ? null : loadIdentity(identityDirectory)
  // Before anything is opened that would keep the process from ending.
  checkReach(options.address, identity)
  const end = async (reason: string): Promise<void> => {
    await agent.close()
    log.info({ reason }, 'agent ends')
    process.exit(0)
  }
  const agent = new HostAgent({
    log,
    host,
    address: options.address,
    apiPort: options.apiPort,
    failureDomain: options.failureDomain ?? host,
    memoryBytes: options.memoryBytes,
    cluster,
    layout,
    store: await openStore(storeUrl),
    storeUrl,
    identity,
    identityDirectory,
    onShutdown: () => void end('shutdown'),
  })
  await agent.listen()
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void end(signal))
  log.info({ address: options.address }, 'agent runs')
  return agent
}
