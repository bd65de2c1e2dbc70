/**
 * Carries out a plan of partitions on a cluster, round by round: does the harm, heals it, and waits until the machine serves its
 * clients and is protected again. Whatever happens, all harm is undone in the end.
 */
import {
  describeFault,
  type Fault,
  hostAt,
  type Plan,
  type Roles,
  type TimedFault,
  type Way,
} from './partition-plan.ts'

/** A cluster that carries one protected machine with clients, and can be harmed. */
export interface HarmableCluster {
  /** Frames of `from` do not reach `to`. */
  cut(from: string, to: string): Promise<void>
  slow(host: string, delayMs: number, lossShare: number): Promise<void>
  pause(host: string): Promise<void>
  resume(host: string): Promise<void>
  crash(host: string): Promise<void>
  powerCut(host: string): Promise<void>
  /** Starts what runs on a host when all is well; after a power cut the host itself as well. */
  start(host: string): Promise<void>
  heal(from: string, to: string): Promise<void>
  normalSpeed(host: string): Promise<void>
  /** Resolves when the clients were answered some more times. Rejects when it takes too long. */
  served(): Promise<void>
  /** Resolves when the machine is protected, with who is what. Rejects when it takes too long. */
  protectedAgain(): Promise<Roles>
}

export interface RoundReport {
  readonly round: number
  readonly faults: readonly string[]
  /** From when all was healed until clients were served. */
  readonly servedMs: number
  /** And until the machine was protected. */
  readonly protectedMs: number
  /** The primary is on another host than before. */
  readonly moved: boolean
}

export interface Clock {
  nowMs(): number
  sleep(ms: number): Promise<unknown>
}

/** Rejects with what went wrong, naming seed and round; the cluster is healed then, too. */
export async function runPlan(
  cluster: HarmableCluster,
  { seed, rounds }: Plan,
  clock: Clock,
  onRound: (report: RoundReport) => void = () => {},
): Promise<RoundReport[]> {
  const reports: RoundReport[] = []
  // What was protected a moment ago need not be: a busy machine may lose a backup by itself.
  for (const [i, faults] of rounds.entries()) {
    const round = i + 1
    let told: readonly string[] = []
    try {
      const roles = await cluster.protectedAgain()
      told = faults.map((fault) => describeFault(fault, roles))
      await harm(cluster, faults, roles, clock)
      const healedMs = clock.nowMs()
      await cluster.served()
      const servedMs = clock.nowMs() - healedMs
      const { primary } = await cluster.protectedAgain()
      const protectedMs = clock.nowMs() - healedMs
      const moved = primary !== roles.primary
      reports.push({ round, faults: told, servedMs, protectedMs, moved })
      onRound(reports.at(-1)!)
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error)
      throw new Error(`seed ${seed}, round ${round} of ${rounds.length} (${told.join('; ')}): ${detail}`, {
        cause: error,
      })
    }
  }
  return reports
}

/** Resolves when all of it was done and undone. Undoes what was done even where something fails, then rejects. */
async function harm(
  cluster: HarmableCluster,
  faults: readonly TimedFault[],
  roles: Roles,
  clock: Clock,
): Promise<void> {
  const held = new Held()
  const outcomes = await Promise.allSettled(
    faults.map(async ({ fault, startMs, forMs }) => {
      await clock.sleep(startMs)
      const taken: Deed[] = []
      try {
        for (const deed of deedsOf(fault, roles)) {
          // What failed half-way is undone as well.
          taken.push(deed)
          await held.take(deed.name, () => deed.does(cluster))
        }
        await clock.sleep(forMs)
      } finally {
        await Promise.all(taken.map((deed) => held.give(deed.name, () => deed.undoes(cluster))))
      }
    }),
  )
  const failed = outcomes.find((outcome) => outcome.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}

/** One thing that can be done and undone. */
interface Deed {
  /** The same for what is the same. */
  readonly name: string
  does(cluster: HarmableCluster): Promise<void>
  undoes(cluster: HarmableCluster): Promise<void>
}

function deedsOf(fault: Fault, roles: Roles): Deed[] {
  switch (fault.kind) {
    case 'cut':
      return cutsOf(hostAt(roles, fault.a), hostAt(roles, fault.b), fault.way)
    case 'isolate': {
      const host = hostAt(roles, fault.at)
      const store = fault.keepsStore ? [] : [roles.store]
      const others = [roles.primary, roles.backup, ...roles.spares, roles.gateway, ...store]
      return others.flatMap((other) => cutsOf(host, other, fault.way))
    }
    case 'slow': {
      const host = hostAt(roles, fault.at)
      return [
        {
          name: `slow ${host}`,
          does: (cluster) => cluster.slow(host, fault.delayMs, fault.lossShare),
          undoes: (cluster) => cluster.normalSpeed(host),
        },
      ]
    }
    case 'pause': {
      const host = hostAt(roles, fault.at)
      return [
        {
          name: `pause ${host}`,
          does: (cluster) => cluster.pause(host),
          undoes: (cluster) => cluster.resume(host),
        },
      ]
    }
    case 'crash':
    case 'power-cut': {
      const host = hostAt(roles, fault.at)
      const isCrash = fault.kind === 'crash'
      return [
        {
          name: `down ${host}`,
          does: (cluster) => (isCrash ? cluster.crash(host) : cluster.powerCut(host)),
          undoes: (cluster) => cluster.start(host),
        },
      ]
    }
  }
}

function cutsOf(a: string, b: string, way: Way): Deed[] {
  // A host is not cut off from itself; with two hosts the spare one is the backup's.
  if (a === b) return []
  const cut = (from: string, to: string): Deed => ({
    name: `cut ${from} ${to}`,
    does: (cluster) => cluster.cut(from, to),
    undoes: (cluster) => cluster.heal(from, to),
  })
  return [...(way === 'back' ? [] : [cut(a, b)]), ...(way === 'there' ? [] : [cut(b, a)])]
}

/** Faults of one round may want the same: it is done for the first and undone after the last. */
class Held {
  readonly #counts = new Map<string, number>()

  async take(name: string, does: () => Promise<void>): Promise<void> {
    const count = this.#counts.get(name) ?? 0
    this.#counts.set(name, count + 1)
    if (count === 0) await does()
  }

  async give(name: string, undoes: () => Promise<void>): Promise<void> {
    const count = this.#counts.get(name)! - 1
    this.#counts.set(name, count)
    if (count === 0) await undoes()
  }
}
