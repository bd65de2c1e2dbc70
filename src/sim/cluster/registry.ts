/** What the store has of the cluster: leases of hosts, which hosts are drained, and what is wished of virtual machines. */
import type { Wish } from '../../redundancy/reconcile.ts'
import { HOST_LEASE_MS } from '../../redundancy/timing.ts'
import type { Scheduler } from '../scheduler.ts'

export interface HostRecord {
  readonly host: string
  /** Another agent of the same host is another incarnation. */
  readonly incarnation: number
}

/** A lease as it lies in the store; its stamp differs after every renewal. */
export interface StoredLease extends HostRecord {
  readonly stamp: number
}

/**
 * Who finds out that a holder fell silent: etcd does and deletes the key; in a shared directory nobody does, and each client sees
 * for itself that a lease stands still.
 */
export type LeaseKind = 'etcd' | 'directory'

/** Every method happens at one moment, in the store: call them through `StoreAccess.ask`. */
export class Registry {
  readonly kind: LeaseKind
  readonly #scheduler: Scheduler
  readonly #leases = new Map<string, StoredLease & { readonly renewedAtMs: number }>()
  readonly draining = new Set<string>()
  readonly wishes = new Map<string, Wish>()
  #stamps = 0

  constructor(scheduler: Scheduler, kind: LeaseKind) {
    this.#scheduler = scheduler
    this.kind = kind
  }

  leases(): StoredLease[] {
    return [...this.#leases.values()].filter(
      ({ renewedAtMs }) => this.kind === 'directory' || this.#scheduler.nowMs - renewedAtMs < HOST_LEASE_MS,
    )
  }

  /** Takes the lease of a host unless another one stands that the client does not know to be over. */
  take(record: HostRecord, isOver: (lease: StoredLease) => boolean): boolean {
    const before = this.leases().find(({ host }) => host === record.host)
    if (before !== undefined && !isOver(before)) return false
    this.#write(record)
    return true
  }

  /** Whether the lease is still this incarnation's, and was renewed. */
  renew(record: HostRecord): boolean {
    const before = this.leases().find(({ host }) => host === record.host)
    if (before?.incarnation !== record.incarnation) return false
    this.#write(record)
    return true
  }

  #write(record: HostRecord): void {
    const renewedAtMs = this.#scheduler.nowMs
    this.#leases.set(record.host, { ...record, stamp: ++this.#stamps, renewedAtMs })
  }

  wish(vm: string, change: Partial<Wish>): void {
    const before = this.wishes.get(vm)
    if (before !== undefined) this.wishes.set(vm, { ...before, ...change })
  }
}
