/** Starts and stops a local cluster: one agent process for each host, and the gateway outside them all. */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { extname, join } from 'node:path'
import { z } from 'zod'
import { socketPath } from '../control/socket-path.ts'
import { GatewayClient } from '../net/gateway-control.ts'
import { raiseThread } from '../replica/priority.ts'
import { openDirectoryStore } from '../store/directory.ts'
import { AgentClient } from './agent-client.ts'
import { endProcess, isAlive, processOf, startBackground, untilReady } from './background.ts'
import { ClusterError } from './errors.ts'
import { writeGatewayRecord } from './gateway-record.ts'
import { ClusterLayout, type HostLayout } from './layout.ts'

/** More hosts than one machine can stand for. */
export const HOSTS_MAX = 16

const START_MS_MAX = 15_000

/** An agent stops its replicas first; what takes longer is killed. */
const AGENT_END_MS_MAX = 10_000
const GATEWAY_END_MS_MAX = 3_000

/** The hosts of a local cluster share the loopback interface; nothing listens beyond it. */
const ADDRESS = '127.0.0.1'

const extension = extname(import.meta.url)
const AGENT_MODULE = new URL(`./agent-main${extension}`, import.meta.url)
const GATEWAY_MODULE = new URL(`../net/gateway-main${extension}`, import.meta.url)

const clusterStateSchema = z.object({
  version: z.literal(2),
  /** URL of the store. */
  store: z.string(),
  /** Agents that run from this directory. */
  hosts: z.array(z.object({ host: z.string(), pid: z.int() })),
  /** The gateway that runs from this directory. */
  gateway: z.object({ pid: z.int() }).nullable(),
})

export type ClusterState = z.infer<typeof clusterStateSchema>

/** The cluster that `up` started in this directory, or null. Throws CLUSTER_STATE_INVALID. */
export function readClusterState(layout: ClusterLayout): ClusterState | null {
  if (!existsSync(layout.stateFile)) return null
  try {
    return clusterStateSchema.parse(JSON.parse(readFileSync(layout.stateFile, 'utf8')))
  } catch (error) {
    throw new ClusterError('CLUSTER_STATE_INVALID', `${layout.stateFile} is not a cluster's state.`, {
      cause: error,
    })
  }
}

export function gatewayControlAddress(layout: ClusterLayout): string {
  return `unix:${join(layout.gateway, 'gateway.sock')}`
}

/**
 * Starts a cluster of `count` hosts; of one that is up already, the hosts whose agents are gone. Throws CLUSTER_ALREADY_UP
 * when nothing is missing.
 */
export async function clusterUp(directory: string, count: number): Promise<ClusterState> {
  if (!Number.isInteger(count) || count < 1 || count > HOSTS_MAX) {
    throw new ClusterError('HOST_COUNT_INVALID', `${count} hosts cannot be started.`)
  }
  const layout = new ClusterLayout(directory)
  const before = readClusterState(layout)
  if (before !== null && processesOf(before).some((pid) => isAlive(pid))) return repair(layout, before)
  const names = Array.from({ length: count }, (_, i) => `host-${i + 1}`)
  // The longest path of all: better now than when the first replica starts.
  socketPath(layout.host(names[0]).vm('x'.repeat(40)).controlSocket)
  mkdirSync(layout.gateway, { recursive: true, mode: 0o700 })
  const store = await openDirectoryStore(layout.store, { create: true })
  const started: number[] = []
  try {
    const gateway = await startGateway(layout, started)
    await writeGatewayRecord(store, { control: gatewayControlAddress(layout) })
    const hosts = await Promise.all(names.map((host) => startAgent(layout, host, started)))
    const state: ClusterState = { version: 2, store: layout.store, hosts, gateway }
    writeClusterState(layout, state)
    return state
  } catch (error) {
    await Promise.all(started.map((pid) => endProcess(pid, GATEWAY_END_MS_MAX)))
    throw error
  } finally {
    await store.close()
  }
}

