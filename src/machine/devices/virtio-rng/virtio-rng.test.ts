import { expect, test } from 'vitest'
import { TestContext } from '../testing/test-context.ts'
import { TestDriver } from '../testing/test-driver.ts'
import { TestRam } from '../testing/test-ram.ts'
import { VirtioMmio } from '../virtio/transport.ts'
import { ENTROPY_REQUEST_BYTES_MAX, VirtioRng } from './virtio-rng.ts'

function bench() {
  const ram = new TestRam(1024 * 1024)
  const context = new TestContext(ram)
  const rng = new VirtioRng()
  const mmio = new VirtioMmio(0, context, rng)
  const driver = new TestDriver(mmio, ram, { queues: 1, queueSize: 8, eventIndex: true })
  driver.start()
  return { ram, context, rng, mmio, driver }
}

test('each buffer becomes a request, and answers fill the buffers in order', () => {
  const { driver, rng, context } = bench()
  driver.submit(0, [], [3, 2])
  driver.submit(0, [], [4])
  driver.kick(0)
  expect(context.takeOutputs()).toEqual([
    { kind: 'entropy-request', bytes: 5 },
    { kind: 'entropy-request', bytes: 4 },
  ])
  expect(context.sliceEnds).toBe(1)
  rng.receive(Uint8Array.of(1, 2, 3, 4, 5))
  expect(driver.reap(0).map((chain) => [...chain.data])).toEqual([[1, 2, 3, 4, 5]])
  expect(driver.acknowledge()).toBe(1)
  rng.receive(Uint8Array.of(6, 7, 8, 9, 10))
  expect(driver.reap(0).map((chain) => [...chain.data])).toEqual([[6, 7, 8, 9]])
})

test('a large buffer is filled in part', () => {
  const { driver, rng, context } = bench()
  driver.submit(0, [], [100_000])
  driver.kick(0)
  expect(context.takeOutputs()).toEqual([{ kind: 'entropy-request', bytes: ENTROPY_REQUEST_BYTES_MAX }])
  rng.receive(new Uint8Array(100_000).fill(1))
  expect(driver.reap(0)[0].length).toBe(ENTROPY_REQUEST_BYTES_MAX)
})

test('answers to requests from before a reset do not reach the new driver', () => {
  const { driver, rng } = bench()
  driver.submit(0, [], [4])
  driver.kick(0)
  driver.start()
  driver.submit(0, [], [4])
  driver.kick(0)
  rng.receive(Uint8Array.of(1, 1, 1, 1))
  expect(driver.reap(0)).toEqual([])
  rng.receive(Uint8Array.of(2, 2, 2, 2))
  expect(driver.reap(0)[0].data).toEqual(Uint8Array.of(2, 2, 2, 2))
})

test('a buffer without room is handed back; an answer nobody asked for is counted', () => {
  const { driver, rng, mmio, context } = bench()
  driver.submit(0, [Uint8Array.of(1)], [])
  driver.kick(0)
  expect(driver.reap(0)[0].length).toBe(0)
  expect(context.takeOutputs()).toEqual([])
  rng.receive(Uint8Array.of(1))
  expect(mmio.warnings.of('entropy-unasked')).toBe(1)
})

test('pending buffers survive a save and are filled in the clone', () => {
  const { driver, mmio, ram } = bench()
  driver.submit(0, [], [2])
  driver.kick(0)
  const twin = new VirtioRng()
  const twinMmio = new VirtioMmio(0, new TestContext(ram), twin)
  twinMmio.restore(structuredClone(mmio.save()))
  expect(twinMmio.save()).toEqual(mmio.save())
  twin.receive(Uint8Array.of(8, 9))
  expect(driver.reap(0)[0].data).toEqual(Uint8Array.of(8, 9))
})

test('a state that does not fit is refused', () => {
  const { rng } = bench()
  for (const pending of [
    [{ version: 1, head: 0, segments: [0, 4] }],
    [{ version: 1, head: 70_000, segments: [] }],
    Array(9).fill(null),
    3,
  ])
    expect(() => rng.restore({ version: 1, orphans: 0, pending: pending as never })).toThrow(
      expect.objectContaining({ code: 'DEVICE_STATE_INVALID' }),
    )
})
