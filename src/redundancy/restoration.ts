/**
 * What an agent does, unasked, for the virtual machines whose primaries run on its host: it looks, decides by `reconcile.ts`,
 * and takes one step of each machine at a time. Pure: the agent's shell and the simulator carry out what it asks for.
 *
 * Looking takes time, and so does a step; both may hang on a host that is gone. So a step of one machine does not hold up
 * the others, what was seen before a step ended says nothing about the time after it, and what another step under way will
 * put on a host counts as if it were there.
 */
import type { PlacementHost } from './placement.ts'
import { type LiveMachine, nextStep, type Step, type Wish } from './reconcile.ts'
import { ALL_REDUNDANCY_RULES, type RedundancyRules } from './rules.ts'
import { AVOID_MS, CLONE_HOST_GONE_MS, OCCUPIED_MS } from './timing.ts'

/** A machine that is live on this host, and what is wished of it; null when the cluster does not know it. */
export interface SeenMachine extends LiveMachine {
  readonly vm: string
  readonly wish: Wish | null
}

/** A step that does something. */
export type Action = Exclude<Step, { kind: 'none' | 'wait' }>

export type RestorationEvent =
  /** Something has happened, or LOOK_MS have passed. */
  | { readonly kind: 'look' }
  /** What was to be gathered: the machines live here, and the hosts that answer; null when that was not to be had. */
  | {
      readonly kind: 'gathered'
      readonly seen: {
        readonly machines: readonly SeenMachine[]
        readonly hosts: readonly PlacementHost[]
      } | null
    }
  /** The step of that number has begun, and shows in what is gathered from now on; or it could not be taken. */
  | { readonly kind: 'taken'; readonly number: number }
  | {
      readonly kind: 'failed'
      readonly number: number
      /** The host still has another replica of the machine, or no memory for one, which may pass soon. */
      readonly isOccupied: boolean
    }

export type RestorationEffect =
  | { readonly kind: 'gather' }
  /** The wish for these places is met: forget it. */
  | { readonly kind: 'met'; readonly vm: string; readonly primary: boolean; readonly backup: boolean }
  /** For the event history: a step that is taken, or that cannot be. Said once. */
  | { readonly kind: 'decided'; readonly vm: string; readonly step: Step }
  /** Answer with `taken` or `failed`. */
  | { readonly kind: 'take'; readonly number: number; readonly vm: string; readonly step: Action }

interface Underway {
  readonly number: number
  readonly vm: string
  readonly memoryBytes: number
  readonly step: Action
}

export class Restoration {
  readonly #rules: RedundancyRules
  #effects: RestorationEffect[] = []
  /** Counts the times that things were gathered; the one under way has this number. */
  #gathers = 0
  #isGathering = false
  /** Something happened while things were gathered, which may not show yet. */
  #isWoken = false
  #steps = 0
  /** By machine. */
  readonly #underway = new Map<string, Underway>()
  /** The first gathering that shows what the last step of a machine has made of it. */
  readonly #shownFrom = new Map<string, number>()
  /** Where each machine was last cloned to, until it is known what came of it. */
  readonly #cloningTo = new Map<string, string>()
  /** Until when a host is avoided for a machine. */
  readonly #avoidedUntilMs = new Map<string, Map<string, number>>()
  /** Since when the host of a machine's clone has not been among those that answer. */
  readonly #goneSinceMs = new Map<string, number>()
  /** What each machine was last said to wait for. */
  readonly #waiting = new Map<string, string>()

  constructor(rules: RedundancyRules = ALL_REDUNDANCY_RULES) {
    this.#rules = rules
  }

