import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import { expect, test } from 'vitest'
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

test('two threads: nothing lost, both sides sleep and are woken, close ends both', async () => {
  const there = createRing(1024)
  const back = createRing(1024)
  const echo = new Worker(
    `const { workerData } = require('node:worker_threads')
     import(workerData.module).then(({ RingReader, RingWriter }) => {
       const reader = new RingReader(workerData.there), writer = new RingWriter(workerData.back)
       while (reader.wait()) for (let r = reader.tryRead(); r; r = reader.tryRead()) writer.write(r)
       writer.close()
     })`,
    { eval: true, workerData: { there, back, module: new URL('./ring.ts', import.meta.url).href } },
  )
  const writer = new RingWriter(there)
  const reader = new RingReader(back)
  const count = 3000
  const sending = (async () => {
    for (let i = 0; i < count; i++) await writer.writeWhenRoom(new Uint8Array(i % 300).fill(i))
    writer.close()
  })()
  let received = 0
  while (await reader.ready()) {
    for (let r = reader.tryRead(); r; r = reader.tryRead()) {
      expect(r).toEqual(new Uint8Array(received % 300).fill(received))
      received++
    }
  }
  await sending
  expect(received).toBe(count)
  await echo.terminate()
})
