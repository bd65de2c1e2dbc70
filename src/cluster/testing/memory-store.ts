/** The part of a store that events need, in memory, with whatever a test wants to happen around each operation. */
import {
  type CompareAndSetResult,
  type CreateResult,
  checkKey,
  checkValue,
  type StoreEntry,
  StoreError,
} from '../../store/store.ts'
import type { EventStore } from '../stored-events.ts'

/** `refused`: not done. `lost`: done, and its answer lost. */
export type Fate = 'answered' | 'refused' | 'lost'

export class MemoryStore implements EventStore {
  readonly entries = new Map<string, StoreEntry>()
  /** Awaited before each operation is carried out. */
  before: () => Promise<unknown> = async () => {}
  fate: (operation: 'read' | 'write') => Fate = () => 'answered'
  writes = 0

  get(key: string): Promise<StoreEntry | null> {
    return this.#operation('read', () => this.entries.get(key) ?? null)
  }

  list(prefix: string): Promise<readonly StoreEntry[]> {
    return this.#operation('read', () =>
      [...this.entries.values()]
        .filter(({ key }) => key === prefix || key.startsWith(`${prefix}/`))
        .sort((a, b) => (a.key < b.key ? -1 : 1)),
    )
  }

  createIfAbsent(key: string, value: Uint8Array): Promise<CreateResult> {
    return this.#operation('write', () => {
      const existing = this.entries.get(key)
      if (existing !== undefined) return { created: false, existing }
      return { created: true, version: this.#put(key, value, 1) }
    })
  }

  compareAndSet(key: string, expectedVersion: number, value: Uint8Array): Promise<CompareAndSetResult> {
    return this.#operation('write', () => {
      const current = this.entries.get(key) ?? null
      if (current?.version !== expectedVersion) return { set: false, current }
      return { set: true, version: this.#put(key, value, expectedVersion + 1) }
    })
  }

  async close(): Promise<void> {}

  #put(key: string, value: Uint8Array, version: number): number {
    checkKey(key)
    checkValue(value)
    this.writes++
    this.entries.set(key, { key, value, version })
    return version
  }

  async #operation<T>(operation: 'read' | 'write', carryOut: () => T): Promise<T> {
    await this.before()
    const fate = this.fate(operation)
    if (fate === 'refused') throw new StoreError('STORE_UNREACHABLE', 'refused')
    const result = carryOut()
    if (fate === 'lost') throw new StoreError('STORE_UNREACHABLE', 'the answer was lost')
    return result
  }
}
