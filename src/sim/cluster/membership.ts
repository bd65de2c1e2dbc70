/** An agent's side of membership: its own lease, and which of the others' it takes for held. */
import { HOST_LEASE_MS, JOIN_AGAIN_MS } from '../../redundancy/timing.ts'
import type { StoreAccess, StoreClient } from '../store.ts'
import type { HostRecord, Registry, StoredLease } from './registry.ts'

/** As in src/store/held-lease.ts: when to renew, when to try again, and when the holder gives up. */
const RENEWAL_MS = HOST_LEASE_MS / 3
const RETRY_MS = HOST_LEASE_MS / 12
const HOLD_MS = (HOST_LEASE_MS * 7) / 8
/** An attempt without an answer is followed by another after this. */
const ANSWER_MS_MAX = 1_000

export class SimulatedMembership {
  readonly #client: StoreClient
  readonly #record: HostRecord
  readonly #access: StoreAccess
  readonly #registry: Registry
  /** Since when each lease that this client knows has stood still, by its own clock. */
  readonly #seen = new Map<string, { readonly stamp: number; readonly sinceMs: number }>()
  #holdUntilMs = Number.NEGATIVE_INFINITY
  /** The attempt whose answer counts. */
  #attempt = 0

  constructor(client: StoreClient, record: HostRecord, access: StoreAccess, registry: Registry) {
    this.#client = client
    this.#record = record
    this.#access = access
    this.#registry = registry
  }

  /** Whether the host is a member, as far as it knows. */
  get isMember(): boolean {
    return this.#nowMs < this.#holdUntilMs
  }

  get #nowMs(): number {
    return this.#client.process.clockMs
  }

  /** Keeps the host a member from now on. */
  keep(): void {
    const begunMs = this.#nowMs
    const wasMember = this.isMember
    const attempt = ++this.#attempt
    const contend = () =>
      wasMember
        ? this.#registry.renew(this.#record)
        : this.#registry.take(this.#record, (lease) => !this.mayBeHeld(lease))
    const settle = (isHeld: boolean | 'unreachable') => {
      if (attempt !== this.#attempt) return
      this.#attempt++
      if (isHeld === true) this.#holdUntilMs = begunMs + HOLD_MS
      else if (isHeld === false) this.#holdUntilMs = Number.NEGATIVE_INFINITY
      const againMs = isHeld === true ? RENEWAL_MS : wasMember ? RETRY_MS : JOIN_AGAIN_MS
      this.#client.process.timer(againMs, () => this.keep())
    }
    this.#access.ask(this.#client, contend, settle)
    this.#client.process.timer(ANSWER_MS_MAX, () => settle('unreachable'))
  }

  /** As in src/store/lease-sightings.ts: a lease that stands still for its time to live is over. */
  mayBeHeld({ host, stamp }: StoredLease): boolean {
    if (this.#registry.kind === 'etcd') return true
    const seen = this.#seen.get(host)
    if (seen?.stamp === stamp) return this.#nowMs - seen.sinceMs < HOST_LEASE_MS
    this.#seen.set(host, { stamp, sinceMs: this.#nowMs })
    return true
  }
}
