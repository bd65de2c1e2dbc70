import { ALL_RULES, type Rules } from '../ft/rules.ts'
import { Checkers, type Violation } from './checkers.ts'
import { Connection, type Endpoint } from './connection.ts'
import { Network, type Weather } from './network.ts'
import { Outside } from './outside.ts'
import { Random } from './random.ts'
import { type Clone, type Effect, type Place, type ProtocolEvent, Replica } from './replica.ts'
import { Scheduler } from './scheduler.ts'
import { SimulatedStore, StoreAccess } from './store.ts'

/** What is switched off to show that the checkers would notice. */
export interface Injection extends Rules {
  /** Gateway and disk refuse who has an older generation. */
  readonly fence: boolean
}

export const NO_INJECTION: Injection = { ...ALL_RULES, fence: true }

/** Short, so that much happens in little time. */
const SLICE_MS = [2, 12] as const

/** How a world is made; everything else comes from its seed. */
export interface WorldOptions {
  readonly seed: number
  readonly injection?: Injection
  /** Called with each step, for reading along. */
  readonly trace?: (line: string) => void
  /** Fixed instead of drawn from the seed: for tests of one hazard. */
  readonly weather?: Weather
  readonly storeLatencyMsMax?: number
  readonly storeLostAnswers?: number
  readonly replayMsMax?: number
  /** Shortest and longest slice. */
  readonly sliceMs?: readonly [number, number]
  /** What several worlds have in common, each with a machine of its own; made for this one alone otherwise. */
  readonly shared?: SharedWorld
  /** Called after each step of a replica; the checkers have seen it. */
  readonly onStep?: (replica: Replica, event: ProtocolEvent, effects: readonly Effect[]) => void
}

/** Time, chance, and what hosts share. */
export interface SharedWorld {
  readonly scheduler: Scheduler
  readonly random: Random
  readonly network: Network
  readonly storeAccess: StoreAccess
}

/**
 * Hosts, network, store, gateway, disk and clients, all from one seed. Faults are not its business: see `faults.ts`
 * for those drawn from the seed, and the tests for those placed by hand.
 */
export class World {
  readonly scheduler: Scheduler
  readonly random: Random
  readonly network: Network
  readonly store: SimulatedStore
  readonly outside: Outside
  readonly checkers: Checkers
  readonly replicas: Replica[] = []
  readonly rules: Rules
  readonly #trace: ((line: string) => void) | null
  /** Longest that a backup takes for a frame. */
  replayMsMax: number
  readonly #sliceMs: readonly [number, number]
  readonly #onStep: WorldOptions['onStep'] | null

  constructor(options: WorldOptions) {
    const injection = options.injection ?? NO_INJECTION
    const { shared } = options
    this.scheduler = shared?.scheduler ?? new Scheduler()
    this.random = shared?.random ?? new Random(options.seed)
    this.rules = injection
    this.#trace = options.trace ?? null
    this.network =
      shared?.network ?? new Network(this.scheduler, this.random, options.weather ?? drawWeather(this.random))
    this.store = new SimulatedStore(shared?.storeAccess ?? this.#drawStoreAccess(options))
    this.#sliceMs = options.sliceMs ?? SLICE_MS
    this.#onStep = options.onStep ?? null
    this.replayMsMax = options.replayMsMax ?? this.random.magnitude(0.5, 25)
    this.checkers = new Checkers(this.store, this.replicas, injection)
    this.outside = new Outside(this.scheduler, this.random, this.network, this.checkers, injection.fence)
  }

  #drawStoreAccess(options: WorldOptions): StoreAccess {
    const latencyMsMax = options.storeLatencyMsMax ?? this.random.magnitude(1, 200)
    const lostAnswers = options.storeLostAnswers ?? this.random.pick([0, 0, 0.1, 0.4])
    return new StoreAccess(this.scheduler, this.random, latencyMsMax, lostAnswers)
  }

  /** Adds a replica; it does nothing before its `start`. */
  add(name: string, role: 'primary' | 'backup', begin: 'protected' | 'alone' = 'protected'): Replica {
    const replica = new Replica(this, name, role, begin)
    this.replicas.push(replica)
    return replica
  }

