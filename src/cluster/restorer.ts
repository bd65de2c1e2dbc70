/**
 * Brings every virtual machine whose primary runs on this host to the state that is wished of it, unasked. The deciding is
 * `src/redundancy/restoration.ts`; here it meets clocks, replicas, the store and other hosts.
 */
import { UnderstudyError } from '../errors.ts'
import type { PlacementHost } from '../redundancy/placement.ts'
import type { Step, Wish } from '../redundancy/reconcile.ts'
import {
  type Action,
  Restoration,
  type RestorationEffect,
  type RestorationEvent,
  type SeenMachine,
} from '../redundancy/restoration.ts'
import { LOOK_MS } from '../redundancy/timing.ts'
import type { ReplicaStatus } from '../replica/status.ts'

export interface RestorerParts {
  /** The replicas of this host. */
  replicas(): Promise<readonly ReplicaStatus[]>
  /** The hosts that answer. */
  hosts(): Promise<readonly PlacementHost[]>
  /** What is wished of a machine; null when the cluster does not know it (any more). */
  wish(vm: string): Promise<Wish | null>
  /** The wish for places is met: forget it. */
  met(vm: string, met: { readonly primary: boolean; readonly backup: boolean }): Promise<void>
  /** Each resolves when the step has begun. */
  clone(vm: string, to: string): Promise<void>
  unprotect(vm: string): Promise<void>
  failover(vm: string): Promise<void>
  /** For the event history: a step that is taken, or that cannot be. */
  decided(vm: string, step: Step): void
  failed(vm: string, step: Step, error: unknown): void
}

export class Restorer {
  readonly #failureDomain: string
  readonly #parts: RestorerParts
  readonly #restoration = new Restoration()
  readonly #timer: NodeJS.Timeout
  /** What is being gathered or taken now. */
  readonly #underway = new Set<Promise<void>>()
  #ended = false

  /** `failureDomain` is that of this host. */
  constructor(failureDomain: string, parts: RestorerParts) {
    this.#failureDomain = failureDomain
    this.#parts = parts
    this.#timer = setInterval(() => this.look(), LOOK_MS)
  }

  /** Something has happened. */
  look(): void {
    this.#handle({ kind: 'look' })
  }

  /** Resolves when nothing is under way any more. */
  async end(): Promise<void> {
    this.#ended = true
    clearInterval(this.#timer)
    await Promise.all(this.#underway)
  }

  #handle(event: RestorationEvent): void {
    if (this.#ended) return
    for (const effect of this.#restoration.handle(event, performance.now())) this.#perform(effect)
  }

  #perform(effect: RestorationEffect): void {
    switch (effect.kind) {
      case 'gather':
        return this.#follow(this.#gather())
      case 'met':
        return this.#follow(this.#parts.met(effect.vm, effect).catch(() => {}))
      case 'decided':
        return this.#parts.decided(effect.vm, effect.step)
      case 'take':
        return this.#follow(this.#take(effect.number, effect.vm, effect.step))
    }
  }

  #follow(work: Promise<void>): void {
    this.#underway.add(work)
    void work.finally(() => this.#underway.delete(work))
  }

  async #gather(): Promise<void> {
    const seen = await this.#see().catch(() => null)
    this.#handle({ kind: 'gathered', seen })
  }

  async #see(): Promise<Extract<RestorationEvent, { kind: 'gathered' }>['seen']> {
    const replicas = await this.#parts.replicas()
    const live = replicas.filter(({ role, phase }) => role === 'primary' && phase === 'running')
    const machines = await Promise.all(live.map((machine) => this.#seen(machine)))
    const isKnown = machines.some(({ wish }) => wish !== null)
    return { machines, hosts: isKnown ? await this.#parts.hosts() : [] }
  }

  async #seen(machine: ReplicaStatus): Promise<SeenMachine> {
    const { vm, host, protection, memoryBytes } = machine
    return {
      ...{ vm, host, protection, memoryBytes },
      failureDomain: this.#failureDomain,
      backupHost: peerHost(machine),
      cloningTo: machine.clone?.host ?? null,
      wish: await this.#parts.wish(vm).catch(() => null),
    }
  }

  async #take(number: number, vm: string, step: Action): Promise<void> {
    try {
      if (step.kind === 'clone') await this.#parts.clone(vm, step.to)
      else await this.#parts[step.kind](vm)
    } catch (error) {
      this.#parts.failed(vm, step, error)
      this.#handle({ kind: 'failed', number, isOccupied: isOccupied(error) })
      return
    }
    this.#handle({ kind: 'taken', number })
  }
}

/** A replica's name begins with its host. */
function peerHost({ peer }: ReplicaStatus): string | null {
  return peer === null ? null : peer.split('/')[0]
}

/** The host has no place now, and may have one soon: these codes come from its agent (src/cluster/replica-processes.ts). */
function isOccupied(error: unknown): boolean {
  return error instanceof UnderstudyError && (error.code === 'VM_EXISTS' || error.code === 'HOST_FULL')
}
