/**
 * When a lease in a shared directory is over, as one client sees it.
 *
 * Hosts share no clock, so nothing that a host writes can say until when a lease is good. But a client that sees
 * the same renewal stamp twice, a whole time to live apart by its own clock, knows that the holder did not renew
 * it in between. The holder gives up by its own clock before that (`held-lease.ts`), and never renews again. So
 * once a version was seen to be over it stays so, whatever a late renewal does to its file.
 */

/** What a client read, and when by its monotonic clock: the file was as it is at some moment between the two. */
export interface LeaseSighting {
  readonly version: number
  readonly ttlMs: number
  /** Differs after every renewal; compared for equality only. */
  readonly stamp: bigint
  readonly readBegunMs: number
  readonly readEndedMs: number
}

interface SeenLease {
  readonly version: number
  readonly stamp: bigint
  /** The stamp was there at this time, and perhaps long before. */
  readonly sinceMs: number
  readonly over: boolean
}

export class LeaseSightings {
  readonly #seen = new Map<string, SeenLease>()

  /** Whether the lease that was just read may still be held. One seen for the first time may be. */
  mayBeHeld(key: string, sighting: LeaseSighting): boolean {
    const { version, stamp, ttlMs, readBegunMs, readEndedMs } = sighting
    const seen = this.#seen.get(key)
    if (seen !== undefined && seen.version === version) {
      if (seen.over) return false
      if (seen.stamp === stamp) {
        const over = readBegunMs - seen.sinceMs >= ttlMs
        if (over) this.#seen.set(key, { ...seen, over })
        return !over
      }
    }
    this.#seen.set(key, { version, stamp, sinceMs: readEndedMs, over: false })
    return true
  }

  /** The key has no lease any more. */
  forget(key: string): void {
    this.#seen.delete(key)
  }
}
