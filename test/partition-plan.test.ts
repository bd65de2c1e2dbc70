/** Plans of partitions, and that what carries them out undoes all it does: without a cluster. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { hostAt, type Place, type Plan, planRounds, type Roles } from './partition-plan.ts'
import { type Clock, type HarmableCluster, runPlan } from './partitions.ts'

const ROLES: Roles = { primary: 'h1', backup: 'h2', spares: ['h3'], store: 'store', gateway: 'gateway' }

/** Time passes when nobody has anything else to do. */
class VirtualClock implements Clock {
  #nowMs = 0
  readonly #sleepers: { atMs: number; wake: (value: unknown) => void }[] = []
  #isPumping = false

  nowMs(): number {
    return this.#nowMs
  }

  sleep(ms: number): Promise<unknown> {
    return new Promise((wake) => {
      this.#sleepers.push({ atMs: this.#nowMs + ms, wake })
      this.#sleepers.sort((a, b) => a.atMs - b.atMs)
      this.#pump()
    })
  }

  #pump(): void {
    if (this.#isPumping) return
    this.#isPumping = true
    setImmediate(() => {
      this.#isPumping = false
      const next = this.#sleepers.shift()
      if (next === undefined) return
      this.#nowMs = next.atMs
      next.wake(null)
      if (this.#sleepers.length > 0) this.#pump()
    })
  }
}

/** Keeps what is harmed now, and fails where it is told to. */
class FakeCluster implements HarmableCluster {
  readonly harmed = new Set<string>()
  readonly deeds: string[] = []
  #left: number

  constructor(failsAfter = Number.POSITIVE_INFINITY) {
    this.#left = failsAfter
  }

  cut = (from: string, to: string) => this.#does(`cut ${from} ${to}`)
  heal = (from: string, to: string) => this.#undoes(`cut ${from} ${to}`)
  slow = (host: string) => this.#does(`slow ${host}`)
  normalSpeed = (host: string) => this.#undoes(`slow ${host}`)
  pause = (host: string) => this.#does(`pause ${host}`)
  resume = (host: string) => this.#undoes(`pause ${host}`)
  crash = (host: string) => this.#does(`down ${host}`)
  powerCut = (host: string) => this.#does(`down ${host}`)
  start = (host: string) => this.#undoes(`down ${host}`)

  async served(): Promise<void> {
    expect([...this.harmed]).toEqual([])
  }

  async protectedAgain(): Promise<Roles> {
    expect([...this.harmed]).toEqual([])
    return ROLES
  }

  async #does(name: string): Promise<void> {
    this.deeds.push(name)
    expect(this.harmed).not.toContain(name)
    this.harmed.add(name)
    if (this.#left-- <= 0) throw new Error(`could not ${name}`)
  }

  async #undoes(name: string): Promise<void> {
    expect(this.harmed).toContain(name)
    this.harmed.delete(name)
  }
}

describe('a plan', () => {
  it('is the same for the same seed, and others for others', () => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        expect(planRounds(seed, 10)).toEqual(planRounds(seed, 10))
        expect(planRounds(seed, 3).rounds).toEqual(planRounds(seed, 10).rounds.slice(0, 3))
        expect(planRounds(seed, 10).rounds).not.toEqual(planRounds(seed + 1, 10).rounds)
      }),
    )
  })

  it('loses one host at a time, and does nothing else meanwhile', () => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        for (const round of planRounds(seed, 20).rounds) {
          const loses = round.some(({ fault }) => fault.kind === 'crash' || fault.kind === 'power-cut')
          expect(round.length).toBeGreaterThan(0)
          if (loses) expect(round.length).toBe(1)
        }
      }),
    )
  })

  it('has everything in it before long', () => {
    const faults = planRounds(1, 300).rounds.flat()
    const kinds = new Set(faults.map(({ fault }) => fault.kind))
    expect(kinds).toEqual(new Set(['cut', 'isolate', 'slow', 'pause', 'crash', 'power-cut']))
    const cuts = faults.flatMap(({ fault }) =>
      fault.kind === 'cut' ? [`${fault.a} ${fault.b} ${fault.way}`] : [],
    )
    for (const cut of [
      'primary backup there',
      'primary backup back',
      'primary backup both',
      'primary store both',
    ])
      expect(cuts).toContain(cut)
    const pausesMs = faults.flatMap(({ fault, forMs }) => (fault.kind === 'pause' ? [forMs] : []))
    expect(Math.min(...pausesMs)).toBeLessThan(200)
    expect(Math.max(...pausesMs)).toBeGreaterThan(2_500)
    expect(Math.max(...pausesMs)).toBeLessThanOrEqual(3_000)
  })
})

