/**
 * The store in etcd v3, spoken to through its JSON gateway (`etcd-client.ts`).
 *
 * A key's version is the revision of etcd at which it last changed (`mod_revision`): the count of all changes of
 * the cluster, so it grows with each change of the key and never comes back. etcd's own `version` begins anew when
 * a deleted key is created again. Every change is one transaction; reads are linearizable.
 */

import type { z } from 'zod'
import { EtcdClient, type EtcdEndpoints, GRPC_NOT_FOUND, PAGE_ENTRIES } from './etcd-client.ts'
import * as message from './etcd-messages.ts'
import { EtcdWatch } from './etcd-watch.ts'
import { HeldLease, type LeaseKeeper, monotonicMs } from './held-lease.ts'
import { OpenHandles } from './open-handles.ts'
import {
  type CompareAndSetResult,
  type CreateResult,
  checkKey,
  checkTtl,
  checkValue,
  isKey,
  type LeaseResult,
  LIST_ENTRIES_MAX,
  STORE_TIMEOUT_MS,
  type Store,
  type StoreEntry,
  StoreError,
  VALUE_BYTES_MAX,
  type Watch,
} from './store.ts'

/** How often a watch asks whether it missed something: one small read. What its stream brings comes at once. */
const WATCH_INTERVAL_MS = 2_000

export interface EtcdStoreOptions extends EtcdEndpoints {
  /** Parts joined by `/`: several clusters may share one etcd, each below its own. */
  readonly prefix: string
  /** Bounds each operation; see STORE_TIMEOUT_MS. */
  readonly timeoutMs?: number
}

/** Rejects with STORE_UNREACHABLE if none of the endpoints answers in time. */
export async function openEtcdStore(options: EtcdStoreOptions): Promise<EtcdStore> {
  const store = new EtcdStore(options)
  try {
    await store.prepare()
  } catch (error) {
    await store.close()
    throw error
  }
  return store
}

export class EtcdStore implements Store {
  readonly #requests: TimedRequests
  readonly #client: EtcdClient
  readonly #root: string
  readonly #handles = new OpenHandles()

  /** Use `openEtcdStore`, which also asks whether etcd is there. */
  constructor(options: EtcdStoreOptions) {
    checkKey(options.prefix)
    this.#client = new EtcdClient(options)
    this.#requests = new TimedRequests(this.#client, options.timeoutMs ?? STORE_TIMEOUT_MS)
    this.#root = options.prefix
  }

  async prepare(): Promise<void> {
    await this.#requests.begin().read({ key: message.encode(this.#root) })
  }

  async createIfAbsent(key: string, value: Uint8Array): Promise<CreateResult> {
    checkKey(key)
    checkValue(value)
    return this.#create(key, message.put(this.#path(key), value), this.#requests.begin())
  }

  async get(key: string): Promise<StoreEntry | null> {
    checkKey(key)
    const { kvs } = await this.#requests.begin().read({ key: message.encode(this.#path(key)) })
    return kvs[0] === undefined ? null : entryOf(key, kvs[0])
  }

  async compareAndSet(key: string, expectedVersion: number, value: Uint8Array): Promise<CompareAndSetResult> {
    checkKey(key)
    checkValue(value)
    return this.#succeed(key, expectedVersion, message.put(this.#path(key), value))
  }

  async compareAndDelete(key: string, expectedVersion: number): Promise<CompareAndSetResult> {
    checkKey(key)
    return this.#succeed(key, expectedVersion, message.remove(this.#path(key)))
  }

  async list(prefix: string): Promise<readonly StoreEntry[]> {
    if (prefix !== '') checkKey(prefix)
    const request = this.#requests.begin()
    const top = prefix === '' ? this.#root : this.#path(prefix)
    const range = message.below(top)
    const found: message.EtcdKeyValue[] = []
    const first = await request.transact(
      [],
      [message.read({ key: message.encode(top) }), message.read(range, PAGE_ENTRIES)],
      [],
    )
    const [own, firstPage] = first.responses.map((response) => response.response_range)
    if (prefix !== '') found.push(...(own?.kvs ?? []))
    // All pages are of one revision, so that the list is of one moment.
    const revision = first.header.revision
    for (let page = firstPage; page !== undefined; ) {
      found.push(...page.kvs)
      if (found.length > LIST_ENTRIES_MAX)
        throw new StoreError('STORE_LIST_TOO_LONG', `more than ${LIST_ENTRIES_MAX} entries`)
      const last = page.kvs.at(-1)
      const next = page.more && last !== undefined
      page = next ? await request.read(message.after(range, last.key), PAGE_ENTRIES, revision) : undefined
    }
    return this.#entries(found)
  }

