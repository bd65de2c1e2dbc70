/** Starts and stops a local cluster: one agent process for each host, and the gateway outside them all. */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { extname, join } from 'node:path'
import { z } from 'zod'
import { callControl } from '../control/client.ts'
import { socketPath } from '../control/socket-path.ts'
import { GatewayClient } from '../net/gateway-control.ts'
import { raiseThread } from '../replica/priority.ts'
import { openDirectoryStore } from '../store/directory.ts'
import { doneSchema, hostStatusSchema } from './agent-api.ts'
import { endProcess, isAlive, processOf, startBackground, untilReady } from './background.ts'
import { ClusterError } from './errors.ts'
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
  version: z.literal(1),
  hosts: z.array(z.object({ host: z.string(), pid: z.int() })),
  gateway: z.object({ pid: z.int() }),
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

/** Starts a cluster of `count` hosts. Throws CLUSTER_ALREADY_UP when any process of one runs in this directory. */
export async function clusterUp(directory: string, count: number): Promise<ClusterState> {
  if (!Number.isInteger(count) || count < 1 || count > HOSTS_MAX) {
    throw new ClusterError('HOST_COUNT_INVALID', `${count} hosts cannot be started.`)
  }
  const layout = new ClusterLayout(directory)
  const before = readClusterState(layout)
  if (before !== null && [before.gateway, ...before.hosts].some(({ pid }) => isAlive(pid))) {
    throw new ClusterError('CLUSTER_ALREADY_UP', `A cluster runs in ${directory}.`)
  }
  const names = Array.from({ length: count }, (_, i) => `host-${i + 1}`)
  // The longest path of all: better now than when the first replica starts.
  socketPath(layout.host(names[0]).vm('x'.repeat(40)).controlSocket)
  mkdirSync(layout.gateway, { recursive: true, mode: 0o700 })
  await (await openDirectoryStore(layout.store, { create: true })).close()
  const started: number[] = []
  try {
    const gateway = await startGateway(layout, started)
    const hosts = await Promise.all(names.map((host) => startAgent(layout, host, started)))
    const state: ClusterState = { version: 1, hosts, gateway }
    writeClusterState(layout, state)
    return state
  } catch (error) {
    await Promise.all(started.map((pid) => endProcess(pid, GATEWAY_END_MS_MAX)))
    throw error
  }
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

async function startAgent(
  layout: ClusterLayout,
  host: string,
  started: number[],
): Promise<{ host: string; pid: number }> {
  const { directory, agentLog, agentSocket } = layout.host(host)
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  rmSync(agentSocket, { force: true })
  const child = startBackground({
    module: AGENT_MODULE,
    args: [host, ADDRESS, layout.directory],
    logFile: agentLog,
  })
  if (child.pid !== undefined) started.push(child.pid)
  const { pid } = await untilReady(child, agentLog, START_MS_MAX, () =>
    callControl({ socket: agentSocket, method: 'GET', path: '/v1/host' }, hostStatusSchema).catch(() => null),
  )
  return { host, pid }
}

/** Renamed into place, so that no reader finds half of it. */
function writeClusterState(layout: ClusterLayout, state: ClusterState): void {
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
      await callControl(
        {
          socket: layout.host(host).agentSocket,
          method: 'POST',
          path: '/v1/shutdown',
          timeoutMs: AGENT_END_MS_MAX,
        },
        doneSchema,
      ).catch(() => {})
      if (isAlive(pid)) await endProcess(pid, AGENT_END_MS_MAX)
      // Replicas live without their agent; one whose agent was killed is still to be ended.
      await Promise.all(orphans(layout.host(host)).map((orphan) => endProcess(orphan, 0)))
    }),
  )
  if (isAlive(state.gateway.pid)) await endProcess(state.gateway.pid, GATEWAY_END_MS_MAX)
  rmSync(layout.stateFile, { force: true })
  return true
}
