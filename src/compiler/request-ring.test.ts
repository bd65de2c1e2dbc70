import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { RegionPlace } from '../machine/cpu/region-module.ts'
import { createRequestRing, readRequests, writeRequests } from './request-ring.ts'

const place = (n: number): RegionPlace => ({ page: n, offset: (n * 2) % 4096, mode: n % 4 })

test('what is written is read, once and in order, and what finds no room is told', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(700), fc.nat(700)), { maxLength: 40 }), (steps) => {
      const ring = createRequestRing()
      let [written, read] = [0, 0]
      for (const [write, take] of steps) {
        const offered = Array.from({ length: write }, (_, i) => place(written + i))
        const accepted = writeRequests(ring, offered)
        expect(accepted).toBe(Math.min(write, 1024 - (written - read)))
        written += accepted
        // An empty ring would put the reader to sleep.
        if (written === read || take === 0) continue
        const places = readRequests(ring, take)
        expect(places).toEqual(
          Array.from({ length: Math.min(take, written - read) }, (_, i) => place(read + i)),
        )
        read += places.length
      }
    }),
  )
})
