/** What was opened through a store and ends with it: leases and watches. */
import type { HeldLease } from './held-lease.ts'
import { PolledWatch, type WatchedPart } from './polled-watch.ts'
import { StoreError, type Watch } from './store.ts'

export class OpenHandles {
  readonly #leases = new Set<HeldLease>()
  readonly #watches = new Set<Watch>()
  #closed = false

  get closed(): boolean {
    return this.#closed
  }

  /** Keeps a lease for as long as it stands; one that was granted too late ends at once. */
  addLease(lease: HeldLease): void {
    this.#leases.add(lease)
    lease.lost.then(() => this.#leases.delete(lease))
    if (this.#closed) lease.end('closed')
  }

  /** `part` makes what is watched; it may call `hint` when something may have changed. Throws STORE_CLOSED. */
  addWatch(part: (hint: () => void) => WatchedPart, intervalMs: number, onChange: () => void): Watch {
    if (this.#closed) throw new StoreError('STORE_CLOSED', 'the store was closed')
    const watched = part(() => watch.hint())
    const watch = new PolledWatch(watched, intervalMs, onChange)
    this.#watches.add(watch)
    return {
      close: () => {
        watch.close()
        this.#watches.delete(watch)
      },
    }
  }

  close(): void {
    this.#closed = true
    for (const lease of this.#leases) lease.end('closed')
    for (const watch of this.#watches) watch.close()
  }
}
