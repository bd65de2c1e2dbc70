import fc from 'fast-check'
import { expect, test } from 'vitest'
import { TestContext } from '../testing/test-context.ts'
import { TestDriver } from '../testing/test-driver.ts'
import { TestRam } from '../testing/test-ram.ts'
import { VirtioMmio } from '../virtio/transport.ts'
import { CONSOLE_WAITING_BYTES_MAX, VirtioConsole } from './virtio-console.ts'

const RX = 0
const TX = 1

function bench() {
  const ram = new TestRam(4 * 1024 * 1024)
  const context = new TestContext(ram)
  const port = new VirtioConsole()
  const mmio = new VirtioMmio(0, context, port)
  const driver = new TestDriver(mmio, ram, { queues: 2, queueSize: 8, eventIndex: true })
  return { ram, context, port, mmio, driver }
}

test('typed bytes arrive once and in order, through buffers of any size, early or late', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 10 }),
      fc.array(fc.integer({ min: 1, max: 64 }), { minLength: 1, maxLength: 5 }),
      (typed, sizes) => {
        const { driver, port, context } = bench()
        driver.start()
        const got: number[] = []
        let nextSize = 0
        const pump = (): void => {
          got.push(...driver.reap(RX).flatMap((chain) => [...chain.data]))
          driver.acknowledge()
          driver.setUsedEvent(RX)
          while (driver.room(RX) > 0) driver.submit(RX, [], [sizes[nextSize++ % sizes.length]])
          driver.kick(RX)
        }
        for (const data of typed) {
          expect(port.receive(data)).toBe(data.length)
          pump()
        }
        while (context.asserted) pump()
        expect(got).toEqual(typed.flatMap((data) => [...data]))
      },
    ),
    { numRuns: 60 },
  )
})

test('sent bytes leave as one output when the slice ends', () => {
  const { driver, port, context } = bench()
  driver.start()
  driver.submit(TX, [Uint8Array.of(104, 101), Uint8Array.of(108)], [])
  driver.submit(TX, [Uint8Array.of(112)], [])
  driver.kick(TX)
  expect(context.takeOutputs()).toEqual([])
  port.flush()
  port.flush()
  expect(context.takeOutputs()).toEqual([
    { kind: 'console-tx', port: 'virtio', data: Uint8Array.of(104, 101, 108, 112) },
  ])
  expect(driver.reap(TX)).toHaveLength(2)
})

test('much output leaves in bounded pieces', () => {
  const { driver, port, context } = bench()
  driver.start()
  const sent = Uint8Array.from({ length: 10_000 }, (_, index) => index & 0xff)
  driver.submit(TX, [sent], [])
  driver.kick(TX)
  port.flush()
  const pieces = context
    .takeOutputs()
    .map((output) => (output.kind === 'console-tx' ? output.data : new Uint8Array(0)))
  expect(pieces.map((piece) => piece.length)).toEqual([4096, 4096, 10_000 - 8192])
  expect(Uint8Array.from(pieces.flatMap((piece) => [...piece]))).toEqual(sent)
})

test('what waits for a driver is bounded and survives a save; what is too much is refused', () => {
  const { driver, port, mmio, ram } = bench()
  const paste = new Uint8Array(CONSOLE_WAITING_BYTES_MAX + 10).fill(7)
  expect(port.receive(paste)).toBe(CONSOLE_WAITING_BYTES_MAX)
  expect(port.receiveFree).toBe(0)
  driver.start()
  driver.submit(TX, [Uint8Array.of(9)], [])
  driver.kick(TX)
  const context = new TestContext(ram)
  const twin = new VirtioConsole()
  const twinMmio = new VirtioMmio(0, context, twin)
  twinMmio.restore(structuredClone(mmio.save()))
  expect(twinMmio.save()).toEqual(mmio.save())
  driver.mmio = twinMmio
  driver.submit(RX, [], [4])
  driver.kick(RX)
  expect(driver.reap(RX)[0].data).toEqual(Uint8Array.of(7, 7, 7, 7))
  expect(twin.receiveFree).toBe(4)
  twin.flush()
  expect(context.takeOutputs()).toEqual([{ kind: 'console-tx', port: 'virtio', data: Uint8Array.of(9) }])
})

test('a buffer without room for a byte is handed back empty', () => {
  const { driver, port } = bench()
  driver.start()
  driver.submit(RX, [Uint8Array.of(1)], [])
  driver.submit(RX, [], [4])
  driver.kick(RX)
  port.receive(Uint8Array.of(5))
  expect(driver.reap(RX).map((chain) => [...chain.data])).toEqual([[], [5]])
})

test('a state that does not fit is refused', () => {
  const { port } = bench()
  const state = port.save() as Record<string, unknown>
  for (const broken of [
    { ...state, waiting: new Uint8Array(CONSOLE_WAITING_BYTES_MAX + 1) },
    { ...state, gathered: new Uint8Array(4096) },
    { ...state, version: 9 },
  ])
    expect(() => port.restore(broken as never)).toThrow(
      expect.objectContaining({ code: 'DEVICE_STATE_INVALID' }),
    )
})
