/**
 * The holder's side of a lease, the same for every store: renew in good time, and know that it is lost before
 * anybody else may take it.
 *
 * A renewal counts from the moment it was begun, for the store may have done it at once and only the answer was
 * late. The holder gives up HOLD_PART of the time to live after the last renewal that was answered; others wait
 * for all of it, counted from when they saw that renewal, which was later. A renewal that is answered after the
 * holder gave up changes nothing any more.
 */
import { type Lease, type LeaseEnd, StoreError } from './store.ts'

/** A third leaves room for two more attempts before the holder gives up. */
const RENEWAL_PART = 1 / 3
/** After a failed attempt the next one comes sooner. */
const RETRY_PART = 1 / 12
/** The rest, an eighth, is for clocks that run at different rates and timers that are late. */
const HOLD_PART = 7 / 8

/** What a store does for a lease that it granted. */
export interface LeaseKeeper {
  /** Whether the key is still the holder's, and was renewed. Rejects when the store is unreachable. */
  renew(): Promise<boolean>
  /** Whether the key is still the holder's, and has the value now. */
  update(value: Uint8Array): Promise<boolean>
  /** Deletes the key if it is still the holder's. */
  release(): Promise<void>
}

export class HeldLease implements Lease {
  readonly key: string
  readonly lost: Promise<LeaseEnd>
  readonly #ttlMs: number
  readonly #keeper: LeaseKeeper
  #settle!: (reason: LeaseEnd) => void
  #end: LeaseEnd | null = null
  #holdUntilMs: number
  #holdTimer: NodeJS.Timeout | undefined
  #renewalTimer: NodeJS.Timeout | undefined
  /** Settles when the update before has. */
  #previousUpdate: Promise<unknown> = Promise.resolve()

  /** `begunMs` is the monotonic time just before the key was asked for. */
  constructor(key: string, ttlMs: number, begunMs: number, keeper: LeaseKeeper) {
    this.key = key
    this.lost = new Promise((resolve) => {
      this.#settle = resolve
    })
    this.#ttlMs = ttlMs
    this.#keeper = keeper
    this.#holdUntilMs = begunMs + ttlMs * HOLD_PART
    this.#watchTime()
    this.#renewAfter(ttlMs * RENEWAL_PART - (monotonicMs() - begunMs))
  }

  get held(): boolean {
    return this.#end === null && monotonicMs() < this.#holdUntilMs
  }

  update(value: Uint8Array): Promise<void> {
    const done = this.#previousUpdate.then(() => this.#update(value))
    this.#previousUpdate = done.catch(() => {})
    return done
  }

  async release(): Promise<void> {
    if (this.#end === null) {
      this.end('released')
      await this.#previousUpdate
      await this.#keeper.release()
    }
  }

  /** Stops holding, without a word to the store. */
  end(reason: LeaseEnd): void {
    if (this.#end !== null) return
    this.#end = reason
    clearTimeout(this.#holdTimer)
    clearTimeout(this.#renewalTimer)
    this.#settle(reason)
  }

  async #update(value: Uint8Array): Promise<void> {
    if (this.held && !(await this.#keeper.update(value))) this.#endTaken()
    if (!this.held) throw new StoreError('STORE_LEASE_LOST', `the lease of ${this.key} ended`)
  }

  #renewAfter(delayMs: number): void {
    this.#renewalTimer = setTimeout(() => this.#renew(), Math.max(0, delayMs))
  }

  async #renew(): Promise<void> {
    const begunMs = monotonicMs()
    const renewed = await this.#keeper.renew().catch(() => null)
    if (this.#end !== null) return
    if (renewed === false) return this.#endTaken()
    if (renewed) this.#extend(begunMs)
    if (this.#end !== null) return
    this.#renewAfter(this.#ttlMs * (renewed ? RENEWAL_PART : RETRY_PART))
  }

  #endTaken(): void {
    this.end(this.held ? 'replaced' : 'expired')
  }

  #extend(begunMs: number): void {
    if (!this.held) return this.end('expired')
    this.#holdUntilMs = Math.max(this.#holdUntilMs, begunMs + this.#ttlMs * HOLD_PART)
    clearTimeout(this.#holdTimer)
    this.#watchTime()
  }

  #watchTime(): void {
    this.#holdTimer = setTimeout(
      () => (monotonicMs() < this.#holdUntilMs ? this.#watchTime() : this.end('expired')),
      Math.max(1, this.#holdUntilMs - monotonicMs()),
    )
  }
}

/** Leases are timed by a clock that nobody sets. */
export function monotonicMs(): number {
  return performance.now()
}
