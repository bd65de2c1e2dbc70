/**
 * The cases every store passes, whatever it is built on. A test file of an implementation calls `storeCases`
 * with a way to open a fresh, empty store. `lease-cases.ts` has those of leases and watches.
 *
 * Versions are compared, never named: one store counts the changes of a key, another those of everything.
 */
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { LIST_ENTRIES_MAX, type Store, VALUE_BYTES_MAX } from './store.ts'
import { bytes, text } from './store-text.ts'

export interface StoreUnderTest {
  readonly store: Store
  /** A second client of the same store, as another host would have. */
  readonly other: Store
  /** The store's address for `openStore`, for clients in other processes. */
  readonly url: string
  /** Makes the store unreachable for `store`, and for nobody else, until `heal`. */
  isolate(): Promise<void>
  heal(): Promise<void>
  dispose(): Promise<void>
}

export function storeCases(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(`${name}: the cases of every store`, () => {
    let subject: StoreUnderTest
    let store: Store
    let other: Store
    beforeEach(async () => {
      subject = await open()
      store = subject.store
      other = subject.other
    })
    afterEach(() => subject.dispose())

    /** Creates a key that must not be there yet, and gives its version. */
    const create = async (key: string, value: string): Promise<number> => {
      const result = await store.createIfAbsent(key, bytes(value))
      if (!result.created) throw new Error(`${key} is there already`)
      return result.version
    }

    it('creates a key once and shows the loser what is there', async () => {
      const version = await create('vm/demo/generation/2', 'a')
      expect(version).toBeGreaterThanOrEqual(1)
      const lost = await other.createIfAbsent('vm/demo/generation/2', bytes('b'))
      expect(lost).toEqual({
        created: false,
        existing: { key: 'vm/demo/generation/2', value: bytes('a'), version },
      })
    })

    it('lets exactly one of many simultaneous creators win', async () => {
      const attempts = Array.from({ length: 16 }, (_, i) =>
        (i % 2 ? store : other).createIfAbsent('race', bytes(`${i}`)),
      )
      const results = await Promise.all(attempts)
      const winners = results.flatMap((result, i) => (result.created ? [`${i}`] : []))
      expect(winners.length).toBe(1)
      for (const result of results) if (!result.created) expect(text(result.existing.value)).toBe(winners[0])
      expect(text((await other.get('race'))!.value)).toBe(winners[0])
    })

    it('has nothing at a key that was never created', async () => {
      expect(await store.get('nothing')).toBe(null)
      expect(await store.compareAndSet('nothing', 1, bytes('x'))).toEqual({ set: false, current: null })
      expect(await store.compareAndSet('nothing', 0, bytes('x'))).toEqual({ set: false, current: null })
      expect(await store.compareAndDelete('nothing', 1)).toEqual({ set: false, current: null })
    })

    it('sets only from the version that is there', async () => {
      const first = await create('key', '1')
      const changed = await other.compareAndSet('key', first, bytes('2'))
      if (!changed.set) throw new Error('not set')
      expect(changed.version).toBeGreaterThan(first)
      const current = { key: 'key', value: bytes('2'), version: changed.version }
      for (const version of [first, changed.version + 1, 0, -1, 0.5, Number.NaN]) {
        expect(await store.compareAndSet('key', version, bytes('3'))).toEqual({ set: false, current })
      }
      expect(await store.get('key')).toEqual(current)
    })

    it('never gives a version out again, also after deletion', async () => {
      const first = await create('key', '1')
      expect(await store.compareAndDelete('key', first + 1)).toMatchObject({ set: false })
      const deleted = await store.compareAndDelete('key', first)
      expect(deleted).toMatchObject({ set: true })
      expect(await other.get('key')).toBe(null)
      const deletedVersion = deleted.set ? deleted.version : Number.NaN
      expect(deletedVersion).toBeGreaterThan(first)
      const absent = { set: false, current: null }
      expect(await other.compareAndSet('key', deletedVersion, bytes('x'))).toEqual(absent)
      expect(await other.compareAndDelete('key', deletedVersion)).toEqual(absent)
      const again = await other.createIfAbsent('key', bytes('2'))
      expect(again.created && again.version).toBeGreaterThan(deletedVersion)
      expect(await store.compareAndSet('key', first, bytes('stale'))).toMatchObject({ set: false })
    })

    it('counts right through many changes from two clients', async () => {
      const first = await create('count', '0')
      const add = async (client: Store): Promise<void> => {
        for (let done = 0; done < 25; ) {
          const now = (await client.get('count'))!
          const next = bytes(String(Number(text(now.value)) + 1))
          if ((await client.compareAndSet('count', now.version, next)).set) done++
        }
      }
      await Promise.all([add(store), add(other)])
      const counted = (await store.get('count'))!
      expect(text(counted.value)).toBe('50')
      expect(counted.version).toBeGreaterThanOrEqual(first + 50)
    })

    it('lists what is below a prefix, in order, without what was deleted', async () => {
      for (const key of ['vm/a', 'vm/a/place', 'vm/a-1', 'vmx', 'vm-1', 'host/1']) await create(key, key)
      await store.compareAndDelete('vm/b', await create('vm/b', 'gone'))
      const keys = async (prefix: string) => (await other.list(prefix)).map((entry) => entry.key)
      expect(await keys('vm')).toEqual(['vm/a', 'vm/a-1', 'vm/a/place'])
      expect(await keys('vm/a')).toEqual(['vm/a', 'vm/a/place'])
      expect(await keys('none')).toEqual([])
      expect(await keys('')).toEqual(['host/1', 'vm-1', 'vm/a', 'vm/a-1', 'vm/a/place', 'vmx'])
      expect((await other.list('vm/a/place'))[0]).toMatchObject({ value: bytes('vm/a/place') })
      expect(LIST_ENTRIES_MAX).toBeGreaterThan(4)
    })

    it('keeps any bytes, up to the longest value and not beyond', async () => {
      const longest = new Uint8Array(VALUE_BYTES_MAX).map((_, i) => i * 7)
      await store.createIfAbsent('longest', longest)
      expect((await other.get('longest'))!.value).toEqual(longest)
      const empty = await create('empty', '')
      expect((await other.get('empty'))!.value).toEqual(new Uint8Array(0))
      const tooLong = new Uint8Array(VALUE_BYTES_MAX + 1)
      await expect(store.createIfAbsent('x', tooLong)).rejects.toMatchObject({ code: 'STORE_VALUE_TOO_LONG' })
      await expect(store.compareAndSet('empty', empty, tooLong)).rejects.toMatchObject({
        code: 'STORE_VALUE_TOO_LONG',
      })
    })

    it('refuses keys that are none', async () => {
      const parts = fc.constantFrom('', '.', '..', '=1', 'A', 'a b', '-a', '_', '\0', 'ü', 'a'.repeat(65))
      await fc.assert(
        fc.asyncProperty(parts, fc.constantFrom('', 'vm/'), async (part, prefix) => {
          const refused = { code: 'STORE_KEY_INVALID' }
          await expect(store.get(prefix + part)).rejects.toMatchObject(refused)
          await expect(store.createIfAbsent(prefix + part, bytes('x'))).rejects.toMatchObject(refused)
        }),
        { numRuns: 40 },
      )
      await expect(store.get('a/b/c/d/e/f/g/h/i')).rejects.toMatchObject({ code: 'STORE_KEY_INVALID' })
      await expect(store.list('../..')).rejects.toMatchObject({ code: 'STORE_KEY_INVALID' })
    })

    it('says that it is unreachable, and works again when it is back', async () => {
      const version = await create('key', '1')
      await subject.isolate()
      const unreachable = { code: 'STORE_UNREACHABLE' }
      await expect(store.get('key')).rejects.toMatchObject(unreachable)
      await expect(store.list('')).rejects.toMatchObject(unreachable)
      await expect(store.createIfAbsent('new', bytes('x'))).rejects.toMatchObject(unreachable)
      await expect(store.compareAndSet('key', version, bytes('x'))).rejects.toMatchObject(unreachable)
      await expect(store.compareAndDelete('key', version)).rejects.toMatchObject(unreachable)
      expect((await other.list('')).map(({ key }) => key)).toEqual(['key'])
      await subject.heal()
      expect(await store.compareAndSet('key', version, bytes('2'))).toMatchObject({ set: true })
    })

    it('answers no more once closed', async () => {
      await store.close()
      await expect(store.get('key')).rejects.toMatchObject({ code: 'STORE_CLOSED' })
      await expect(store.lease('key', bytes(''), 1_000)).rejects.toMatchObject({ code: 'STORE_CLOSED' })
      expect(() => store.watch('key', () => {})).toThrow('closed')
    })
  })
}
