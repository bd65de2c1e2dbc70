import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { HeldLease, type LeaseKeeper } from './held-lease.ts'
import { LeaseSightings } from './lease-sightings.ts'

const TTL_MS = 1_200
const STEP_MS = 10

/** How a store does one renewal: when it takes effect and is answered, in ms after it was asked; null is never. */
interface Renewal {
  readonly doneMs: number | null
  readonly answerMs: number | null
  readonly fails: boolean
}

class ScriptedKeeper implements LeaseKeeper {
  stamp = 0n
  asked = 0
  readonly #renewals: readonly Renewal[]

  constructor(renewals: readonly Renewal[]) {
    this.#renewals = renewals
  }

  renew(): Promise<boolean> {
    const renewal = this.#renewals[this.asked++] ?? { doneMs: null, answerMs: null, fails: true }
    if (renewal.doneMs !== null) setTimeout(() => this.stamp++, renewal.doneMs)
    return new Promise((resolve, reject) => {
      if (renewal.answerMs === null) return
      // An answer comes after what it tells of.
      setTimeout(
        () => (renewal.fails ? reject(new Error('unreachable')) : resolve(true)),
        Math.max(renewal.answerMs, renewal.doneMs ?? 0),
      )
    })
  }

  update(): Promise<boolean> {
    return Promise.resolve(true)
  }

  release(): Promise<void> {
    return Promise.resolve()
  }
}

describe('what is seen of a lease', () => {
  const at = (readMs: number, stamp: bigint, version = 1) => ({
    version,
    ttlMs: TTL_MS,
    stamp,
    readBegunMs: readMs,
    readEndedMs: readMs + 5,
  })

  it('is over for good once it stood still for its time, until there is another version', () => {
    const sightings = new LeaseSightings()
    expect(sightings.mayBeHeld('key', at(0, 1n))).toBe(true)
    expect(sightings.mayBeHeld('key', at(TTL_MS + 4, 1n))).toBe(true)
    expect(sightings.mayBeHeld('key', at(TTL_MS + 5, 1n))).toBe(false)
    // A renewal that was long under way: its holder has given up.
    expect(sightings.mayBeHeld('key', at(TTL_MS + 10, 2n))).toBe(false)
    expect(sightings.mayBeHeld('other', at(TTL_MS + 10, 2n))).toBe(true)
    expect(sightings.mayBeHeld('key', at(TTL_MS + 10, 2n, 2))).toBe(true)
  })

  it('begins anew with each renewal, each version, and after the key was no lease', () => {
    const sightings = new LeaseSightings()
    for (let i = 0; i < 9; i++) expect(sightings.mayBeHeld('key', at(i * TTL_MS, BigInt(i)))).toBe(true)
    expect(sightings.mayBeHeld('key', at(10 * TTL_MS, 8n, 2))).toBe(true)
    sightings.forget('key')
    expect(sightings.mayBeHeld('key', at(20 * TTL_MS, 8n, 2))).toBe(true)
  })
})

describe('a held lease', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  const start = (keeper: LeaseKeeper) => {
    const lease = new HeldLease('key', TTL_MS, performance.now(), keeper)
    const ends: string[] = []
    lease.lost.then((reason) => ends.push(reason))
    return { lease, ends }
  }

  it('is lost for its holder before it is over for anybody else', async () => {
    const late = fc.option(fc.integer({ min: 0, max: 2 * TTL_MS }), { freq: 6 })
    const renewal = fc.oneof(
      { weight: 3, arbitrary: fc.constant({ doneMs: 1, answerMs: 2, fails: false }) },
      // A success has happened; a failure may have.
      fc.record({
        doneMs: fc.integer({ min: 0, max: 2 * TTL_MS }),
        answerMs: late,
        fails: fc.constant(false),
      }),
      fc.record({ doneMs: late, answerMs: late, fails: fc.constant(true) }),
    )
    let ended = 0
    await fc.assert(
      fc.asyncProperty(
        fc.array(renewal, { maxLength: 12 }),
        fc.integer({ min: 1, max: 60 }),
        fc.double({ min: 0.9, max: 1.1, noNaN: true }),
        async (renewals, lookSteps, observerRate) => {
          const keeper = new ScriptedKeeper(renewals)
          const { lease, ends } = start(keeper)
          const sightings = new LeaseSightings()
          for (let step = 0; step < (6 * TTL_MS) / STEP_MS; step++) {
            await vi.advanceTimersByTimeAsync(STEP_MS)
            if (step % lookSteps !== 0) continue
            const nowMs = performance.now() * observerRate
            const { stamp } = keeper
            const sighting = { version: 1, ttlMs: TTL_MS, stamp, readBegunMs: nowMs, readEndedMs: nowMs }
            if (sightings.mayBeHeld('key', sighting)) continue
            expect(lease.held).toBe(false)
            expect(ends).toEqual(['expired'])
            ended++
            break
          }
          lease.end('closed')
        },
      ),
      { numRuns: 300 },
    )
    expect(ended).toBeGreaterThan(30)
  })

  it('tries again soon after a renewal that failed', async () => {
    const failed = { doneMs: null, answerMs: 1, fails: true }
    const good = { doneMs: 1, answerMs: 2, fails: false }
    const keeper = new ScriptedKeeper([failed, failed, good, failed, good, ...Array(9).fill(good)])
    const { lease, ends } = start(keeper)
    await vi.advanceTimersByTimeAsync(3 * TTL_MS)
    expect(lease.held).toBe(true)
    expect(ends).toEqual([])
    expect(keeper.asked).toBeLessThanOrEqual(3 * 3 + 3)
    lease.end('closed')
  })

  it('does not come back by a renewal that is answered after its time, before any timer ran', async () => {
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const keeper = new ScriptedKeeper([])
    vi.spyOn(keeper, 'renew').mockReturnValue(promise)
    const { lease, ends } = start(keeper)
    await vi.advanceTimersByTimeAsync(TTL_MS / 2)
    expect(keeper.renew).toHaveBeenCalledTimes(1)
    const wokenMs = performance.now() + TTL_MS
    const clock = vi.spyOn(performance, 'now').mockReturnValue(wokenMs)
    try {
      expect(lease.held).toBe(false)
      resolve(true)
      await vi.advanceTimersByTimeAsync(0)
      expect(ends).toEqual(['expired'])
      expect(lease.held).toBe(false)
    } finally {
      clock.mockRestore()
    }
  })

  it('asks no more once it ended', async () => {
    const keeper = new ScriptedKeeper([{ doneMs: null, answerMs: 1, fails: true }])
    const { ends } = start(keeper)
    await vi.advanceTimersByTimeAsync(TTL_MS)
    expect(ends).toEqual(['expired'])
    const { asked } = keeper
    await vi.advanceTimersByTimeAsync(5 * TTL_MS)
    expect(keeper.asked).toBe(asked)
  })
})
