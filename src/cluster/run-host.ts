/** `understudy host`: an agent in the foreground, and what a command line in the same directory needs to find the cluster. */
import { mkdirSync } from 'node:fs'
import { hostname } from 'node:os'
import { openStore } from '../store/open.ts'
import { HostAgent } from './agent.ts'
import { ClusterError } from './errors.ts'
import { checkHostName } from './host-record.ts'
import { ClusterLayout } from './layout.ts'
import { readClusterState, writeClusterState } from './lifecycle.ts'

export interface HostOptions {
  readonly directory: string
  /** Null for the name of the machine. */
  readonly name: string | null
  /** URL of the store; null for the one of the last time. */
  readonly store: string | null
  /** Where replicas and, beyond loopback, the agent listen. */
  readonly address: string
  readonly failureDomain: string | null
  readonly memoryBytes: number | null
}

/** Resolves when the agent runs; the process ends on SIGTERM or SIGINT, and leaves its replicas running. */
export async function runHost(options: HostOptions): Promise<void> {
  const host = options.name ?? hostname().split('.')[0].toLowerCase()
  checkHostName(host)
  const layout = new ClusterLayout(options.directory)
  const before = readClusterState(layout)
  const storeUrl = options.store ?? before?.store
  if (storeUrl === undefined) {
    throw new ClusterError(
      'CLUSTER_NOT_UP',
      `${options.directory} belongs to no cluster yet: --store is needed.`,
    )
  }
  mkdirSync(layout.host(host).directory, { recursive: true, mode: 0o700 })
  const agent = new HostAgent({
    host,
    address: options.address,
    failureDomain: options.failureDomain ?? host,
    memoryBytes: options.memoryBytes,
    layout: layout.host(host),
    store: await openStore(storeUrl),
    storeUrl,
    identityDirectory: null,
    onShutdown: () => void agent.close().then(() => process.exit(0)),
  })
  await agent.listen()
  const others = (before?.hosts ?? []).filter((other) => other.host !== host)
  writeClusterState(layout, {
    version: 2,
    store: storeUrl,
    hosts: [...others, { host, pid: process.pid }],
    gateway: before?.gateway ?? null,
  })
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => void agent.close().then(() => process.exit(0)))
  }
  await agent.joined
  process.stdout.write(`host ${host} (pid ${process.pid}) is in the cluster of ${storeUrl}\n`)
}
