/** A host of the simulated cluster, and the replicas that live on it. */
import { ADMISSION_MS_MAX, CLONE_AWAITED_MS_MAX } from '../../ft/timing.ts'
import { HostClock, Process } from '../process.ts'
import type { Replica } from '../replica.ts'
import type { SimulatedAgent } from './agent.ts'
import type { CloneTransfer } from './transfer.ts'
import type { ClusterWorld } from './world.ts'

/** What is queued leaves before the process of a replica that has ended exits. */
const EXIT_MS_MAX = 500

export interface HostShape {
  readonly name: string
  readonly failureDomain: string
  /** For guests. */
  readonly memoryBytes: number
}

/** A replica's process: from its start, perhaps without a machine yet, to its exit. */
export class Resident {
  readonly vm: string
  readonly name: string
  readonly host: SimulatedHost
  readonly process: Process
  readonly memoryBytes: number
  /** Null while it waits for the state of the machine that it shall be a clone of. */
  replica: Replica | null = null
  /** While its machine is being cloned onto another host. */
  sending: CloneTransfer | null = null
  /** While it is being made a clone. */
  receiving: CloneTransfer | null = null
  readonly #world: ClusterWorld

  constructor(world: ClusterWorld, host: SimulatedHost, vm: string, name: string, memoryBytes: number) {
    this.#world = world
    this.host = host
    this.vm = vm
    this.name = name
    this.memoryBytes = memoryBytes
    this.process = new Process(world.scheduler, world.random, host.clock)
  }

  /** It listens for its state, and ends when that does not come in time. */
  awaitState(): void {
    if (!this.#world.injection.awaited) return
    this.process.timer(CLONE_AWAITED_MS_MAX, () => {
      if (this.receiving === null) this.breakOff()
    })
    this.process.timer(CLONE_AWAITED_MS_MAX + ADMISSION_MS_MAX, () => this.breakOff())
  }

  /** Nothing comes of the clone: the process ends, unless it is bound already. */
  breakOff(): void {
    if (this.replica?.wasBound === true || this.replica?.serves === true) return
    this.replica?.step({ kind: 'operation', operation: 'stop' })
    this.exit()
  }

  /** Whoever ordered the clone says that it will not come. */
  abandon(): void {
    if (this.receiving === null && this.replica === null) this.breakOff()
  }

  /** The process has nothing more to do. */
  exit(): void {
    this.process.timer(this.#world.random.between(1, EXIT_MS_MAX), () => this.#gone())
  }

  #gone(): void {
    if (this.process.dead) return
    if (this.replica === null) this.process.die()
    else this.replica.kill(false)
    this.#closed(false)
    this.host.forget(this)
  }

  /** Killed from outside; `silently` when the host dies with it. */
  kill(silently: boolean): void {
    if (this.process.dead) return
    this.#world.note(`--- ${this.name} of ${this.vm} dies`)
    if (this.replica !== null) {
      this.#world.checker.killed(this.replica)
      this.replica.kill(silently)
    } else this.process.die()
    this.#closed(silently)
    this.host.forget(this)
  }

  #closed(silently: boolean): void {
    if (silently) return
    this.sending?.sourceClosed()
    this.receiving?.cloneClosed()
    this.host.somethingHappened()
  }
}

export class SimulatedHost {
  readonly name: string
  readonly failureDomain: string
  readonly memoryBytes: number
  readonly clock: HostClock
  readonly #world: ClusterWorld
  readonly #residents = new Map<string, Resident>()
  #agent: SimulatedAgent | null = null
  #isUp = true
  #boots = 1

  constructor(world: ClusterWorld, { name, failureDomain, memoryBytes }: HostShape) {
    this.#world = world
    this.name = name
    this.failureDomain = failureDomain
    this.memoryBytes = memoryBytes
    this.clock = new HostClock(world.scheduler, world.random)
  }

  get isUp(): boolean {
    return this.#isUp
  }

  /** Another number after it has lost its power and come back: then it knows of no connection that it had. */
  get boots(): number {
    return this.#boots
  }

  /** Null while it is dead. */
  get agent(): SimulatedAgent | null {
    return this.#agent
  }

  /** Processes that are there, also those about to exit. */
  get residents(): readonly Resident[] {
    return [...this.#residents.values()]
  }

  resident(vm: string): Resident | null {
    return this.#residents.get(vm) ?? null
  }

  get usedBytes(): number {
    return this.residents.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0)
  }

  /** Starts a replica's process. */
  admit(vm: string, name: string, memoryBytes: number): Resident {
    const resident = new Resident(this.#world, this, vm, name, memoryBytes)
    this.#residents.set(vm, resident)
    this.#world.checker.admitted(this)
    return resident
  }

  forget(resident: Resident): void {
    if (this.#residents.get(resident.vm) === resident) this.#residents.delete(resident.vm)
  }

  /** A replica has written an event, or has exited: the agent looks. */
  somethingHappened(): void {
    const agent = this.#agent
    if (agent !== null) this.#world.scheduler.after(this.#world.random.between(1, 50), () => agent.look())
  }

  startAgent(): void {
    if (this.#isUp && this.#agent === null) this.#agent = this.#world.newAgent(this)
  }

  killAgent(): void {
    this.#agent?.die(!this.#isUp)
    this.#agent = null
  }

  /** Power is lost: nobody is told. */
  die(): void {
    this.#isUp = false
    this.killAgent()
    for (const resident of this.residents) resident.kill(true)
  }

  /** It comes back, empty. */
  return(): void {
    if (this.#isUp) return
    this.#isUp = true
    this.#boots++
    this.startAgent()
  }

  pause(forMs: number): void {
    this.#agent?.process.pause(forMs)
    for (const { process } of this.residents) process.pause(forMs)
  }
}