  /** Takes one event in at a time that never runs backwards; returns what is to be done, in order. */
  handle(event: RestorationEvent, nowMs: number): RestorationEffect[] {
    this.#effects = []
    switch (event.kind) {
      case 'look':
        this.#look()
        break
      case 'gathered':
        this.#isGathering = false
        if (event.seen !== null) this.#decide(event.seen.machines, event.seen.hosts, nowMs)
        if (this.#isWoken) this.#look()
        break
      case 'taken':
      case 'failed':
        this.#ended(event, nowMs)
    }
    return this.#effects
  }

  /** Hosts at which a clone of this machine has failed a moment ago. */
  avoided(vm: string, nowMs: number): ReadonlySet<string> {
    const until = this.#avoidedUntilMs.get(vm)
    if (until === undefined) return new Set()
    for (const [host, untilMs] of until) if (nowMs >= untilMs) until.delete(host)
    return new Set(until.keys())
  }

  #look(): void {
    this.#isWoken = this.#isGathering
    if (this.#isGathering) return
    this.#isGathering = true
    this.#gathers++
    this.#effects.push({ kind: 'gather' })
  }

  #decide(machines: readonly SeenMachine[], hosts: readonly PlacementHost[], nowMs: number): void {
    this.#giveUpSteps(hosts, nowMs)
    this.#forgetAllBut(new Set(machines.map(({ vm }) => vm)))
    for (const machine of machines) {
      const { vm } = machine
      if (this.#underway.has(vm) || (this.#shownFrom.get(vm) ?? 0) > this.#gathers) continue
      this.#noteOutcome(machine, nowMs)
      const wish = this.#unmet(machine)
      if (wish === null) continue
      const avoid = this.avoided(vm, nowMs)
      const step =
        this.#giveUpClone(machine, hosts, nowMs) ??
        nextStep({ machine, wish, hosts: this.#withPromises(hosts), avoid, rules: this.#rules })
      this.#advance(machine, step)
    }
  }

  /** What was begun for a machine that has left says nothing of it when it comes back. */
  #forgetAllBut(here: ReadonlySet<string>): void {
    for (const memory of [this.#cloningTo, this.#goneSinceMs, this.#waiting]) {
      for (const vm of memory.keys()) if (!here.has(vm) && !this.#underway.has(vm)) memory.delete(vm)
    }
  }

  /** Each placement has to see the ones before, also those that do not show yet. */
  #withPromises(hosts: readonly PlacementHost[]): PlacementHost[] {
    return hosts.map((host) => {
      const promised = [...this.#underway.values()].filter(
        ({ step }) => step.kind === 'clone' && step.to === host.host,
      )
      const promisedBytes = promised.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0)
      return {
        ...host,
        usedBytes: host.usedBytes + promisedBytes,
        replicas: host.replicas + promised.length,
      }
    })
  }

  #advance({ vm, memoryBytes }: SeenMachine, step: Step): void {
    if (step.kind === 'wait') {
      if (this.#waiting.get(vm) !== step.reason) this.#effects.push({ kind: 'decided', vm, step })
      this.#waiting.set(vm, step.reason)
      return
    }
    this.#waiting.delete(vm)
    if (step.kind === 'none') return
    const number = ++this.#steps
    this.#underway.set(vm, { number, vm, memoryBytes, step })
    this.#effects.push({ kind: 'decided', vm, step }, { kind: 'take', number, vm, step })
  }

  #ended(event: Extract<RestorationEvent, { kind: 'taken' | 'failed' }>, nowMs: number): void {
    const underway = [...this.#underway.values()].find(({ number }) => number === event.number)
    // One that was given up meanwhile.
    if (underway === undefined) return
    const { vm, step } = underway
    this.#forget(vm)
    if (step.kind === 'clone' && event.kind === 'taken') this.#cloningTo.set(vm, step.to)
    else if (step.kind === 'clone' && event.kind === 'failed') {
      this.#avoid(vm, step.to, nowMs + (event.isOccupied ? OCCUPIED_MS : AVOID_MS))
    }
    // What follows from it is not waited for.
    this.#look()
  }

  #forget(vm: string): void {
    this.#underway.delete(vm)
    this.#goneSinceMs.delete(vm)
    this.#shownFrom.set(vm, this.#gathers + 1)
  }

  /** An order to a host that is gone meanwhile may stay unanswered for a long time. */
  #giveUpSteps(hosts: readonly PlacementHost[], nowMs: number): void {
    for (const { vm, step } of [...this.#underway.values()]) {
      if (step.kind !== 'clone' || !this.#isGone(vm, step.to, hosts, nowMs)) continue
      this.#forget(vm)
      this.#avoid(vm, step.to, nowMs + AVOID_MS)
      this.#isWoken = true
    }
  }

  /** Nothing comes of a clone whose host is gone, and the connection to it may not tell. */
  #giveUpClone(machine: SeenMachine, hosts: readonly PlacementHost[], nowMs: number): Action | null {
    const { vm, cloningTo } = machine
    if (cloningTo === null || !this.#isGone(vm, cloningTo, hosts, nowMs)) return null
    return { kind: 'unprotect', reason: `${cloningTo} is gone, where it was being cloned to` }
  }

  #isGone(vm: string, host: string, hosts: readonly PlacementHost[], nowMs: number): boolean {
    if (!this.#rules.goneClone) return false
    const answers = hosts.some((other) => other.host === host)
    const sinceMs = answers ? nowMs : (this.#goneSinceMs.get(vm) ?? nowMs)
    if (answers) this.#goneSinceMs.delete(vm)
    else this.#goneSinceMs.set(vm, sinceMs)
    return nowMs - sinceMs >= CLONE_HOST_GONE_MS
  }

  /** What is still wished; null when nothing is known. */
  #unmet({ vm, host, backupHost, wish }: SeenMachine): Wish | null {
    if (wish === null) return null
    const primary = wish.primary === host
    const backup = wish.backup !== null && wish.backup === backupHost
    if (!primary && !backup) return wish
    this.#effects.push({ kind: 'met', vm, primary, backup })
    return { ...wish, primary: primary ? null : wish.primary, backup: backup ? null : wish.backup }
  }

  /** A machine that is still alone after its clone has not got it. */
  #noteOutcome({ vm, protection, backupHost, cloningTo }: SeenMachine, nowMs: number): void {
    if (cloningTo === null) this.#goneSinceMs.delete(vm)
    const to = this.#cloningTo.get(vm)
    if (to === undefined || cloningTo !== null) return
    this.#cloningTo.delete(vm)
    if (protection === 'unprotected' && backupHost === null) this.#avoid(vm, to, nowMs + AVOID_MS)
  }

  #avoid(vm: string, host: string, untilMs: number): void {
    const until = this.#avoidedUntilMs.get(vm) ?? new Map<string, number>()
    until.set(host, untilMs)
    this.#avoidedUntilMs.set(vm, until)
  }
}
