/** A host's place in its cluster: a lease in the store that says it is there, for as long as its agent is. */
import { setTimeout as sleep } from 'node:timers/promises'
import { HOST_LEASE_MS, JOIN_AGAIN_MS } from '../redundancy/timing.ts'
import type { Lease, Store } from '../store/store.ts'
import { type HostRecord, hostKey } from './host-record.ts'

export interface MembershipOptions {
  readonly store: Store
  readonly record: HostRecord
  /** The host is a member (again), or is not any more, and why. */
  onChange(isMember: boolean, detail: string): void
}

export class Membership {
  readonly #options: MembershipOptions
  readonly #ending = new AbortController()
  #lease: Lease | null = null
  #done: Promise<void> = Promise.resolve()

  private constructor(options: MembershipOptions) {
    this.#options = options
  }

  /** Keeps the host a member from now on, through absences of the store. Resolves at once. */
  static keep(options: MembershipOptions): Membership {
    const membership = new Membership(options)
    membership.#done = membership.#keep()
    return membership
  }

  /** Whether the cluster knows the host now. */
  get isMember(): boolean {
    return this.#lease?.held ?? false
  }

  /** Leaves in good order: the others know at once. */
  async leave(): Promise<void> {
    this.#ending.abort()
    await this.#lease?.release().catch(() => {})
    await this.#done
  }

  async #keep(): Promise<void> {
    const { onChange } = this.#options
    while (!this.#ending.signal.aborted) {
      const failure = await this.#join()
      if (this.#lease !== null) {
        onChange(true, '')
        const end = await this.#lease.lost
        this.#lease = null
        onChange(false, `its lease ended: ${end}`)
      } else if (failure !== null) {
        await sleep(JOIN_AGAIN_MS, undefined, { signal: this.#ending.signal }).catch(() => {})
      }
    }
  }

  /** Null when the lease is held; else why not. */
  async #join(): Promise<string | null> {
    const { store, record } = this.#options
    const value = Buffer.from(JSON.stringify(record))
    try {
      const result = await store.lease(hostKey(record.host), value, HOST_LEASE_MS)
      if (!result.held) return 'the lease of the agent before has not run out'
      this.#lease = result.lease
      if (this.#ending.signal.aborted) await result.lease.release().catch(() => {})
      return null
    } catch (error) {
      return error instanceof Error ? error.message : String(error)
    }
  }
}