  async lease(key: string, value: Uint8Array, ttlMs: number): Promise<LeaseResult> {
    checkKey(key)
    checkValue(value)
    checkTtl(ttlMs)
    const request = this.#requests.begin()
    const begunMs = monotonicMs()
    const id = await request.grant(Math.ceil(ttlMs / 1000))
    const keeper = new EtcdLease(this.#requests, this.#path(key), id)
    let result: CreateResult
    try {
      result = await this.#create(key, message.put(this.#path(key), value, id), request)
    } catch (error) {
      // The key may have been made or be made yet; without its lease it is not, or does not stay.
      keeper.release().catch(() => {})
      throw error
    }
    if (!result.created) {
      keeper.release().catch(() => {})
      return { held: false, existing: result.existing }
    }
    const lease = new HeldLease(key, ttlMs, begunMs, keeper)
    this.#handles.addLease(lease)
    return { held: true, lease }
  }

  watch(prefix: string, onChange: () => void): Watch {
    if (prefix !== '') checkKey(prefix)
    const range = prefix === '' ? message.below(this.#root) : message.around(this.#path(prefix))
    const newest = () => this.#requests.begin().newest(range)
    const part = (hint: () => void) => new EtcdWatch(this.#client, range, newest, hint)
    return this.#handles.addWatch(part, WATCH_INTERVAL_MS, onChange)
  }

  async close(): Promise<void> {
    this.#handles.close()
    this.#client.close()
  }

  async #create(key: string, put: unknown, request: TimedRequest): Promise<CreateResult> {
    const path = this.#path(key)
    const existing = message.read({ key: message.encode(path) })
    const answer = await request.transact([message.isAbsent(path)], [put], [existing])
    if (answer.succeeded) return { created: true, version: answer.header.revision }
    const found = answer.responses[0]?.response_range?.kvs[0]
    if (found === undefined) throw new StoreError('STORE_DAMAGED', `etcd: ${path} is there, yet not found`)
    return { created: false, existing: entryOf(key, found) }
  }

  async #succeed(key: string, expectedVersion: number, change: unknown): Promise<CompareAndSetResult> {
    // Revision 0 is etcd's word for a key that is not there, and no version of one that is.
    if (!Number.isSafeInteger(expectedVersion) || expectedVersion < 1)
      return { set: false, current: await this.get(key) }
    const path = this.#path(key)
    const current = message.read({ key: message.encode(path) })
    const compared = [message.isAtRevision(path, expectedVersion)]
    const answer = await this.#requests.begin().transact(compared, [change], [current])
    if (answer.succeeded) return { set: true, version: answer.header.revision }
    const found = answer.responses[0]?.response_range?.kvs[0]
    return { set: false, current: found === undefined ? null : entryOf(key, found) }
  }

  #entries(found: readonly message.EtcdKeyValue[]): StoreEntry[] {
    const entries: StoreEntry[] = []
    for (const keyValue of found) {
      const key = Buffer.from(keyValue.key)
        .toString('latin1')
        .slice(this.#root.length + 1)
      // What is no key was put here by somebody else, and nobody here ever asks for it.
      if (isKey(key)) entries.push(entryOf(key, keyValue))
    }
    return entries.sort((a, b) => (a.key < b.key ? -1 : 1))
  }

  #path(key: string): string {
    return `${this.#root}/${key}`
  }
}

/** What the holder of a lease does in etcd. */
class EtcdLease implements LeaseKeeper {
  readonly #requests: TimedRequests
  readonly #path: string
  readonly #id: string

  constructor(requests: TimedRequests, path: string, id: string) {
    this.#requests = requests
    this.#path = path
    this.#id = id
  }