/** Starts the agents that are gone: they find their replicas again, if those live. */
async function repair(layout: ClusterLayout, before: ClusterState): Promise<ClusterState> {
  const isGone = before.hosts.filter(({ pid }) => !isAlive(pid))
  if (isGone.length === 0) {
    throw new ClusterError('CLUSTER_ALREADY_UP', `A cluster runs in ${layout.directory}.`)
  }
  const again = await Promise.all(isGone.map(({ host }) => startAgent(layout, host)))
  const hosts = before.hosts.map((host) => again.find((other) => other.host === host.host) ?? host)
  const state = { ...before, hosts }
  writeClusterState(layout, state)
  return state
}

function processesOf({ gateway, hosts }: ClusterState): number[] {
  return [...(gateway === null ? [] : [gateway]), ...hosts].map(({ pid }) => pid)
}

async function startGateway(layout: ClusterLayout, started: number[]): Promise<{ pid: number }> {
  const logFile = join(layout.gateway, 'gateway.log')
  const child = startBackground({ module: GATEWAY_MODULE, args: ['--dir', layout.gateway], logFile })
  if (child.pid !== undefined) started.push(child.pid)
  const client = new GatewayClient(gatewayControlAddress(layout))
  const { pid } = await untilReady(child, logFile, START_MS_MAX, () => client.info().catch(() => null))
  // Every frame of every guest passes here, and through the passt processes that it starts.
  await raiseThread(pid, { inherited: true })
  return { pid }
}

/** Starts the agent of a host, also again after it was killed. */
export async function startAgent(
  layout: ClusterLayout,
  host: string,
  started: number[] = [],
): Promise<{ host: string; pid: number }> {
  const { directory, agentLog, agentSocket } = layout.host(host)
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  rmSync(agentSocket, { force: true })
  const child = startBackground({
    module: AGENT_MODULE,
    args: ['--host', host, '--address', ADDRESS, '--dir', layout.directory, '--store', layout.store],
    logFile: agentLog,
  })
  if (child.pid !== undefined) started.push(child.pid)
  const { pid } = await untilReady(child, agentLog, START_MS_MAX, () =>
    new AgentClient({ socket: agentSocket })
      .status()
      // Whoever starts a cluster uses it at once.
      .then((status) => (status.isMember ? status : null))
      .catch(() => null),
  )
  return { host, pid }
}

/** Renamed into place, so that no reader finds half of it. */
export function writeClusterState(layout: ClusterLayout, state: ClusterState): void {
  const temporary = `${layout.stateFile}.new`
  writeFileSync(temporary, `${JSON.stringify(state, null, 2)}\n`, { mode: 0o600 })
  renameSync(temporary, layout.stateFile)
}

function orphans(host: HostLayout): number[] {
  if (!existsSync(host.vms)) return []
  return readdirSync(host.vms)
    .map((vm) => host.vm(vm))
    .map(({ pidFile }) => processOf(pidFile))
    .filter((pid) => pid !== null)
}

/** Stops every virtual machine and every process. Does nothing when the cluster is not up. */
export async function clusterDown(directory: string): Promise<boolean> {
  const layout = new ClusterLayout(directory)
  const state = readClusterState(layout)
  if (state === null) return false
  await Promise.all(
    state.hosts.map(async ({ host, pid }) => {
      const agent = new AgentClient({ socket: layout.host(host).agentSocket })
      await agent.shutdown(AGENT_END_MS_MAX).catch(() => {})
      if (isAlive(pid)) await endProcess(pid, AGENT_END_MS_MAX)
      // Replicas live without their agent; one whose agent was killed is still to be ended.
      await Promise.all(orphans(layout.host(host)).map((orphan) => endProcess(orphan, 0)))
    }),
  )
  const { gateway } = state
  if (gateway !== null && isAlive(gateway.pid)) await endProcess(gateway.pid, GATEWAY_END_MS_MAX)
  rmSync(layout.stateFile, { force: true })
  return true
}
