import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Doorbell } from './doorbell.ts'
import { createRing, RingReader, RingWriter } from './ring.ts'

test('records come out as they went in, in order, across the wrap', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 200 }),
      fc.nat(5),
      (records, batch) => {
        const shared = createRing(256)
        const writer = new RingWriter(shared)
        const reader = new RingReader(shared)
        const out: Uint8Array[] = []
        for (const record of records) {
          while (!writer.tryWrite(record)) {
            const taken = reader.tryRead()
            expect(taken).not.toBeNull()
            out.push(taken!)
          }
          for (let i = 0; i < batch % 3; i++) {
            const taken = reader.tryRead()
            if (taken) out.push(taken)
          }
        }
        for (let taken = reader.tryRead(); taken; taken = reader.tryRead()) out.push(taken)
        expect(out).toEqual(records)
        expect(reader.empty).toBe(true)
      },
    ),
  )
})

test('where the reader keeps up, a ring uses its beginning only', () => {
  const shared = createRing(2 ** 20)
  const writer = new RingWriter(shared)
  const reader = new RingReader(shared)
  const record = new Uint8Array(10_000).fill(1)
  const mayLag = 3
  for (let i = 0; i < 1000; i++) {
    expect(writer.tryWrite(record)).toBe(true)
    if (i % mayLag === 0) while (reader.tryRead() !== null);
  }
  const reached = new Uint8Array(shared).findLastIndex((byte) => byte !== 0)
  expect(reached).toBeLessThan(65_536 + (2 * mayLag + 1) * record.length)
})

test('records of any size come out in order, and are counted, in a ring that goes back to its beginning', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(40_000), fc.nat(3)), { minLength: 20, maxLength: 60 }), (steps) => {
      const shared = createRing(131_072)
      const writer = new RingWriter(shared)
      const reader = new RingReader(shared)
      const lengths: number[] = []
      const expectCount = () => {
        const bytes = lengths.reduce((sum, length) => sum + 4 + Math.ceil(length / 4) * 4, 0)
        expect([writer.usedBytes, reader.usedBytes]).toEqual([bytes, bytes])
      }
      for (const [length, reads] of steps) {
        if (writer.tryWrite(new Uint8Array(length).fill(length & 255))) lengths.push(length)
        expectCount()
        for (let i = 0; i < reads; i++) {
          const taken = reader.tryRead()
          const expected = lengths.shift()
          expect(taken?.length).toBe(expected)
          if (taken !== null) expect(taken.every((byte) => byte === (taken.length & 255))).toBe(true)
          expectCount()
        }
      }
    }),
  )
})

test('a record that can never fit is refused, one that does not fit now is not written', () => {
  const shared = createRing(64)
  const writer = new RingWriter(shared)
  expect(() => writer.tryWrite(new Uint8Array(61))).toThrow(
    expect.objectContaining({ code: 'RING_RECORD_TOO_LARGE' }),
  )
  expect(writer.tryWrite(new Uint8Array(60))).toBe(true)
  expect(writer.tryWrite(new Uint8Array(0))).toBe(false)
})

test('the counters survive their wrap modulo 2^32', () => {
  const shared = createRing(64)
  new Int32Array(shared)[0] = -8
  new Int32Array(shared)[16] = -8
  const writer = new RingWriter(shared)
  const reader = new RingReader(shared)
  for (let i = 0; i < 10; i++) {
    expect(writer.tryWrite(Uint8Array.of(i, i, i, i, i))).toBe(true)
    expect(writer.usedBytes).toBe(12)
    expect(reader.tryRead()).toEqual(Uint8Array.of(i, i, i, i, i))
  }
})

/** Echoes records from one ring to the other until the first is closed, then closes the second. */
const ECHO = `
  const { workerData } = require('node:worker_threads')
  Promise.all([import(workerData.ring), import(workerData.doorbell)]).then(([{ RingReader, RingWriter }, { ringDoorbell }]) => {
    const reader = new RingReader(workerData.there)
    const writer = new RingWriter(workerData.back, () => ringDoorbell(workerData.fd))
    while (reader.wait() || !reader.closed) for (let r = reader.tryRead(); r; r = reader.tryRead()) writer.write(r)
    writer.close()
  })`

test('two threads: nothing lost, both sides sleep and are woken, in the thread and in the event loop', async () => {
  const there = createRing(1024)
  const back = createRing(1024)
  const reader = new RingReader(back)
  const writer = new RingWriter(there)
  const count = 3000
  let received = 0
  let rings = 0
  const ended = Promise.withResolvers<void>()
  const drain = () => {
    rings++
    do {
      for (let r = reader.tryRead(); r; r = reader.tryRead()) {
        expect(r).toEqual(new Uint8Array(received % 300).fill(received))
        received++
      }
    } while (!reader.sleep())
    if (reader.closed) ended.resolve()
  }
  const doorbell = new Doorbell(drain)
  drain()
  const module = (name: string) => new URL(name, import.meta.url).href
  const echo = new Worker(ECHO, {
    eval: true,
    workerData: {
      there,
      back,
      fd: doorbell.writeFd,
      ring: module('./ring.ts'),
      doorbell: module('./doorbell.ts'),
    },
  })
  for (let i = 0; i < count; i++) {
    await writer.writeWhenRoom(new Uint8Array(i % 300).fill(i))
    // Now and then both sides run dry and fall asleep.
    if (i % 100 === 0) await expect.poll(() => received).toBe(i + 1)
  }
  writer.close()
  await ended.promise
  expect(received).toBe(count)
  expect(rings).toBeGreaterThan(count / 100)
  await echo.terminate()
  doorbell.close()
})