  async renew(): Promise<boolean> {
    const request = this.#requests.begin()
    if (!(await request.keepAlive(this.#id))) return false
    const { kvs } = await request.read({ key: message.encode(this.#path) })
    return kvs[0]?.lease === this.#id
  }

  async update(value: Uint8Array): Promise<boolean> {
    checkValue(value)
    const put = message.put(this.#path, value, this.#id)
    const compared = [message.isLeasedBy(this.#path, this.#id)]
    return (await this.#requests.begin().transact(compared, [put], [])).succeeded
  }

  /** etcd deletes what hangs on a lease together with it. */
  async release(): Promise<void> {
    await this.#requests.begin().revoke(this.#id)
  }
}

/** Requests that together must be done within the time of one operation. */
class TimedRequest {
  readonly #client: EtcdClient
  readonly #untilMs: number

  constructor(client: EtcdClient, timeoutMs: number) {
    this.#client = client
    this.#untilMs = monotonicMs() + timeoutMs
  }

  read(range: message.EtcdRange, limit = 1, revision = 0) {
    const body = { ...range, limit: String(limit), revision: String(revision) }
    return this.#post('/v3/kv/range', body, message.RANGE_ANSWER, true)
  }

  transact(compare: readonly unknown[], success: readonly unknown[], failure: readonly unknown[]) {
    const repeatable = compare.length === 0
    return this.#post('/v3/kv/txn', { compare, success, failure }, message.TXN_ANSWER, repeatable)
  }

  /** Differs after each change in `range`: each raises the newest revision or, if it is a deletion, lowers the count. */
  async newest(range: message.EtcdRange): Promise<string> {
    const order = { limit: '1', keys_only: true, sort_order: 'DESCEND', sort_target: 'MOD' }
    const { kvs, count } = await this.#post(
      '/v3/kv/range',
      { ...range, ...order },
      message.RANGE_ANSWER,
      true,
    )
    return `${kvs[0]?.mod_revision ?? 0} of ${count}`
  }

  async grant(ttlS: number): Promise<string> {
    const { ID, TTL } = await this.#post('/v3/lease/grant', { TTL: String(ttlS) }, message.GRANT_ANSWER, true)
    if (Number(TTL) < ttlS)
      throw new StoreError('STORE_DAMAGED', `etcd: a lease of ${TTL} s for one of ${ttlS}`)
    return ID
  }

  /** Whether there still is such a lease. */
  async keepAlive(ID: string): Promise<boolean> {
    const { result } = await this.#post('/v3/lease/keepalive', { ID }, message.KEEPALIVE_ANSWER, true)
    return Number(result.TTL) > 0
  }

  async revoke(ID: string): Promise<void> {
    const options = { repeatable: true, timeoutMs: this.#untilMs - monotonicMs() }
    const answer = await this.#client.post('/v3/lease/revoke', { ID }, message.REVOKE_ANSWER, options)
    if (!answer.ok && answer.code !== GRPC_NOT_FOUND) throw refused(answer.message)
  }

  async #post<T>(path: string, body: unknown, schema: z.ZodType<T>, repeatable: boolean): Promise<T> {
    const options = { repeatable, timeoutMs: this.#untilMs - monotonicMs() }
    const answer = await this.#client.post(path, body, schema, options)
    if (!answer.ok) throw refused(answer.message)
    return answer.body
  }
}

class TimedRequests {
  readonly #client: EtcdClient
  readonly #timeoutMs: number

  constructor(client: EtcdClient, timeoutMs: number) {
    this.#client = client
    this.#timeoutMs = timeoutMs
  }

  begin(): TimedRequest {
    return new TimedRequest(this.#client, this.#timeoutMs)
  }
}

function refused(why: string): StoreError {
  return new StoreError('STORE_UNREACHABLE', `etcd refused: ${why}`)
}

function entryOf(key: string, { value, mod_revision }: message.EtcdKeyValue): StoreEntry {
  if (value.length > VALUE_BYTES_MAX)
    throw new StoreError('STORE_DAMAGED', `etcd: the value of ${key} has ${value.length} bytes`)
  return { key, value, version: mod_revision }
}
