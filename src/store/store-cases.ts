/**
 * The cases every store passes, whatever it is built on. A test file of an implementation calls `storeCases`
 * with a way to open a fresh, empty store.
 */
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { LIST_ENTRIES_MAX, type Store, VALUE_BYTES_MAX } from './store.ts'
import { bytes, text } from './store-text.ts'

export interface StoreUnderTest {
  readonly store: Store
  /** A second client of the same store, as another host would have. */
  readonly other: Store
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

    it('creates a key once and shows the loser what is there', async () => {
      expect(await store.createIfAbsent('vm/demo/generation/2', bytes('a'))).toEqual({
        created: true,
        version: 1,
      })
      const lost = await other.createIfAbsent('vm/demo/generation/2', bytes('b'))
      expect(lost).toEqual({
        created: false,
        existing: { key: 'vm/demo/generation/2', value: bytes('a'), version: 1 },
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
      await store.createIfAbsent('key', bytes('1'))
      expect(await other.compareAndSet('key', 1, bytes('2'))).toEqual({ set: true, version: 2 })
      const current = { key: 'key', value: bytes('2'), version: 2 }
      expect(await store.compareAndSet('key', 1, bytes('3'))).toEqual({ set: false, current })
      expect(await store.compareAndSet('key', 3, bytes('3'))).toEqual({ set: false, current })
      expect(await store.get('key')).toEqual(current)
    })

    it('never gives a version out again, also after deletion', async () => {
      await store.createIfAbsent('key', bytes('1'))
      expect(await store.compareAndDelete('key', 2)).toMatchObject({ set: false })
      expect(await store.compareAndDelete('key', 1)).toMatchObject({ set: true })
      expect(await other.get('key')).toBe(null)
      expect(await other.compareAndSet('key', 2, bytes('x'))).toEqual({ set: false, current: null })
      const again = await other.createIfAbsent('key', bytes('2'))
      expect(again.created && again.version).toBeGreaterThan(2)
      expect(await store.compareAndSet('key', 1, bytes('stale'))).toMatchObject({ set: false })
    })

    it('counts right through many changes from two clients', async () => {
      await store.createIfAbsent('count', bytes('0'))
      const add = async (client: Store): Promise<void> => {
        for (let done = 0; done < 25; ) {
          const now = (await client.get('count'))!
          const next = bytes(String(Number(text(now.value)) + 1))
          if ((await client.compareAndSet('count', now.version, next)).set) done++
        }
      }
      await Promise.all([add(store), add(other)])
      expect(await store.get('count')).toEqual({ key: 'count', value: bytes('50'), version: 51 })
    })

    it('lists what is below a prefix, in order, without what was deleted', async () => {
      for (const key of ['vm/b', 'vm/a', 'vm/a/place', 'vmx', 'host/1'])
        await store.createIfAbsent(key, bytes(key))
      await store.compareAndDelete('vm/b', 1)
      const keys = async (prefix: string) => (await other.list(prefix)).map((entry) => entry.key)
      expect(await keys('vm')).toEqual(['vm/a', 'vm/a/place'])
      expect(await keys('vm/a')).toEqual(['vm/a', 'vm/a/place'])
      expect(await keys('none')).toEqual([])
      expect(await keys('')).toEqual(['host/1', 'vm/a', 'vm/a/place', 'vmx'])
      expect(LIST_ENTRIES_MAX).toBeGreaterThan(4)
    })

    it('keeps any bytes, up to the longest value and not beyond', async () => {
      const longest = new Uint8Array(VALUE_BYTES_MAX).map((_, i) => i * 7)
      await store.createIfAbsent('longest', longest)
      expect((await other.get('longest'))!.value).toEqual(longest)
      await store.createIfAbsent('empty', new Uint8Array(0))
      expect((await other.get('empty'))!.value).toEqual(new Uint8Array(0))
      const tooLong = new Uint8Array(VALUE_BYTES_MAX + 1)
      await expect(store.createIfAbsent('x', tooLong)).rejects.toMatchObject({ code: 'STORE_VALUE_TOO_LONG' })
      await expect(store.compareAndSet('empty', 1, tooLong)).rejects.toMatchObject({
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

    it('answers no more once closed', async () => {
      await store.close()
      await expect(store.get('key')).rejects.toMatchObject({ code: 'STORE_CLOSED' })
    })
  })
}
