/**
 * A cluster: hosts with agents, the store's leases and wishes, and virtual machines, each a world of its own (`../world.ts`) whose
 * replicas live on these hosts. All from one seed; time, network and the way to the store are shared.
 */
import type { Violation } from '../checkers.ts'
import { Network } from '../network.ts'
import { Random } from '../random.ts'
import type { Effect, Replica } from '../replica.ts'
import { Scheduler } from '../scheduler.ts'
import { StoreAccess } from '../store.ts'
import { type drawWeather, NO_INJECTION, World } from '../world.ts'
import { SimulatedAgent } from './agent.ts'
import { ClusterChecker } from './checker.ts'
import { type HostShape, type Resident, SimulatedHost } from './host.ts'
import type { ClusterInjection } from './injection.ts'
import { type LeaseKind, Registry } from './registry.ts'

/** Longer than in a world of one machine: what is looked at takes seconds. */
const SLICE_MS = [10, 40] as const
const TRANSFER_MS_MIN = 20
const TRANSFER_MS_MAX = 1_000

export interface ClusterShape {
  readonly hosts: readonly HostShape[]
  readonly leases: LeaseKind
  /** How fast everything is. */
  readonly weather: ReturnType<typeof drawWeather>
  readonly storeLatencyMsMax: number
  readonly storeLostAnswers: number
}

export interface VmShape {
  readonly name: string
  readonly memoryBytes: number
  readonly primary: SimulatedHost
  /** Null for a machine that shall not be protected. */
  readonly backup: SimulatedHost | null
}

export interface SimulatedVm {
  readonly name: string
  readonly memoryBytes: number
  readonly world: World
}

export class ClusterWorld {
  readonly scheduler = new Scheduler()
  readonly random: Random
  readonly network: Network
  readonly storeAccess: StoreAccess
  readonly registry: Registry
  readonly injection: ClusterInjection
  readonly hosts: readonly SimulatedHost[]
  readonly checker: ClusterChecker
  readonly #vms = new Map<string, SimulatedVm>()
  readonly #trace: ((line: string) => void) | null
  #agents = 0
  #replicas = 0

  constructor(
    seed: number,
    shapeOf: (random: Random) => ClusterShape,
    injection: ClusterInjection,
    trace: ((line: string) => void) | null,
  ) {
    this.random = new Random(seed)
    this.injection = injection
    this.#trace = trace
    const { hosts, leases, weather, storeLatencyMsMax, storeLostAnswers } = shapeOf(this.random)
    this.network = new Network(this.scheduler, this.random, weather)
    this.storeAccess = new StoreAccess(this.scheduler, this.random, storeLatencyMsMax, storeLostAnswers)
    this.registry = new Registry(this.scheduler, leases)
    this.hosts = hosts.map((shape) => new SimulatedHost(this, shape))
    this.checker = new ClusterChecker(this)
    for (const host of this.hosts) host.startAgent()
  }

  get vms(): readonly SimulatedVm[] {
    return [...this.#vms.values()]
  }

  vm(name: string): SimulatedVm {
    return this.#vms.get(name)!
  }

  host(name: string): SimulatedHost {
    return this.hosts.find((host) => host.name === name)!
  }

  newAgent(host: SimulatedHost): SimulatedAgent {
    const agent = new SimulatedAgent(this, host, ++this.#agents)
    // Not within the constructor of this world: the agent looks around.
    this.scheduler.after(0, () => agent.process.deliver(() => agent.start()))
    return agent
  }

  /** A replica's name begins with its host. */
  newName(host: SimulatedHost): string {
    return `${host.name}/${++this.#replicas}`
  }

  /** Starts a virtual machine and its clients. */
  run({ name, memoryBytes, primary, backup }: VmShape): void {
    const world = new World({
      seed: 0,
      injection: NO_INJECTION,
      shared: this,
      sliceMs: SLICE_MS,
      onStep: (replica, _event, effects) => this.#stepped(name, replica, effects),
      ...(this.#trace === null ? {} : { trace: (line) => this.#trace?.(`${line} [${name}]`) }),
    })
    this.#vms.set(name, { name, memoryBytes, world })
    this.registry.wishes.set(name, { protect: backup !== null, primary: null, backup: null })
    const first = this.#add(world, name, memoryBytes, primary, 'primary', backup === null)
    const second = backup === null ? null : this.#add(world, name, memoryBytes, backup, 'backup', false)
    first.start(second)
    second?.start(first)
    world.outside.open()
  }

  #add(
    world: World,
    vm: string,
    memoryBytes: number,
    host: SimulatedHost,
    role: 'primary' | 'backup',
    isAlone: boolean,
  ): Replica {
    const resident = host.admit(vm, this.newName(host), memoryBytes)
    const place = { host: host.name, process: resident.process }
    const replica = world.addAt(place, resident.name, role, { begin: isAlone ? 'alone' : 'protected' })
    resident.replica = replica
    return replica
  }

  /** How long the state of a machine is on its way. */
  transferMs(): number {
    return this.random.magnitude(TRANSFER_MS_MIN, TRANSFER_MS_MAX)
  }

  residentOf(vm: string, replica: Replica): Resident | null {
    const resident = this.host(replica.host).resident(vm)
    return resident?.replica === replica ? resident : null
  }

  #stepped(vm: string, replica: Replica, effects: readonly Effect[]): void {
    for (const effect of effects) {
      if (effect.kind === 'report') {
        const { type } = effect.report
        this.checker.reported(this.vm(vm), replica, effect.report)
        const sending = this.residentOf(vm, replica)?.sending ?? null
        // As the shell does: the protocol has taken the clone, or has given it up.
        if (type === 'protected' || type === 'not-admitted') {
          this.scheduler.after(0, () => sending?.admitted(type === 'protected'))
        }
        this.host(replica.host).somethingHappened()
      } else if (effect.kind === 'end') {
        this.residentOf(vm, replica)?.exit()
      }
    }
  }

  get violation(): Violation | null {
    for (const { world } of this.vms) if (world.checkers.violation !== null) return world.checkers.violation
    return this.checker.violation
  }

  /** Lets time pass; stops at the first violation, or when `until` says so. */
  advance(forMs: number, until: () => boolean = () => false): void {
    this.scheduler.run(this.scheduler.nowMs + forMs, () => this.violation !== null || until())
  }

  /** Cuts heal, the store answers. */
  calmDown(): void {
    this.note('--- calm')
    this.network.calmDown()
    this.storeAccess.calmDown()
    for (const { world } of this.vms) for (const replica of world.replicas) replica.pauseAtNextEffect(null)
  }

  note(text: string): void {
    this.#trace?.(`${this.scheduler.nowMs.toFixed(2).padStart(9)} ${text}`)
  }
}
