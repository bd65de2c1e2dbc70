import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { choose, type PlacementHost } from './placement.ts'

const GIB = 1024 ** 3

function host(name: string, fields: Partial<PlacementHost> = {}): PlacementHost {
  const defaults = { draining: false, memoryBytes: 8 * GIB, usedBytes: 0, cpus: 4, replicas: 0 }
  return { host: name, failureDomain: name, ...defaults, ...fields }
}

const anyHosts = fc.uniqueArray(
  fc.record({
    host: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
    failureDomain: fc.constantFrom('rack-1', 'rack-2', 'rack-3'),
    draining: fc.boolean(),
    memoryBytes: fc.integer({ min: 1, max: 8 }).map((gib) => gib * GIB),
    usedBytes: fc.integer({ min: 0, max: 8 }).map((gib) => gib * GIB),
    cpus: fc.integer({ min: 1, max: 8 }),
    replicas: fc.integer({ min: 0, max: 4 }),
  }),
  { selector: ({ host }) => host, maxLength: 5 },
)

/** Also one that is not among the hosts: its own lease may have run out. */
const anyOther = fc.option(
  fc.record({
    host: fc.constantFrom('a', 'b', 'z'),
    failureDomain: fc.constantFrom(null, 'rack-1', 'rack-2'),
  }),
)

describe('choosing a host', () => {
  test('never breaks a rule, and never refuses while one fits', () => {
    fc.assert(
      fc.property(anyHosts, anyOther, (hosts, apartFrom) => {
        const fits = hosts.filter(
          (candidate) =>
            candidate.host !== apartFrom?.host &&
            candidate.failureDomain !== apartFrom?.failureDomain &&
            !candidate.draining &&
            candidate.memoryBytes - candidate.usedBytes >= GIB,
        )
        const { host: chosen, reason } = choose(hosts, { memoryBytes: GIB, apartFrom })
        if (fits.length === 0) expect(chosen, reason).toBe(null)
        else expect(fits.map(({ host }) => host)).toContain(chosen)
      }),
    )
  })

  test('depends on the hosts and not on their order', () => {
    fc.assert(
      fc.property(anyHosts, (hosts) => {
        const wanted = { memoryBytes: GIB, apartFrom: null }
        expect(choose([...hosts].reverse(), wanted).host).toBe(choose(hosts, wanted).host)
      }),
    )
  })

  test('takes the least loaded by memory, and then by replicas for each CPU', () => {
    const hosts = [
      host('a', { usedBytes: 2 * GIB }),
      host('b', { usedBytes: GIB, replicas: 2 }),
      host('c', { usedBytes: GIB, replicas: 1 }),
    ]
    expect(choose(hosts, { memoryBytes: GIB, apartFrom: null })).toMatchObject({ host: 'c' })
  })

  test('says of each host what is wrong with it', () => {
    const hosts = [
      host('a', { failureDomain: 'rack' }),
      host('b', { failureDomain: 'rack' }),
      host('c', { draining: true }),
      host('d', { usedBytes: 8 * GIB }),
      host('e'),
    ]
    const { reason } = choose(hosts, {
      memoryBytes: GIB,
      apartFrom: { host: 'a', failureDomain: 'rack' },
      avoid: new Set(['e']),
    })
    expect(reason).toBe(
      'a: has the other replica; b: is in the failure domain rack of the other replica; c: is drained; ' +
        'd: has 0 MiB free of 1024; e: has just failed at it',
    )
  })
})
