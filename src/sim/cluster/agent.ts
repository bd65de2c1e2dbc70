/**
 * The agent of a host in the simulated cluster: the shell around `src/redundancy`, as src/cluster/agent.ts and
 * src/cluster/restorer.ts are in the real one. A process of its own; its replicas live without it.
 */
import { Primary } from '../../ft/primary.ts'
import type { PlacementHost } from '../../redundancy/placement.ts'
import {
  type Action,
  Restoration,
  type RestorationEffect,
  type RestorationEvent,
  type SeenMachine,
} from '../../redundancy/restoration.ts'
import { HOST_STATUS_MS_MAX, LOOK_MS } from '../../redundancy/timing.ts'
import { Process } from '../process.ts'
import { type Answer, callAgent, callReplica, failed } from './call.ts'
import type { Resident, SimulatedHost } from './host.ts'
import { SimulatedMembership } from './membership.ts'
import { CloneTransfer } from './transfer.ts'
import type { ClusterWorld } from './world.ts'

/** A replica that is paused does not tell its agent how it is (src/cluster/replica-processes.ts). */
const REPLICA_STATUS_MS_MAX = 1_000
/** The store's answer is waited for no longer. */
const STORE_MS_MAX = 5_000
/** From the order to start a replica until it listens. */
const START_MS_MIN = 20
const START_MS_MAX = 400
const START_LOOK_MS = 25
const START_ANSWER_MS_MAX = 60_000
const CPUS = 4

/** What an agent says of its host. */
type HostReport = Omit<PlacementHost, 'draining'>

export class SimulatedAgent {
  readonly host: SimulatedHost
  readonly name: string
  readonly process: Process
  readonly restoration: Restoration
  readonly membership: SimulatedMembership
  readonly #world: ClusterWorld
  readonly #onClose = new Set<() => void>()

  constructor(world: ClusterWorld, host: SimulatedHost, incarnation: number) {
    this.#world = world
    this.host = host
    this.name = `agent-${incarnation} of ${host.name}`
    this.process = new Process(world.scheduler, world.random, host.clock)
    this.restoration = new Restoration(world.injection)
    const record = { host: host.name, incarnation }
    const client = { name: this.name, host: host.name, process: this.process }
    this.membership = new SimulatedMembership(client, record, world.storeAccess, world.registry)
  }

  start(): void {
    this.membership.keep()
    this.#lookNowAndThen()
  }

  #lookNowAndThen(): void {
    this.look()
    this.process.timer(LOOK_MS, () => this.#lookNowAndThen())
  }