it('without a spare host its part is the backup’s', () => {
  const places: Place[] = ['primary', 'backup', 'spare']
  expect(places.map((place) => hostAt({ ...ROLES, spares: [] }, place))).toEqual(['h1', 'h2', 'h2'])
})

describe('carrying out a plan', () => {
  it('does what is planned and undoes all of it in every round', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), async (seed) => {
        const cluster = new FakeCluster()
        const plan = planRounds(seed, 5)
        const reports = await runPlan(cluster, plan, new VirtualClock())
        expect(reports.map(({ round }) => round)).toEqual([1, 2, 3, 4, 5])
        expect(reports.flatMap(({ faults }) => faults).length).toBe(plan.rounds.flat().length)
        expect(cluster.deeds.length).toBeGreaterThanOrEqual(5)
      }),
      { numRuns: 50 },
    )
  })

  it('undoes all of it when something cannot be done, and says where', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.nat({ max: 4 }), async (seed, failsAfter) => {
        const cluster = new FakeCluster(failsAfter)
        const running = runPlan(cluster, planRounds(seed, 10), new VirtualClock())
        await expect(running).rejects.toThrow(/^seed \d+, round \d+ of 10 \(.*\): could not /)
        expect([...cluster.harmed]).toEqual([])
      }),
      { numRuns: 50 },
    )
  })

  it('does what two faults want once, for as long as either wants it', async () => {
    const pause = (startMs: number, forMs: number) =>
      ({ fault: { kind: 'pause', at: 'primary' }, startMs, forMs }) as const
    const clock = new VirtualClock()
    const spans: number[] = []
    const cluster = new FakeCluster()
    const { pause: does, resume: undoes } = cluster
    cluster.pause = (host) => does(host).then(() => void spans.push(clock.nowMs()))
    cluster.resume = (host) => undoes(host).then(() => void spans.push(clock.nowMs()))
    const plan: Plan = { seed: 1, rounds: [[pause(0, 100), pause(50, 200), pause(400, 10)]] }
    await runPlan(cluster, plan, clock)
    expect(spans).toEqual([0, 250, 400, 410])
  })

  it('cuts the direction that is asked for', async () => {
    const cut = (way: 'both' | 'there' | 'back') =>
      ({ fault: { kind: 'cut', a: 'primary', b: 'store', way }, startMs: 0, forMs: 1 }) as const
    const deeds = async (way: 'both' | 'there' | 'back') => {
      const cluster = new FakeCluster()
      await runPlan(cluster, { seed: 1, rounds: [[cut(way)]] }, new VirtualClock())
      return cluster.deeds
    }
    expect(await deeds('there')).toEqual(['cut h1 store'])
    expect(await deeds('back')).toEqual(['cut store h1'])
    expect(await deeds('both')).toEqual(['cut h1 store', 'cut store h1'])
  })

  it('isolates a host from all others, and from the store or not', async () => {
    const deeds = async (keepsStore: boolean) => {
      const cluster = new FakeCluster()
      const fault = { kind: 'isolate', at: 'backup', way: 'there', keepsStore } as const
      await runPlan(cluster, { seed: 1, rounds: [[{ fault, startMs: 0, forMs: 1 }]] }, new VirtualClock())
      return cluster.deeds
    }
    expect(await deeds(true)).toEqual(['cut h2 h1', 'cut h2 h3', 'cut h2 gateway'])
    expect(await deeds(false)).toEqual(['cut h2 h1', 'cut h2 h3', 'cut h2 gateway', 'cut h2 store'])
  })
})
