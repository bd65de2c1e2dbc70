/**
 * Entry points on their way to the thread that compiles: a ring in shared memory with one writer and one reader. The
 * writer never waits; the reader sleeps until something is there.
 */
import type { RegionPlace } from '../machine/cpu/region-module.ts'

/** Far more than become hot before the reader looks again; the writer keeps what finds no room. */
const PLACES_MAX = 1024
const PLACE_WORDS = 3
const WRITTEN = 0
const READ = 1
const FIRST = 2

/** Counters wrap at 32 bits, which the ring's size divides. */
export type RequestRing = Int32Array<SharedArrayBuffer>

export function createRequestRing(): RequestRing {
  return new Int32Array(new SharedArrayBuffer((FIRST + PLACES_MAX * PLACE_WORDS) * 4))
}

function indexOf(count: number): number {
  return FIRST + ((count >>> 0) % PLACES_MAX) * PLACE_WORDS
}

/** Writes what finds room, wakes the reader, and tells how many that were. */
export function writeRequests(ring: RequestRing, places: readonly RegionPlace[]): number {
  const written = Atomics.load(ring, WRITTEN)
  const room = PLACES_MAX - ((written - Atomics.load(ring, READ)) >>> 0)
  const count = Math.min(room, places.length)
  for (let i = 0; i < count; i++) {
    const { page, offset, mode } = places[i]
    ring.set([page, offset, mode], indexOf(written + i))
  }
  Atomics.store(ring, WRITTEN, written + count)
  Atomics.notify(ring, WRITTEN)
  return count
}

/** Takes at most `count`, oldest first; sleeps while there are none. */
export function readRequests(ring: RequestRing, count: number): RegionPlace[] {
  const read = Atomics.load(ring, READ)
  while (Atomics.load(ring, WRITTEN) === read) Atomics.wait(ring, WRITTEN, read)
  const there = (Atomics.load(ring, WRITTEN) - read) >>> 0
  const places = Array.from({ length: Math.min(count, there) }, (_, i): RegionPlace => {
    const at = indexOf(read + i)
    return { page: ring[at], offset: ring[at + 1], mode: ring[at + 2] }
  })
  Atomics.store(ring, READ, read + places.length)
  return places
}
