import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { type EtcdStore, openEtcdStore } from './etcd.ts'
import { leaseCases } from './lease-cases.ts'
import { openStore } from './open.ts'
import { LEASE_TTL_MS_MAX } from './store.ts'
import { type StoreUnderTest, storeCases } from './store-cases.ts'
import { bytes, text } from './store-text.ts'
import { makeCertificates } from './testing/certificates.ts'
import { CuttableWay, EtcdServer, etcdVersion, freePort } from './testing/etcd-server.ts'

const version = etcdVersion()
if (version === null)
  console.warn('skipped: the tests of the store on etcd need the program `etcd` (Debian: etcd-server)')

describe.skipIf(version === null)(`with etcd ${version}`, () => {
  let etcd: EtcdServer
  let prefixes = 0
  beforeAll(async () => {
    etcd = await EtcdServer.start()
  })
  afterAll(() => etcd?.dispose())

  const openForCases = async (): Promise<StoreUnderTest> => {
    const way = await CuttableWay.open(etcd.port)
    const prefix = `test/case-${prefixes++}`
    const url = `etcd://127.0.0.1:${etcd.port}/${prefix}`
    const store = await openStore(`etcd://127.0.0.1:${way.port}/${prefix}`)
    const other = await openStore(url)
    const dispose = async () => {
      await Promise.all([store.close(), other.close()])
      await way.dispose()
    }
    return { store, other, url, isolate: async () => way.cut(), heal: async () => way.heal(), dispose }
  }

  storeCases('etcd', openForCases)
  leaseCases('etcd', openForCases)

  describe('etcd store', () => {
    const prefix = () => `test/own-${prefixes++}`
    const open = (ports: readonly number[], at: string, timeoutMs?: number): Promise<EtcdStore> => {
      const endpoints = ports.map((port) => `127.0.0.1:${port}`)
      return openEtcdStore({ endpoints, prefix: at, tls: null, ...(timeoutMs ? { timeoutMs } : {}) })
    }

    it('gives up in time on an etcd that hangs, and goes on with it, watches too', async () => {
      const own = await EtcdServer.start()
      onTestFinished(() => own.dispose())
      const store = await open([own.port], 'test', 500)
      let calls = 0
      const watch = store.watch('', () => {
        calls++
      })
      await expect.poll(() => calls).toBeGreaterThan(0)
      own.stop()
      const unreachable = { code: 'STORE_UNREACHABLE' }
      await expect(store.get('key')).rejects.toMatchObject(unreachable)
      await expect(store.createIfAbsent('key', bytes('1'))).rejects.toMatchObject(unreachable)
      own.continue()
      // Its outcome was unknown: it may have been done on waking, and is found then.
      await expect.poll(() => store.createIfAbsent('key', bytes('1')).catch(() => null)).not.toBe(null)
      expect(text((await store.get('key'))!.value)).toBe('1')
      const before = calls
      await store.createIfAbsent('other', bytes('1'))
      await expect.poll(() => calls).toBeGreaterThan(before)
      watch.close()
      await store.close()
    })

    it('asks the next endpoint, and stays with the one that answers', async () => {
      const at = prefix()
      const refusing = await freePort()
      const [first, second] = [await CuttableWay.open(etcd.port), await CuttableWay.open(etcd.port)]
      const store = await open([refusing, first.port, second.port], at)
      expect(await store.createIfAbsent('key', bytes('1'))).toMatchObject({ created: true })
      let calls = 0
      const watch = store.watch('', () => {
        calls++
      })
      await expect.poll(() => calls).toBeGreaterThan(0)
      first.cut()
      await expect.poll(() => store.createIfAbsent('other', bytes('1')).catch(() => null)).not.toBe(null)
      expect((await store.list('')).length).toBe(2)
      const before = calls
      await store.createIfAbsent('third', bytes('1'))
      await expect.poll(() => calls).toBeGreaterThan(before)
      second.cut()
      await expect(store.get('key')).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' })
      first.heal()
      expect(text((await store.get('key'))!.value)).toBe('1')
      watch.close()
      await store.close()
      await Promise.all([first.dispose(), second.dispose()])
    })

    it('does not ask twice for a change whose answer was lost', async () => {
      const at = prefix()
      const lossy = await CuttableWay.open(etcd.port)
      const store = await open([lossy.port, etcd.port], at)
      // The request passes and is done; the answer does not come back.
      lossy.loseNextAnswer()
      await expect(store.createIfAbsent('key', bytes('mine'))).rejects.toMatchObject({
        code: 'STORE_UNREACHABLE',
      })
      const found = await store.createIfAbsent('key', bytes('mine'))
      expect(!found.created && text(found.existing.value)).toBe('mine')
      lossy.heal()
      await store.close()
      await lossy.dispose()
    })

    it('lists more than fits one answer, all of one moment', async () => {
      const at = prefix()
      const store = await open([etcd.port], at)
      const keys = Array.from({ length: 600 }, (_, i) => `many/${String(i).padStart(4, '0')}`)
      await Promise.all(keys.map((key) => store.createIfAbsent(key, bytes(key))))
      expect((await store.list('many')).map(({ key }) => key)).toEqual(keys)
      expect((await store.list('')).map(({ value }) => text(value))).toEqual(keys)
      await store.close()
    })

    it('keeps clusters with different prefixes apart, and leaves alone what is no key', async () => {
      const at = prefix()
      const [one, two] = [await open([etcd.port], `${at}/1`), await open([etcd.port], `${at}/1-2`)]
      const above = await open([etcd.port], at)
      await one.createIfAbsent('key', bytes('one'))
      expect(await two.get('key')).toBe(null)
      expect(await two.list('')).toEqual([])
      await put(etcd.port, `${at}/1/NOT A KEY`, 'x')
      expect((await one.list('')).map(({ key }) => key)).toEqual(['key'])
      expect((await above.list('')).map(({ key }) => key)).toEqual(['1/key'])
      await Promise.all([one, two, above].map((store) => store.close()))
    })

    it('speaks TLS, and shows who it is', async () => {
      const directory = await mkdtemp(join(tmpdir(), 'understudy-certificates-'))
      const files = await makeCertificates(directory)
      const secured = await EtcdServer.start(files)
      onTestFinished(() => secured.dispose())
      const url = `etcds://127.0.0.1:${secured.port}/test`
      const [ca, cert, key] = [files.ca, files.cert, files.key].map((path) => readFileSync(path, 'utf8'))
      const store = await openStore(url, { tls: { ca: ca!, cert: cert!, key: key! } })
      let calls = 0
      const watch = store.watch('', () => {
        calls++
      })
      await expect.poll(() => calls).toBeGreaterThan(0)
      expect(await store.createIfAbsent('key', bytes('1'))).toMatchObject({ created: true })
      await expect.poll(() => calls).toBeGreaterThan(1)
      watch.close()
      const unreachable = { code: 'STORE_UNREACHABLE' }
      await expect(openStore(url, { tls: { ca: ca! } })).rejects.toMatchObject(unreachable)
      await expect(openStore(url, { tls: { cert: cert!, key: key! } })).rejects.toMatchObject(unreachable)
      await expect(openStore(url.replace('etcds', 'etcd'))).rejects.toMatchObject(unreachable)
      await store.close()
      await rm(directory, { recursive: true })
    })

    it('leaves no lease in etcd for a key that was taken', async () => {
      const store = await open([etcd.port], prefix())
      const leases = async () => {
        const url = `http://127.0.0.1:${etcd.port}/v3/lease/leases`
        const response = await fetch(url, { method: 'POST', body: '{}' })
        const answer = (await response.json()) as { leases?: { ID: string }[] }
        return (answer.leases ?? []).map(({ ID }) => ID)
      }
      await store.createIfAbsent('key', bytes('1'))
      const before = new Set(await leases())
      expect(await store.lease('key', bytes('2'), LEASE_TTL_MS_MAX)).toMatchObject({ held: false })
      await expect.poll(async () => (await leases()).filter((id) => !before.has(id))).toEqual([])
      await store.close()
    })

    it('says what is damaged', async () => {
      const at = prefix()
      const store = await open([etcd.port], at)
      await put(etcd.port, `${at}/long`, 'x'.repeat(70_000))
      await expect(store.get('long')).rejects.toMatchObject({ code: 'STORE_DAMAGED' })
      await store.close()
    })
  })
})

async function put(port: number, key: string, value: string): Promise<void> {
  const encode = (part: string) => Buffer.from(part).toString('base64')
  const body = JSON.stringify({ key: encode(key), value: encode(value) })
  const response = await fetch(`http://127.0.0.1:${port}/v3/kv/put`, { method: 'POST', body })
  expect(response.status).toBe(200)
}
