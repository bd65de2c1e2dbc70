/** Calls the agent of one host: from the command line, and from the agents of other hosts. */
import type { Duplex } from 'node:stream'
import { z } from 'zod'
import { type ControlTarget, callControl, openStream } from '../control/client.ts'
import { type SavedState, savedStateSchema } from '../replica/state-saver.ts'
import { type ReplicaStatus, replicaStatusSchema } from '../replica/status.ts'
import { doneSchema, type HostStatus, hostStatusSchema, type ReplicaOrder } from './agent-api.ts'

/** Starting a replica builds its machine from the image. */
const START_MS_MAX = 60_000
/** On top of what the guest or the disk may take. */
const MARGIN_MS = 10_000
/** A state of some gigabytes goes to a slow disk in this time. */
const SAVE_MS_MAX = 300_000

export class AgentClient {
  readonly #target: ControlTarget

  constructor(target: ControlTarget) {
    this.#target = target
  }

  status(timeoutMs?: number): Promise<HostStatus> {
    const call = { method: 'GET', path: '/v1/host', ...(timeoutMs !== undefined && { timeoutMs }) } as const
    return callControl({ ...this.#target, ...call }, hostStatusSchema)
  }

  start(order: ReplicaOrder): Promise<ReplicaStatus> {
    const call = { method: 'POST', path: '/v1/replicas', body: order, timeoutMs: START_MS_MAX } as const
    return callControl({ ...this.#target, ...call }, replicaStatusSchema)
  }

  async stop(vm: string, graceMs: number): Promise<void> {
    await this.#post(`/v1/replicas/${vm}/stop`, { graceMs }, graceMs + MARGIN_MS)
  }

  async remove(vm: string): Promise<void> {
    const call = { method: 'DELETE', path: `/v1/replicas/${vm}`, timeoutMs: MARGIN_MS } as const
    await callControl({ ...this.#target, ...call }, doneSchema)
  }

  async failover(vm: string): Promise<void> {
    await this.#post(`/v1/replicas/${vm}/failover`)
  }

  /** `body` is what a limit needs. */
  async control(
    vm: string,
    operation: 'pause' | 'resume' | 'limit' | 'restart',
    body?: object,
  ): Promise<void> {
    await this.#post(`/v1/replicas/${vm}/${operation}`, body)
  }

  /** That replica waits for a clone that will not come: it ends, if none has begun to come. */
  async abandon(vm: string, replica: string): Promise<void> {
    await this.#post(`/v1/replicas/${vm}/abandon`, { replica })
  }

  /** Writes the machine into a file on its host, while it runs. */
  save(vm: string, path: string): Promise<SavedState> {
    const call = {
      method: 'POST',
      path: `/v1/replicas/${vm}/save`,
      body: { path },
      timeoutMs: SAVE_MS_MAX,
    } as const
    return callControl({ ...this.#target, ...call }, savedStateSchema)
  }

  /** What is wished of a machine, or of a host, has changed: look at once. */
  async look(): Promise<void> {
    await this.#post('/v1/look')
  }

  /** A terminal on the guest's serial console. */
  console(vm: string, query: string): Promise<Duplex> {
    return openStream(this.#target, `/v1/replicas/${vm}/console${query}`)
  }

  async shutdown(timeoutMs: number): Promise<void> {
    await this.#post('/v1/shutdown', undefined, timeoutMs)
  }

  async #post(path: string, body?: unknown, timeoutMs?: number): Promise<void> {
    const call = { method: 'POST', path, body, ...(timeoutMs !== undefined && { timeoutMs }) } as const
    await callControl({ ...this.#target, ...call }, z.unknown())
  }
}
