/**
 * What is done to a cluster in a test of partitions: rounds of faults, drawn from a seed. Pure: the same seed gives the same plan.
 *
 * Faults name their victims by what these are for the virtual machine when the round begins, so that each seed hits what it means
 * to hit wherever the machine went before. A pair masks one failure: a fault that takes a host's memory away comes alone, all
 * others may come together, for they take nothing away that does not come back.
 */
import { Random } from '../src/sim/random.ts'

/** `spare`: a host that carries nothing of the machine; with two hosts only it is the backup's. */
export type Place = 'primary' | 'backup' | 'spare' | 'store' | 'gateway'

/** `there`: only frames from `a` to `b` are lost; `back`: only those from `b` to `a`. */
export type Way = 'both' | 'there' | 'back'

export type Fault =
  | { readonly kind: 'cut'; readonly a: Place; readonly b: Place; readonly way: Way }
  /** A host is cut off from all others and the gateway; with `keepsStore` it can still ask the arbiter. */
  | { readonly kind: 'isolate'; readonly at: Place; readonly way: Way; readonly keepsStore: boolean }
  | { readonly kind: 'slow'; readonly at: Place; readonly delayMs: number; readonly lossShare: number }
  /** SIGSTOP of every process of a host. */
  | { readonly kind: 'pause'; readonly at: Place }
  /** kill -9 of every process of a host; its kernel lives. */
  | { readonly kind: 'crash'; readonly at: Place }
  /** A host is dead at once and silently. */
  | { readonly kind: 'power-cut'; readonly at: Place }

export interface TimedFault {
  readonly fault: Fault
  /** After the beginning of the round. */
  readonly startMs: number
  /** Until it is undone; a crashed host is started again then. */
  readonly forMs: number
}

export interface Plan {
  readonly seed: number
  readonly rounds: readonly (readonly TimedFault[])[]
}

/** From what TCP does not notice to what every detector does, and to leases of the store that run out. */
const FAULT_MS_MIN = 100
const FAULT_MS_MAX = 5_000
/** A process that is stopped for longer is no other case, but a longer test. */
const PAUSE_MS_MAX = 3_000
/** Faults of one round overlap more often than not. */
const START_MS_MAX = 1_000
const FAULTS_MAX = 3
/** As many rounds with a lost host as teach something; the others are cheaper. */
const LOSS_CHANCE = 0.4

const HOSTS: readonly Place[] = ['primary', 'backup', 'spare']
const WAYS: readonly Way[] = ['both', 'there', 'back']
/** What talks to each other, the more important ones more often. */
const LINES: readonly (readonly [Place, Place])[] = [
  ['primary', 'backup'],
  ['primary', 'backup'],
  ['primary', 'backup'],
  ['primary', 'store'],
  ['primary', 'store'],
  ['backup', 'store'],
  ['backup', 'store'],
  ['primary', 'gateway'],
  ['backup', 'gateway'],
  ['primary', 'spare'],
  ['spare', 'store'],
]

export function planRounds(seed: number, rounds: number): Plan {
  const random = new Random(seed)
  return { seed, rounds: Array.from({ length: rounds }, () => drawRound(random)) }
}

function drawRound(random: Random): TimedFault[] {
  if (random.chance(LOSS_CHANCE)) {
    const kind = random.chance(0.5) ? 'crash' : 'power-cut'
    // At once: the machine is known to be protected at the beginning of a round.
    return [{ ...timed(random, { kind, at: random.pick(HOSTS) }, FAULT_MS_MAX), startMs: 0 }]
  }
  return Array.from({ length: random.whole(1, FAULTS_MAX) }, () => {
    const fault = drawHarmless(random)
    return timed(random, fault, fault.kind === 'pause' ? PAUSE_MS_MAX : FAULT_MS_MAX)
  })
}

function drawHarmless(random: Random): Fault {
  const kind = random.pick(['cut', 'cut', 'cut', 'isolate', 'slow', 'pause', 'pause'] as const)
  switch (kind) {
    case 'isolate':
      return { kind, at: random.pick(HOSTS), way: random.pick(WAYS), keepsStore: random.chance(0.5) }
    case 'cut': {
      const [a, b] = random.pick(LINES)
      return { kind, a, b, way: random.pick(WAYS) }
    }
    case 'slow': {
      const at = random.pick([...HOSTS, 'store'] as const)
      const delayMs = Math.round(random.magnitude(1, 50))
      return { kind, at, delayMs, lossShare: Math.round(random.magnitude(0.001, 0.1) * 1000) / 1000 }
    }
    case 'pause':
      return { kind, at: random.pick([...HOSTS, 'store'] as const) }
  }
}

function timed(random: Random, fault: Fault, forMsMax: number): TimedFault {
  const startMs = Math.round(random.between(0, START_MS_MAX))
  return { fault, startMs, forMs: Math.round(random.magnitude(FAULT_MS_MIN, forMsMax)) }
}

/** Who is what for the virtual machine. */
export interface Roles {
  readonly primary: string
  readonly backup: string
  /** Hosts that carry nothing of it. */
  readonly spares: readonly string[]
  readonly store: string
  readonly gateway: string
}

export function hostAt(roles: Roles, place: Place): string {
  return place === 'spare' ? (roles.spares[0] ?? roles.backup) : roles[place]
}

/** For people: what is done to whom and when. */
export function describeFault({ fault, startMs, forMs }: TimedFault, roles: Roles): string {
  const named = (place: Place) => `${place} ${hostAt(roles, place)}`
  const when = `at ${startMs} ms for ${forMs} ms`
  switch (fault.kind) {
    case 'cut': {
      const arrow = { both: '<->', there: '->', back: '<-' }[fault.way]
      return `cut ${named(fault.a)} ${arrow} ${named(fault.b)} ${when}`
    }
    case 'isolate': {
      const way = { both: 'both ways', there: 'nothing gets out', back: 'nothing gets in' }[fault.way]
      const besides = fault.keepsStore ? ', not from the store' : ''
      return `isolate ${named(fault.at)}, ${way}${besides}, ${when}`
    }
    case 'slow':
      return `slow ${named(fault.at)}, ${fault.delayMs} ms, ${fault.lossShare * 100} % lost, ${when}`
    default:
      return `${fault.kind} ${named(fault.at)} ${when}`
  }
}
