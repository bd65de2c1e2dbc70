import { expect, test } from 'vitest'
import type { PlacementHost } from '../redundancy/placement.ts'
import { place } from './place.ts'

const GIB = 1024 ** 3

function host(name: string, fields: Partial<PlacementHost> = {}): PlacementHost {
  const defaults = { draining: false, memoryBytes: 8 * GIB, usedBytes: 0, cpus: 4, replicas: 0 }
  return { host: name, failureDomain: name, ...defaults, ...fields }
}

test('a new machine gets two hosts apart, or an error that says why not', () => {
  const hosts = [host('a', { replicas: 2 }), host('b'), host('c', { replicas: 1 })]
  const placed = place(hosts, { memoryBytes: GIB, protect: true })
  expect([placed.primary.host, placed.backup?.host]).toEqual(['b', 'c'])
  expect(place(hosts, { memoryBytes: GIB, protect: false }).backup).toBe(null)
  const few = expect.objectContaining({ code: 'CLUSTER_TOO_FEW_HOSTS' })
  expect(() => place(hosts.slice(0, 1), { memoryBytes: GIB, protect: true })).toThrow(few)
  expect(() => place([], { memoryBytes: GIB, protect: false })).toThrow(few)
})
