/**
 * Brings every virtual machine whose primary runs on this host to the state that is wished of it, unasked: looks when
 * something has happened, decides by `reconcile.ts`, and carries out one step at a time.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { ReplicaStatus } from '../replica/status.ts'
import type { PlacementHost } from './placement.ts'
import { nextStep, type Step, type Wish } from './reconcile.ts'

/** Looks this often although nothing was heard: something may have been missed, or has been waited for. */
const LOOK_MS = 2_000

/** A host at which a clone failed is left alone for so long, if there are others or not: what was wrong may still be. */
const AVOID_MS = 10_000

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
  clone(machine: ReplicaStatus, to: string): Promise<void>
  unprotect(vm: string): Promise<void>
  failover(vm: string): Promise<void>
  /** For the event history: a step that is taken, or that cannot be. */
  decided(vm: string, step: Step): void
  failed(vm: string, step: Step, error: unknown): void
}

export class Restorer {
  readonly #host: string
  readonly #parts: RestorerParts
  readonly #ending = new AbortController()
  /** Where each machine was last cloned to, and since when a host is avoided for it. */
  readonly #cloningTo = new Map<string, string>()
  readonly #avoided = new Map<string, Map<string, number>>()
  readonly #waiting = new Map<string, string>()
  #woken = Promise.withResolvers<void>()
  #done: Promise<void>

  constructor(host: string, parts: RestorerParts) {
    this.#host = host
    this.#parts = parts
    this.#done = this.#run()
  }

  /** Something has happened. */
  look(): void {
    this.#woken.resolve()
  }

  async end(): Promise<void> {
    this.#ending.abort()
    this.look()
    await this.#done
  }

  async #run(): Promise<void> {
    const { signal } = this.#ending
    while (!signal.aborted) {
      await Promise.race([this.#woken.promise, sleep(LOOK_MS, undefined, { signal }).catch(() => {})])
      this.#woken = Promise.withResolvers()
      if (!signal.aborted) await this.#round().catch(() => {})
    }
  }

  async #round(): Promise<void> {
    const replicas = await this.#parts.replicas()
    const live = replicas.filter(({ role, phase }) => role === 'primary' && phase === 'running')
    for (const machine of live) this.#noteOutcome(machine)
    const inNeed = await Promise.all(
      live.map(async (machine) => ({ machine, wish: await this.#wish(machine) })),
    )
    if (inNeed.every(({ wish }) => wish === null)) return
    const hosts = await this.#parts.hosts()
    // One after the other: each placement has to see the one before.
    for (const { machine, wish } of inNeed) {
      if (wish !== null) await this.#advance(machine, wish, hosts)
    }
  }

  /** Null when nothing is known, or nothing can be done now. */
  async #wish(machine: ReplicaStatus): Promise<Wish | null> {
    if (machine.clone !== null) return null
    const wish = await this.#parts.wish(machine.vm).catch(() => null)
    if (wish === null) return null
    const primary = wish.primary === machine.host
    const backup = wish.backup !== null && wish.backup === peerHost(machine)
    if (!primary && !backup) return wish
    await this.#parts.met(machine.vm, { primary, backup }).catch(() => {})
    return { ...wish, primary: primary ? null : wish.primary, backup: backup ? null : wish.backup }
  }

  async #advance(machine: ReplicaStatus, wish: Wish, hosts: readonly PlacementHost[]): Promise<void> {
    const { vm, protection, memoryBytes } = machine
    const cloning = machine.clone !== null
    const live = { host: this.#host, memoryBytes, protection, backupHost: peerHost(machine), cloning }
    const step = nextStep({ machine: live, wish, hosts, avoid: this.#avoidedFor(vm) })
    if (step.kind === 'wait') {
      // Said once, not every time it is looked at.
      if (this.#waiting.get(vm) !== step.reason) this.#parts.decided(vm, step)
      this.#waiting.set(vm, step.reason)
      return
    }
    this.#waiting.delete(vm)
    if (step.kind === 'none') return
    this.#parts.decided(vm, step)
    try {
      await this.#take(machine, step)
    } catch (error) {
      if (step.kind === 'clone') this.#avoid(vm, step.to)
      this.#parts.failed(vm, step, error)
    }
    // What follows from it is not waited for.
    this.look()
  }

  async #take(machine: ReplicaStatus, step: Exclude<Step, { kind: 'none' | 'wait' }>): Promise<void> {
    if (step.kind === 'unprotect') return this.#parts.unprotect(machine.vm)
    if (step.kind === 'failover') return this.#parts.failover(machine.vm)
    await this.#parts.clone(machine, step.to)
    this.#cloningTo.set(machine.vm, step.to)
  }

  /** A machine that is still alone after its clone has not got it. */
  #noteOutcome(machine: ReplicaStatus): void {
    const to = this.#cloningTo.get(machine.vm)
    if (to === undefined || machine.clone !== null) return
    this.#cloningTo.delete(machine.vm)
    if (machine.protection === 'unprotected') this.#avoid(machine.vm, to)
  }

  #avoid(vm: string, host: string): void {
    const avoided = this.#avoided.get(vm) ?? new Map<string, number>()
    avoided.set(host, performance.now())
    this.#avoided.set(vm, avoided)
  }

  #avoidedFor(vm: string): ReadonlySet<string> {
    const avoided = this.#avoided.get(vm) ?? new Map<string, number>()
    for (const [host, sinceMs] of avoided) if (performance.now() - sinceMs > AVOID_MS) avoided.delete(host)
    return new Set(avoided.keys())
  }
}

/** A replica's name begins with its host. */
export function peerHost({ peer }: ReplicaStatus): string | null {
  return peer === null ? null : peer.split('/')[0]
}