  look(): void {
    this.process.deliver(() => this.#handle({ kind: 'look' }))
  }

  /** Called when the process dies while its host lives. */
  onClose(listener: () => void): void {
    this.#onClose.add(listener)
  }

  die(silently: boolean): void {
    this.process.die()
    if (!silently) for (const listener of this.#onClose) listener()
  }

  #handle(event: RestorationEvent): void {
    for (const effect of this.restoration.handle(event, this.process.clockMs)) this.#perform(effect)
  }

  #perform(effect: RestorationEffect): void {
    const { storeAccess, registry } = this.#world
    switch (effect.kind) {
      case 'gather':
        this.#gather()
        return
      case 'met': {
        const { vm, primary, backup } = effect
        const change = { ...(primary && { primary: null }), ...(backup && { backup: null }) }
        storeAccess.ask(
          this.#client,
          () => registry.wish(vm, change),
          () => {},
        )
        return
      }
      case 'decided':
        this.#world.note(`${this.host.name}: ${effect.vm}: ${JSON.stringify(effect.step)}`)
        return
      case 'take':
        this.#take(effect.vm, effect.step, (answer) => {
          if (answer.ok) this.#handle({ kind: 'taken', number: effect.number })
          else {
            this.#world.note(`${this.host.name}: ${effect.vm}: ${effect.step.kind}: ${answer.failure}`)
            const isOccupied = answer.failure === 'VM_EXISTS' || answer.failure === 'HOST_FULL'
            this.#handle({ kind: 'failed', number: effect.number, isOccupied })
          }
        })
    }
  }

  get #client() {
    return { name: this.name, host: this.host.name, process: this.process }
  }

  // --- what is to be seen ---

  #gather(): void {
    const gathered = (seen: Extract<RestorationEvent, { kind: 'gathered' }>['seen']) =>
      this.#handle({ kind: 'gathered', seen })
    this.#statuses((residents) => {
      const machines = residents.flatMap((resident) => machineOf(resident) ?? [])
      if (machines.length === 0) {
        gathered({ machines: [], hosts: [] })
        return
      }
      this.#fromStore((stored) => {
        if (stored === null) gathered(null)
        else {
          const wished = machines.map((machine) => ({
            ...machine,
            wish: stored.wishes.get(machine.vm) ?? null,
          }))
          this.#hosts(stored.hosts, stored.draining, (hosts) => gathered({ machines: wished, hosts }))
        }
      })
    })
  }

  /** The replicas that answer. */
  #statuses(done: (residents: readonly Resident[]) => void): void {
    const { residents } = this.host
    const answering = residents.filter(({ process }) => process.up)
    if (answering.length === residents.length) done(answering)
    else this.process.timer(REPLICA_STATUS_MS_MAX, () => done(answering))
  }

  #fromStore(
    done: (
      stored: {
        readonly wishes: ReadonlyMap<string, NonNullable<SeenMachine['wish']>>
        readonly hosts: readonly string[]
        readonly draining: ReadonlySet<string>
      } | null,
    ) => void,
  ): void {
    const { storeAccess, registry } = this.#world
    let isSettled = false
    const read = () => ({
      leases: registry.leases(),
      wishes: new Map(registry.wishes),
      draining: new Set(registry.draining),
    })
    const settle = (stored: ReturnType<typeof read> | 'unreachable') => {
      if (isSettled) return
      isSettled = true
      if (stored === 'unreachable') done(null)
      else {
        const held = stored.leases.filter((lease) => this.membership.mayBeHeld(lease))
        done({ ...stored, hosts: held.map(({ host }) => host).sort() })
      }
    }
    storeAccess.ask(this.#client, read, settle)
    this.process.timer(STORE_MS_MAX, () => settle('unreachable'))
  }

  /** The hosts among these whose agents answer. */
  #hosts(
    names: readonly string[],
    draining: ReadonlySet<string>,
    done: (hosts: readonly PlacementHost[]) => void,
  ): void {
    const reports = new Map<string, HostReport | null>()
    const report = (name: string, answer: Answer<HostReport>) => {
      reports.set(name, answer.ok ? answer.value : null)
      if (reports.size < names.length) return
      const answered = names.flatMap((host) => reports.get(host) ?? [])
      done(answered.map((host) => ({ ...host, draining: draining.has(host.host) })))
    }
    if (names.length === 0) done([])
    for (const name of names) {
      callAgent<HostReport>(
        this.#world,
        this,
        this.#world.host(name),
        HOST_STATUS_MS_MAX,
        (agent, answer) => agent.report((value) => answer({ ok: true, value })),
        (answer) => report(name, answer),
      )
    }
  }

  /** What it says when it is asked. */
  report(done: (report: HostReport) => void): void {
    const { name, failureDomain, memoryBytes } = this.host
    this.#statuses((residents) =>
      done({
        host: name,
        failureDomain,
        memoryBytes,
        usedBytes: residents.reduce((sum, resident) => sum + resident.memoryBytes, 0),
        cpus: CPUS,
        replicas: residents.length,
      }),
    )
  }

  // --- what is to be done ---

  #take(vm: string, step: Action, done: (answer: Answer<null>) => void): void {
    if (step.kind === 'clone') this.#clone(vm, this.#world.host(step.to), done)
    else callReplica(this, this.host.resident(vm), (resident) => operate(resident, step.kind), done)
  }

  /** Starts a replica on another host and has the machine that runs here, alone, cloned onto it. */
  #clone(vm: string, to: SimulatedHost, done: (answer: Answer<null>) => void): void {
    const name = this.#world.newName(to)
    callAgent<null>(
      this.#world,
      this,
      to,
      START_ANSWER_MS_MAX,
      (agent, answer) => agent.startReplica(vm, name, answer),
      (started) => {
        if (!started.ok) {
          done(started)
          return
        }
        const order = (resident: Resident) => this.#orderClone(resident, to, name)
        callReplica(this, this.host.resident(vm), order, (begun) => {
          if (!begun.ok) this.#abandon(vm, to, name)
          done(begun)
        })
      },
    )
  }

  #orderClone(resident: Resident, to: SimulatedHost, name: string): boolean {
    const machine = machineOf(resident)
    if (machine?.protection !== 'unprotected' || resident.sending !== null) return false
    new CloneTransfer(this.#world, resident, to, name)
    return true
  }

  #abandon(vm: string, to: SimulatedHost, name: string): void {
    callAgent<null>(
      this.#world,
      this,
      to,
      10_000,
      (agent, answer) => {
        const waiting = agent.host.resident(vm)
        if (waiting?.name === name) waiting.process.deliver(() => waiting.abandon())
        answer({ ok: true, value: null })
      },
      () => {},
    )
  }

  /** Starts a replica on this host that waits for the state of a machine. */
  startReplica(vm: string, name: string, answer: (answer: Answer<null>) => void): void {
    const { host } = this
    const { memoryBytes } = this.#world.vm(vm)
    if (host.resident(vm) !== null) {
      answer(failed('VM_EXISTS'))
      return
    }
    if (this.#world.injection.hostMemory && host.usedBytes + memoryBytes > host.memoryBytes) {
      answer(failed('HOST_FULL'))
      return
    }
    const resident = host.admit(vm, name, memoryBytes)
    const startMs = this.#world.random.between(START_MS_MIN, START_MS_MAX)
    let isReady = false
    resident.process.timer(startMs, () => {
      isReady = true
      resident.awaitState()
    })
    this.#untilReady(resident, () => isReady, answer)
  }

  #untilReady(resident: Resident, isReady: () => boolean, answer: (answer: Answer<null>) => void): void {
    if (resident.process.dead) answer(failed('refused'))
    else if (isReady()) answer({ ok: true, value: null })
    else this.process.timer(START_LOOK_MS, () => this.#untilReady(resident, isReady, answer))
  }
}

/** What a replica says of the machine that is live in it; null when none is (src/replica/primary-shell.ts). */
export function machineOf(resident: Resident): Omit<SeenMachine, 'wish'> | null {
  const { replica, vm, host, memoryBytes, sending } = resident
  if (replica === null || !replica.alive || !(replica.protocol instanceof Primary)) return null
  const { state, backup } = replica.protocol.status(0)
  if (state !== 'protected' && state !== 'closing' && state !== 'alone') return null
  return {
    vm,
    host: host.name,
    failureDomain: host.failureDomain,
    memoryBytes,
    protection: state === 'protected' ? 'protected' : 'unprotected',
    backupHost: backup === null ? null : backup.split('/')[0]!,
    cloningTo: sending === null ? null : sending.to.name,
  }
}

function operate(resident: Resident, operation: 'unprotect' | 'failover'): boolean {
  const machine = machineOf(resident)
  if (operation === 'unprotect' && resident.sending !== null) resident.sending.cancel()
  else if (operation === 'failover' && machine?.protection !== 'protected') return false
  else resident.replica!.step({ kind: 'operation', operation })
  return true
}