  /** Adds a replica at a place; it does nothing before its `start`. */
  addAt(
    place: Place,
    name: string,
    role: 'primary' | 'backup',
    options: { readonly begin?: 'protected' | 'alone'; readonly clone?: Clone } = {},
  ): Replica {
    const { begin = 'protected', clone = null } = options
    const replica = new Replica(this, name, role, begin, clone, place)
    this.replicas.push(replica)
    return replica
  }

  /**
   * Clones the machine of a primary that is alone onto another host, which starts when the copy is there. Null when it is not
   * alone, or has a clone under way.
   */
  clone(of: Replica, transferMs: number): Replica | null {
    const name = `clone-${this.replicas.length}`
    const clone = of.cloneFor(name)
    if (clone === null) return null
    const replica = new Replica(this, name, 'backup', 'protected', clone)
    this.replicas.push(replica)
    of.meet(replica)
    replica.process.timer(transferMs, () => replica.start(of))
    return replica
  }

  /** The usual beginning: a primary, its backup, and clients. */
  startPair(): { readonly primary: Replica; readonly backup: Replica } {
    const primary = this.add('primary', 'primary')
    const backup = this.add('backup', 'backup')
    primary.start(backup)
    backup.start(primary)
    this.outside.open()
    return { primary, backup }
  }

  /** Lets time pass; stops at the first violation. */
  run(forMs: number): Violation | null {
    this.scheduler.run(this.scheduler.nowMs + forMs, () => this.checkers.violation !== null)
    return this.checkers.violation
  }

  /** Cuts heal, the store answers, and no new fault begins; pauses under way still last as long as they last. */
  calmDown(): void {
    this.note('--- calm')
    this.network.calmDown()
    this.store.calmDown()
    for (const replica of this.replicas) replica.pauseAtNextEffect(null)
  }

  /** A replica took a step; checked before its effects are carried out. */
  stepped(replica: Replica, event: ProtocolEvent, effects: readonly Effect[]): void {
    this.checkers.stepped(replica, event, effects)
    this.#onStep?.(replica, event, effects)
    if (this.#trace === null) return
    const quiet = event.kind === 'tick' || event.kind === 'heartbeat'
    if (quiet && effects.every(({ kind }) => kind === 'send-heartbeat' || kind === 'heartbeat-refused'))
      return
    this.note(`${replica.name}: ${describe(event)} -> ${effects.map(describe).join(', ') || 'nothing'}`)
  }

  /** A line of the trace. */
  note(text: string): void {
    this.#trace?.(`${this.scheduler.nowMs.toFixed(2).padStart(9)} ${text}`)
  }

  /** Opens a stream; false when the other side cannot be reached. */
  connect(from: Endpoint, to: Endpoint): Connection | null {
    const cut = this.network.isCut(from.host, to.host) || this.network.isCut(to.host, from.host)
    if (cut || to.process.dead) return null
    return new Connection(this.network, [from, to])
  }

  sendHeartbeat(from: Endpoint, to: Replica, datagram: Uint8Array): void {
    this.network.datagram(from.host, to.host, to.process, () => to.heartbeat(datagram))
  }

  /** How long the primary's CPU takes for the next frame, unthrottled. */
  sliceMs(): number {
    return this.random.between(...this.#sliceMs)
  }

  /** How long the backup's CPU takes for the next frame. */
  replayMs(): number {
    return this.random.between(0.1, this.replayMsMax)
  }
}

export function drawWeather(random: Random): Weather {
  const rough = random.chance(0.4)
  return {
    latencyMsMin: random.magnitude(0.05, 1),
    latencyMsMax: random.magnitude(1, rough ? 30 : 5),
    loss: rough ? random.between(0, 0.3) : 0,
    duplication: rough ? random.between(0, 0.2) : 0,
    delay: rough ? random.between(0, 0.2) : 0,
  }
}

/** An event or effect in one line: its kind and its plain fields. */
function describe(step: Effect | ProtocolEvent): string {
  const fields: string[] = []
  flatten(step, fields)
  return `${step.kind}(${fields.join(' ')})`
}

function flatten(value: object, fields: string[]): void {
  for (const [key, field] of Object.entries(value)) {
    if (field instanceof Uint8Array) fields.push(`${key}=${field.length}B`)
    else if (typeof field === 'object' && field !== null) flatten(field, fields)
    else if (key !== 'kind' || fields.length > 0) fields.push(`${key}=${field}`)
  }
}
