/**
 * The cases of leases and watches, for every store. Nothing here waits for a time to pass: what must happen is
 * awaited, and what must not happen is looked for until another lease, whose holder is gone, was seen to run out.
 */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { openStore } from './open.ts'
import { LEASE_TTL_MS_MAX, LEASE_TTL_MS_MIN, type Lease, type Store } from './store.ts'
import type { StoreUnderTest } from './store-cases.ts'
import { bytes, text } from './store-text.ts'

const TTL_MS = LEASE_TTL_MS_MIN

export function leaseCases(name: string, open: () => Promise<StoreUnderTest>): void {
  let subject: StoreUnderTest
  let store: Store
  let other: Store
  const holders: HolderProcess[] = []
  beforeEach(async () => {
    subject = await open()
    store = subject.store
    other = subject.other
  })
  afterEach(async () => {
    for (const holder of holders.splice(0)) holder.kill('SIGKILL')
    await subject.dispose()
  })

  const hold = async (client: Store, key: string, value = 'holder'): Promise<Lease> => {
    const result = await client.lease(key, bytes(value), TTL_MS)
    if (!result.held) throw new Error(`${key} is taken`)
    return result.lease
  }
  const holdElsewhere = async (key: string): Promise<HolderProcess> => {
    const holder = new HolderProcess(subject.url, key, TTL_MS)
    holders.push(holder)
    expect(await holder.says()).toBe('held')
    return holder
  }
  const gone = (key: string) =>
    expect.poll(() => other.get(key), { timeout: 20_000, interval: 50 }).toBe(null)
  /** Awaits that the lease of a client that is gone runs out, which takes a whole time to live at least. */
  const aTimeToLive = async (): Promise<void> => {
    const client = await openStore(subject.url)
    const { key } = await hold(client, `clock/${clocks++}`)
    await client.close()
    await gone(key)
  }
  let clocks = 0

  describe(`${name}: the leases of every store`, () => {
    it('holds a key against everybody, and frees it when it is released', async () => {
      const lease = await hold(store, 'host/a')
      expect(lease.held).toBe(true)
      const existing = (await other.get('host/a'))!
      expect(text(existing.value)).toBe('holder')
      expect(await other.lease('host/a', bytes('other'), TTL_MS)).toEqual({ held: false, existing })
      expect(await store.lease('host/a', bytes('again'), TTL_MS)).toEqual({ held: false, existing })
      expect(await other.createIfAbsent('host/a', bytes('other'))).toEqual({ created: false, existing })
      await lease.release()
      expect(await lease.lost).toBe('released')
      expect(lease.held).toBe(false)
      expect(await other.get('host/a')).toBe(null)
      const next = await other.createIfAbsent('host/a', bytes('other'))
      expect(next.created && next.version).toBeGreaterThan(existing.version)
    })

    it('does not hold a key that is there', async () => {
      const plain = await store.createIfAbsent('key', bytes('plain'))
      const existing = { key: 'key', value: bytes('plain'), version: plain.created && plain.version }
      expect(await other.lease('key', bytes('x'), TTL_MS)).toEqual({ held: false, existing })
      await aTimeToLive()
      expect(await other.get('key')).toEqual(existing)
    })

    it('lets exactly one of many simultaneous holders win', async () => {
      const attempts = Array.from({ length: 12 }, (_, i) =>
        (i % 2 ? store : other).lease('race', bytes(`${i}`), TTL_MS),
      )
      const results = await Promise.all(attempts)
      const winners = results.flatMap((result, i) => (result.held ? [`${i}`] : []))
      expect(winners.length).toBe(1)
      expect(text((await other.get('race'))!.value)).toBe(winners[0])
    })

    it('stays for as long as its holder lives, with one version', async () => {
      const lease = await hold(store, 'host/a')
      const before = await other.get('host/a')
      for (let i = 0; i < 2; i++) {
        await aTimeToLive()
        expect(await other.get('host/a')).toEqual(before)
        expect(await other.createIfAbsent('host/a', bytes('x'))).toMatchObject({ created: false })
        expect(lease.held).toBe(true)
      }
    })

    it('runs out when its holder is killed, and then can be taken once', async () => {
      const holder = await holdElsewhere('host/a')
      const version = (await other.get('host/a'))!.version
      holder.kill('SIGKILL')
      await gone('host/a')
      expect(await other.list('host')).toEqual([])
      expect(await other.compareAndSet('host/a', version, bytes('x'))).toEqual({ set: false, current: null })
      expect(await other.compareAndDelete('host/a', version)).toEqual({ set: false, current: null })
      const next = await other.createIfAbsent('host/a', bytes('next'))
      expect(next.created && next.version).toBeGreaterThan(version)
      expect(await store.createIfAbsent('host/a', bytes('later'))).toMatchObject({ created: false })
    })

    it('is known as lost by a holder that slept through its end, before it does anything', async () => {
      const holder = await holdElsewhere('host/a')
      holder.kill('SIGSTOP')
      await expect
        .poll(() => other.createIfAbsent('host/a', bytes('next')), { timeout: 20_000 })
        .toMatchObject({ created: true })
      holder.kill('SIGCONT')
      expect(await holder.says()).toBe('expired false')
      expect(text((await other.get('host/a'))!.value)).toBe('next')
    })

    it('is known as lost by its holder before anybody takes it', async () => {
      const lease = await hold(store, 'host/a')
      let lost: string | null = null
      lease.lost.then((reason) => {
        lost = reason
      })
      await subject.isolate()
      for (;;) {
        const taken = await other.createIfAbsent('host/a', bytes('next'))
        if (taken.created) break
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
      expect(lease.held).toBe(false)
      expect(lost).toBe('expired')
      await subject.heal()
      await expect(lease.update(bytes('late'))).rejects.toMatchObject({ code: 'STORE_LEASE_LOST' })
      await lease.release()
      expect(text((await other.get('host/a'))!.value)).toBe('next')
    })

    it('survives a short loss of the store', async () => {
      const lease = await hold(store, 'host/a')
      await subject.isolate()
      await expect(store.get('host/a')).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' })
      await subject.heal()
      await aTimeToLive()
      await aTimeToLive()
      expect(lease.held).toBe(true)
      expect(text((await other.get('host/a'))!.value)).toBe('holder')
    })

    it('changes its value and stays a lease', async () => {
      const lease = await hold(store, 'host/a')
      const first = (await other.get('host/a'))!
      await Promise.all([lease.update(bytes('1')), lease.update(bytes('2'))])
      const changed = (await other.get('host/a'))!
      expect(text(changed.value)).toBe('2')
      expect(changed.version).toBeGreaterThan(first.version)
      await aTimeToLive()
      await aTimeToLive()
      expect(await other.get('host/a')).toEqual(changed)
      expect(lease.held).toBe(true)
      await store.close()
      expect(await lease.lost).toBe('closed')
      await gone('host/a')
    })

    it('ends when somebody changes or deletes its key, and leaves alone what is there then', async () => {
      const replaced = await hold(store, 'replaced')
      const deleted = await hold(store, 'deleted')
      const version = async (key: string) => (await other.get(key))!.version
      const set = await other.compareAndSet('replaced', await version('replaced'), bytes('plain'))
      expect(set).toMatchObject({ set: true })
      expect(await other.compareAndDelete('deleted', await version('deleted'))).toMatchObject({ set: true })
      expect(await replaced.lost).toBe('replaced')
      expect(await deleted.lost).toBe('replaced')
      await replaced.release()
      await aTimeToLive()
      expect(text((await other.get('replaced'))!.value)).toBe('plain')
      expect(await other.get('deleted')).toBe(null)
    })

    it('refuses times that are none', async () => {
      for (const ttlMs of [0, -1, LEASE_TTL_MS_MIN - 1, LEASE_TTL_MS_MAX + 1, 1_000.5, Number.NaN]) {
        const refused = store.lease('key', bytes(''), ttlMs)
        await expect(refused).rejects.toMatchObject({ code: 'STORE_TTL_INVALID' })
      }
      await expect(store.lease('A', bytes(''), TTL_MS)).rejects.toMatchObject({ code: 'STORE_KEY_INVALID' })
    })
  })

  describe(`${name}: the watches of every store`, () => {
    /** Counts the calls; `next` resolves at the next one after it was asked for. */
    const watched = (client: Store, prefix: string) => {
      const onChange = vi.fn()
      const watch = client.watch(prefix, onChange)
      const calls = () => onChange.mock.calls.length
      const more = (than: number) =>
        expect.poll(calls, { timeout: 20_000, interval: 10 }).toBeGreaterThan(than)
      return { watch, calls, more }
    }

    it('tells when it begins, and of each kind of change by whoever', async () => {
      const { watch, calls, more } = watched(store, 'vm')
      await more(0)
      const step = async (change: () => Promise<unknown>): Promise<void> => {
        const before = calls()
        await change()
        await more(before)
      }
      await step(() => other.createIfAbsent('vm/a', bytes('1')))
      await step(() => store.createIfAbsent('vm', bytes('itself')))
      await step(async () => other.compareAndSet('vm/a', (await other.get('vm/a'))!.version, bytes('2')))
      await step(async () => other.compareAndDelete('vm/a', (await other.get('vm/a'))!.version))
      let lease: Lease | undefined
      await step(async () => {
        lease = await hold(other, 'vm/b/c')
      })
      await step(() => lease!.update(bytes('2')))
      await step(() => lease!.release())
      watch.close()
    })

    it('tells of a lease that ran out, and by then it is gone', async () => {
      const holder = await holdElsewhere('host/a')
      let here: boolean | null = null
      const watch = store.watch('host', async () => {
        here = (await store.list('host')).length > 0
      })
      await expect.poll(() => here, { timeout: 20_000 }).toBe(true)
      holder.kill('SIGKILL')
      await expect.poll(() => here, { timeout: 20_000 }).toBe(false)
      watch.close()
    })

    it('is silent about renewals, about other keys, and once closed', async () => {
      await hold(other, 'host/a')
      const { watch, calls, more } = watched(store, 'host')
      const closed = watched(store, 'other')
      await more(0)
      await closed.more(0)
      closed.watch.close()
      closed.watch.close()
      const [before, beforeClosed] = [calls(), closed.calls()]
      await other.createIfAbsent('other/key', bytes('1'))
      await aTimeToLive()
      await aTimeToLive()
      expect(calls()).toBe(before)
      expect(closed.calls()).toBe(beforeClosed)
      watch.close()
    })

    it('goes on when the store is back, and tells of it', async () => {
      const { watch, calls, more } = watched(store, 'vm')
      await more(0)
      await subject.isolate()
      await expect(store.get('vm')).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' })
      const before = calls()
      await other.createIfAbsent('vm/a', bytes('1'))
      await aTimeToLive()
      expect(calls()).toBe(before)
      await subject.heal()
      await more(before)
      const healed = calls()
      await other.createIfAbsent('vm/b', bytes('1'))
      await more(healed)
      watch.close()
    })
  })
}

/** `lease-holder.ts` as a process. */
class HolderProcess {
  readonly #child
  readonly #lines

  constructor(url: string, key: string, ttlMs: number) {
    const script = new URL('./testing/lease-holder.ts', import.meta.url).pathname
    this.#child = spawn(process.execPath, [script, url, key, `${ttlMs}`], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]()
  }

  async says(): Promise<string | undefined> {
    return (await this.#lines.next()).value
  }

  kill(signal: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT'): void {
    this.#child.kill(signal)
  }
}
