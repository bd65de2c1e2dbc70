import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { choose, type PlacementHost, place } from './placement.ts'

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

describe('choosing a host', () => {
  test('never breaks a rule, and never refuses while one fits', () => {
    fc.assert(
      fc.property(anyHosts, fc.constantFrom(null, 'a', 'b'), (hosts, apartFrom) => {
        const other = hosts.find(({ host }) => host === apartFrom)
        const fits = hosts.filter(
          (candidate) =>
            candidate.host !== apartFrom &&
            candidate.failureDomain !== other?.failureDomain &&
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
    const { reason } = choose(hosts, { memoryBytes: GIB, apartFrom: 'a', avoid: new Set(['e']) })
    expect(reason).toBe(
      'a: has the other replica; b: is in the failure domain rack of the other replica; c: is drained; ' +
        'd: has 0 MiB free of 1024; e: has just failed at it',
    )
  })
})

test('a new machine gets two hosts apart, or an error that says why not', () => {
  const hosts = [host('a', { replicas: 2 }), host('b'), host('c', { replicas: 1 })]
  const placed = place(hosts, { memoryBytes: GIB, protect: true })
  expect([placed.primary.host, placed.backup?.host]).toEqual(['b', 'c'])
  expect(place(hosts, { memoryBytes: GIB, protect: false }).backup).toBe(null)
  const few = expect.objectContaining({ code: 'CLUSTER_TOO_FEW_HOSTS' })
  expect(() => place(hosts.slice(0, 1), { memoryBytes: GIB, protect: true })).toThrow(few)
  expect(() => place([], { memoryBytes: GIB, protect: false })).toThrow(few)
})
