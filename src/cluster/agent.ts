/**
 * The agent of one host: starts replicas, each a process of its own, watches them, and answers for them on its
 * control socket. A replica does not need its agent to live: when the agent dies, its replicas run on, and the
 * next agent finds them by their control sockets.
 */
import type { ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { callControl, openStream } from '../control/client.ts'
import { ControlServer, checked, type Route, type UpgradeRoute } from '../control/server.ts'
import { socketPath } from '../control/socket-path.ts'
import type { ReplicaConfig } from '../replica/config.ts'
import { EventLog } from '../replica/event-log.ts'
import { limitSchema, type ReplicaStatus, replicaStatusSchema } from '../replica/status.ts'
import {
  type HostStatus,
  type ReplicaOrder,
  replicaOrderSchema,
  stopOrderSchema,
  vmNameSchema,
} from './agent-api.ts'
import { endProcess, isAlive, logTail, processOf, rememberProcess, untilReady } from './background.ts'
import { ClusterError } from './errors.ts'
import type { HostLayout } from './layout.ts'
import { StandbyReplica } from './standby-replica.ts'

/** A replica builds its machine from an image of some tens of megabytes before it answers. */
const REPLICA_START_MS_MAX = 30_000

/** A replica that has not ended by itself this long after a power cut is killed. */
const CUT_MS_MAX = 3_000

/** Control sockets answer from memory; one that does not belongs to a stopped or dead process. */
const STATUS_MS_MAX = 1_000

export interface AgentOptions {
  readonly host: string
  readonly address: string
  readonly layout: HostLayout
  readonly storeDirectory: string
  /** Called when the agent was told to end. */
  readonly onShutdown: () => void
}

export class HostAgent {
  readonly #options: AgentOptions
  /** Replicas this agent started itself, by VM. */
  readonly #children = new Map<string, ChildProcess>()
  /** VMs whose replica ends because somebody wished so: its exit is no event. */
  readonly #ending = new Set<string>()
  readonly #standby: StandbyReplica
  #server: ControlServer | null = null

  constructor(options: AgentOptions) {
    this.#options = options
    this.#standby = new StandbyReplica(options.layout)
    mkdirSync(options.layout.vms, { recursive: true, mode: 0o700 })
  }

  async listen(): Promise<void> {
    this.#server = await ControlServer.listen(this.#options.layout.agentSocket, this.#routes(), [
      this.#console(),
    ])
    this.#standby.prepare()
  }

  async close(): Promise<void> {
    await this.#server?.close()
  }

  #routes(): Route[] {
    const vmOf = (params: { readonly [name: string]: string }) => checked(vmNameSchema, params.vm)
    return [
      { method: 'GET', path: '/v1/host', handle: () => this.#status() },
      {
        method: 'POST',
        path: '/v1/replicas',
        handle: ({ body }) => this.#start(checked(replicaOrderSchema, body)),
      },
      {
        method: 'POST',
        path: '/v1/replicas/:vm/stop',
        handle: ({ params, body }) => this.#stop(vmOf(params), checked(stopOrderSchema, body).graceMs),
      },
      ...(['failover', 'pause', 'resume'] as const).map(
        (operation): Route => ({
          method: 'POST',
          path: `/v1/replicas/:vm/${operation}`,
          handle: ({ params }) => this.#operate(vmOf(params), operation),
        }),
      ),
      {
        method: 'POST',
        path: '/v1/replicas/:vm/limit',
        handle: ({ params, body }) => this.#operate(vmOf(params), 'limit', checked(limitSchema, body)),
      },
      { method: 'DELETE', path: '/v1/replicas/:vm', handle: ({ params }) => this.#remove(vmOf(params)) },
      {
        method: 'POST',
        path: '/v1/shutdown',
        handle: async () => {
          await Promise.all(this.#vms().map((vm) => this.#stop(vm, 0)))
          setImmediate(this.#options.onShutdown)
        },
      },
    ]
  }

  /** A terminal on the guest's serial console, passed through to the replica. */
  #console(): UpgradeRoute {
    return {
      path: '/v1/replicas/:vm/console',
      handle: async ({ params, query }, terminal: Duplex) => {
        const vm = checked(vmNameSchema, params.vm)
        const replica = await openStream(this.#socket(vm), `/v1/console?${query}`)
        replica.on('error', () => terminal.destroy())
        replica.on('close', () => terminal.end())
        terminal.on('close', () => replica.destroy())
        terminal.pipe(replica)
        replica.pipe(terminal)
      },
    }
  }

  /** Hands an operation on to the replica here. */
  #operate(vm: string, operation: string, body?: object): Promise<unknown> {
    return callControl(
      { socket: this.#socket(vm), method: 'POST', path: `/v1/${operation}`, ...(body && { body }) },
      z.unknown(),
    )
  }

  async #status(): Promise<HostStatus> {
    const { host, address } = this.#options
    const statuses = await Promise.all(this.#vms().map((vm) => this.#replicaStatus(vm)))
    const replicas = statuses.filter((status) => status !== null)
    return { host, pid: process.pid, address, replicas }
  }

  /** Null when no process answers for this VM here. */
  async #replicaStatus(vm: string): Promise<ReplicaStatus | null> {
    const socket = this.#socket(vm)
    if (!existsSync(socket)) return null
    try {
      return await callControl(
        { socket, method: 'GET', path: '/v1/status', timeoutMs: STATUS_MS_MAX },
        replicaStatusSchema,
      )
    } catch {
      return null
    }
  }

  /** The replica's process, also one that another agent started or that does not answer; null when there is none. */
  #process(vm: string): number | null {
    return processOf(this.#options.layout.vm(vm).pidFile)
  }

  #vms(): string[] {
    return readdirSync(this.#options.layout.vms)
  }

  #socket(vm: string): string {
    return this.#options.layout.vm(vm).controlSocket
  }

  async #start(order: ReplicaOrder): Promise<ReplicaStatus> {
    if (this.#process(order.vm) !== null) {
      throw new ClusterError('VM_EXISTS', `A replica of ${order.vm} runs on ${this.#options.host} already.`)
    }
    const layout = this.#options.layout.vm(order.vm)
    mkdirSync(layout.directory, { recursive: true, mode: 0o700 })
    rmSync(layout.controlSocket, { force: true })
    rmSync(layout.processLog, { force: true })
    const config: ReplicaConfig = {
      ...order,
      host: this.#options.host,
      address: this.#options.address,
      storeDirectory: this.#options.storeDirectory,
      controlSocket: socketPath(layout.controlSocket),
      eventsFile: this.#options.layout.eventsFile,
      logFile: layout.divergedLog,
    }
    writeFileSync(layout.configFile, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 })
    const child = this.#standby.assign(layout, order.machineModule === null)
    if (child.pid !== undefined) rememberProcess(layout.pidFile, child.pid)
    this.#children.set(order.vm, child)
    this.#ending.delete(order.vm)
    child.on('exit', (code, signal) => void this.#exited(order.vm, child, code, signal))
    return await untilReady(child, layout.processLog, REPLICA_START_MS_MAX, () =>
      this.#replicaStatus(order.vm),
    )
  }

  /** A replica that ends by itself has said why in an event of its own; one that was killed could not. */
  async #exited(vm: string, child: ChildProcess, code: number | null, signal: string | null): Promise<void> {
    if (this.#children.get(vm) === child) this.#children.delete(vm)
    if (code === 0 || this.#ending.has(vm)) return
    const { layout, host } = this.#options
    const events = new EventLog(layout.eventsFile, vm, host)
    const detail = signal === null ? logTail(layout.vm(vm).processLog) : ''
    await events.append('exited', { pid: child.pid ?? 0, code, signal, detail })
    await events.close()
  }

  async #stop(vm: string, graceMs: number): Promise<void> {
    const pid = this.#process(vm)
    if (pid === null) return
    const status = await this.#replicaStatus(vm)
    this.#ending.add(vm)
    if (status !== null) {
      await callControl(
        {
          socket: this.#socket(vm),
          method: 'POST',
          path: '/v1/stop',
          body: { graceMs },
          timeoutMs: STATUS_MS_MAX,
        },
        z.unknown(),
      ).catch(() => {})
      const deadlineMs = performance.now() + graceMs + CUT_MS_MAX
      while (isAlive(pid) && performance.now() < deadlineMs) await sleep(20)
    }
    await endProcess(pid, 0)
  }

  async #remove(vm: string): Promise<void> {
    await this.#stop(vm, 0)
    rmSync(this.#options.layout.vm(vm).directory, { recursive: true, force: true })
  }
}
