/**
 * The replicas of one host, each a process of its own: starts and watches them, and talks to them. A replica does not need
 * its agent to live: when the agent dies, its replicas run on, and the next agent finds them by their control sockets.
 */
import type { ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { z } from 'zod'
import { callControl } from '../control/client.ts'
import { socketPath } from '../control/socket-path.ts'
import { type ReplicaConfig, readReplicaConfig } from '../replica/config.ts'
import { EventLog } from '../replica/event-log.ts'
import { type ReplicaStatus, replicaStatusSchema } from '../replica/status.ts'
import type { ReplicaOrder } from './agent-api.ts'
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

export interface ReplicaProcessesOptions {
  readonly log: Logger
  readonly host: string
  readonly address: string
  readonly layout: HostLayout
  /** For guests. */
  readonly memoryBytes: number
  /** The store's URL. */
  readonly store: string
  /** This host's identity; null on loopback only. */
  readonly identityDirectory: string | null
}

export class ReplicaProcesses {
  readonly #options: ReplicaProcessesOptions
  /** Replicas this agent started itself, by VM. */
  readonly #children = new Map<string, ChildProcess>()
  /** VMs whose replica ends because somebody wished so: its exit is no event. */
  readonly #ending = new Set<string>()
  readonly #standby: StandbyReplica

  constructor(options: ReplicaProcessesOptions) {
    this.#options = options
    this.#standby = new StandbyReplica(options.layout)
    mkdirSync(options.layout.vms, { recursive: true, mode: 0o700 })
  }

  /** Gets a process ready for the next machine. */
  prepare(): void {
    this.#standby.prepare()
  }

  async statuses(): Promise<ReplicaStatus[]> {
    const statuses = await Promise.all(this.vms().map((vm) => this.status(vm)))
    return statuses.filter((status) => status !== null)
  }

  /** Null when no process answers for this VM here. */
  async status(vm: string): Promise<ReplicaStatus | null> {
    const socket = this.socket(vm)
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

  /** What the replica of this VM was started with. Throws CONFIG_INVALID. */
  config(vm: string): ReplicaConfig {
    return readReplicaConfig(this.#options.layout.vm(vm).configFile)
  }

  /** All VMs that have, or had, a replica here. */
  vms(): string[] {
    return readdirSync(this.#options.layout.vms)
  }

  socket(vm: string): string {
    return this.#options.layout.vm(vm).controlSocket
  }

  async call(vm: string, path: string, body?: unknown): Promise<void> {
    await this.ask(vm, path, z.unknown(), { body })
  }

  /** Throws VM_NOT_RUNNING when there is no replica of it here. */
  async ask<T>(
    vm: string,
    path: string,
    answer: z.ZodType<T>,
    options: { readonly body?: unknown; readonly timeoutMs?: number } = {},
  ): Promise<T> {
    const socket = this.socket(vm)
    if (!existsSync(socket)) {
      throw new ClusterError('VM_NOT_RUNNING', `${vm} has no replica on ${this.#options.host}.`)
    }
    return callControl({ socket, method: 'POST', path, ...options }, answer)
  }

  /**
   * Throws VM_EXISTS, or HOST_FULL: who places replicas knows what was here a moment ago, and others place some, too.
   */
  async start(order: ReplicaOrder): Promise<ReplicaStatus> {
    if (this.#process(order.vm) !== null) {
      throw new ClusterError('VM_EXISTS', `A replica of ${order.vm} runs on ${this.#options.host} already.`)
    }
    const freeBytes = this.#options.memoryBytes - this.#usedBytes()
    if (order.memoryBytes > freeBytes) {
      const detail = `${order.memoryBytes} bytes are wanted, ${freeBytes} are free`
      throw new ClusterError('HOST_FULL', `${this.#options.host} has no memory for ${order.vm}: ${detail}.`)
    }
    const layout = this.#options.layout.vm(order.vm)
    mkdirSync(layout.directory, { recursive: true, mode: 0o700 })
    rmSync(layout.controlSocket, { force: true })
    rmSync(layout.processLog, { force: true })
    const config: ReplicaConfig = {
      ...order,
      host: this.#options.host,
      address: this.#options.address,
      store: this.#options.store,
      identityDirectory: this.#options.identityDirectory,
      controlSocket: socketPath(layout.controlSocket),
      eventsFile: this.#options.layout.eventsFile,
      logFile: layout.divergedLog,
    }
    writeFileSync(layout.configFile, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 })
    const child = this.#standby.assign(layout, order.machineModule === null)
    if (child.pid !== undefined) rememberProcess(layout.pidFile, child.pid)
    const { vm, replica, role, generation } = order
    this.#options.log.info({ vm, replica, role, generation, child: child.pid }, 'replica starts')
    this.#children.set(order.vm, child)
    this.#ending.delete(order.vm)
    child.on('exit', (code, signal) => void this.#exited(order.vm, child, code, signal))
    return await untilReady(child, layout.processLog, REPLICA_START_MS_MAX, () => this.status(order.vm))
  }

  async stop(vm: string, graceMs: number): Promise<void> {
    const pid = this.#process(vm)
    if (pid === null) return
    const status = await this.status(vm)
    this.#ending.add(vm)
    if (status !== null) {
      await this.ask(vm, '/v1/stop', z.unknown(), { body: { graceMs }, timeoutMs: STATUS_MS_MAX }).catch(
        () => {},
      )
      const deadlineMs = performance.now() + graceMs + CUT_MS_MAX
      while (isAlive(pid) && performance.now() < deadlineMs) await sleep(20)
    }
    await endProcess(pid, 0)
  }

  async remove(vm: string): Promise<void> {
    await this.stop(vm, 0)
    rmSync(this.#options.layout.vm(vm).directory, { recursive: true, force: true })
  }

  /** Memory of all guests whose replicas are there, whether they answer or not. */
  #usedBytes(): number {
    const present = this.vms().filter((vm) => this.#process(vm) !== null)
    return present.reduce((sum, vm) => sum + this.config(vm).memoryBytes, 0)
  }

  /** The replica's process, also one that another agent started or that does not answer; null when there is none. */
  #process(vm: string): number | null {
    return processOf(this.#options.layout.vm(vm).pidFile)
  }

  /** A replica that ends by itself has said why in an event of its own; one that was killed could not. */
  async #exited(vm: string, child: ChildProcess, code: number | null, signal: string | null): Promise<void> {
    if (this.#children.get(vm) === child) this.#children.delete(vm)
    if (code === 0 || this.#ending.has(vm)) return
    const { layout, host, log } = this.#options
    log.error({ vm, child: child.pid, code, signal }, 'replica process ended')
    const events = new EventLog(layout.eventsFile, vm, host)
    const detail = signal === null ? logTail(layout.vm(vm).processLog) : ''
    await events.append('exited', { pid: child.pid ?? 0, code, signal, detail })
    await events.close()
  }
}
