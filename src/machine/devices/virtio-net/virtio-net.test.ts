import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { TestContext } from '../testing/test-context.ts'
import { TestDriver } from '../testing/test-driver.ts'
import { TestRam } from '../testing/test-ram.ts'
import { VirtioMmio } from '../virtio/transport.ts'
import {
  FRAME_BYTES_MAX,
  MTU_BYTES,
  RX_WAITING_BYTES_MAX,
  RX_WAITING_FRAMES_MAX,
  VirtioNet,
} from './virtio-net.ts'

const RX = 0
const TX = 1
const HEADER_BYTES = 12
const MRG_RXBUF = 1n << 15n
const MAC = Uint8Array.of(0x52, 0x54, 0, 1, 2, 3)

function bench(options: { merge: boolean; queueSize?: number; eventIndex?: boolean }) {
  const ram = new TestRam(8 * 1024 * 1024)
  const context = new TestContext(ram)
  const net = new VirtioNet(2, MAC)
  const mmio = new VirtioMmio(0, context, net)
  const driver = new TestDriver(mmio, ram, {
    queues: 2,
    queueSize: options.queueSize ?? 16,
    eventIndex: options.eventIndex ?? true,
    features: options.merge ? MRG_RXBUF : 0n,
  })
  return { ram, context, net, mmio, driver }
}

function frameOf(length: number, seed = 1): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 7 + seed) & 0xff)
}

/** Puts frames together from used buffers, as a driver that accepted MRG_RXBUF does. */
function takeFrames(driver: TestDriver): Uint8Array[] {
  const frames: Uint8Array[] = []
  const buffers = driver.reap(RX)
  while (buffers.length > 0) {
    const [first] = buffers
    const count = first.data[10] | (first.data[11] << 8)
    expect([...first.data.subarray(0, 10)]).toEqual(Array(10).fill(0))
    expect(count).toBeGreaterThan(0)
    const parts = buffers
      .splice(0, count)
      .map((buffer, index) => buffer.data.subarray(index === 0 ? HEADER_BYTES : 0))
    frames.push(Uint8Array.from(parts.flatMap((part) => [...part])))
  }
  return frames
}

describe('configuration', () => {
  test('MAC address, link and MTU', () => {
    const { mmio } = bench({ merge: false })
    expect([0, 1, 2, 3, 4, 5].map((byte) => mmio.read(0x100 + byte, 1))).toEqual([...MAC])
    expect(mmio.read(0x106, 2)).toBe(1)
    expect(mmio.read(8, 4)).toBe(1)
    expect(mmio.read(0x10a, 2)).toBe(MTU_BYTES)
  })
})

describe('receiving', () => {
  test('frames of any length arrive whole, in order, through buffers of any length and late buffers', () => {
    fc.assert(
      fc.property(
        fc.boolean(),
        fc.array(fc.integer({ min: 14, max: 4000 }), { minLength: 1, maxLength: 40 }),
        fc.array(fc.integer({ min: 12, max: 2000 }), { minLength: 1, maxLength: 8 }),
        fc.integer({ min: 1, max: 12 }),
        (eventIndex, lengths, bufferLengths, burst) => {
          const { driver, net } = bench({ merge: true, eventIndex })
          driver.start()
          const sent = lengths.map((length, index) => frameOf(length, index))
          const received: Uint8Array[] = []
          let nextBuffer = 0
          const refill = (): void => {
            while (driver.room(RX) > 0)
              driver.submit(RX, [], [bufferLengths[nextBuffer++ % bufferLengths.length]])
            driver.kick(RX)
          }
          // The whole ring must hold the longest frame, or nothing could ever be received.
          const ringBytes = Array.from(
            { length: 16 },
            (_, index) => bufferLengths[index % bufferLengths.length],
          )
          fc.pre(ringBytes.reduce((sum, length) => sum + length, 0) - Math.max(...bufferLengths) > 4012)
          for (let at = 0; at < sent.length; at += burst) {
            for (const frame of sent.slice(at, at + burst)) net.receive(frame)
            received.push(...takeFrames(driver))
            refill()
          }
          for (let round = 0; round < sent.length * 40 && received.length < sent.length; round++) {
            received.push(...takeFrames(driver))
            refill()
          }
          expect(received).toEqual(sent)
          expect(net.waitingFrames).toBe(0)
        },
      ),
      { numRuns: 60 },
    )
  })

  test('without MRG_RXBUF num_buffers is 1 and a frame too long for its buffer is lost, not the buffer', () => {
    const { driver, net, mmio } = bench({ merge: false })
    driver.start()
    driver.submit(RX, [], [12, 100])
    driver.kick(RX)
    net.receive(frameOf(101))
    expect(driver.reap(RX)).toEqual([])
    expect(mmio.warnings.of('rx-dropped-buffer-small')).toBe(1)
    net.receive(frameOf(100))
    expect(takeFrames(driver)).toEqual([frameOf(100)])
  })

  test('a frame that the whole ring cannot hold is lost and does not block those behind it', () => {
    const { driver, net, mmio } = bench({ merge: true, queueSize: 2 })
    driver.start()
    driver.submit(RX, [], [100])
    driver.submit(RX, [], [100])
    driver.kick(RX)
    net.receive(frameOf(400))
    net.receive(frameOf(60))
    expect(mmio.warnings.of('rx-dropped-buffer-small')).toBe(1)
    expect(takeFrames(driver)).toEqual([frameOf(60)])
  })

  test('a first buffer without room for the header asks for a reset', () => {
    const { driver, net, mmio } = bench({ merge: true })
    driver.start()
    driver.submit(RX, [], [8])
    driver.submit(RX, [], [200])
    driver.kick(RX)
    net.receive(frameOf(60))
    expect(mmio.warnings.of('request-malformed')).toBe(1)
    expect(mmio.live).toBe(false)
    net.receive(frameOf(60))
    expect(mmio.warnings.of('rx-dropped-not-live')).toBe(1)
  })

  test('readable descriptors in the receive queue hold nothing and harm nothing', () => {
    const { driver, net, mmio } = bench({ merge: true })
    driver.start()
    driver.submit(RX, [frameOf(64)], [200])
    driver.kick(RX)
    net.receive(frameOf(60))
    expect(takeFrames(driver)).toEqual([frameOf(60)])
    expect(mmio.live).toBe(true)
  })

  test('what waits is bounded in frames and in bytes; the rest is dropped and counted', () => {
    const { driver, net, mmio } = bench({ merge: true })
    driver.start()
    for (let count = 0; count < RX_WAITING_FRAMES_MAX + 5; count++) net.receive(frameOf(60))
    expect(net.waitingFrames).toBe(RX_WAITING_FRAMES_MAX)
    expect(mmio.warnings.of('rx-dropped-full')).toBe(5)
    driver.start()
    expect(net.waitingFrames).toBe(0)
    const jumbo = frameOf(FRAME_BYTES_MAX)
    for (let count = 0; count * FRAME_BYTES_MAX < 2 * RX_WAITING_BYTES_MAX; count++) net.receive(jumbo)
    expect(net.waitingFrames).toBe(Math.floor(RX_WAITING_BYTES_MAX / FRAME_BYTES_MAX))
  })

  test('no frame: too short, too long, or before there is a driver', () => {
    const { driver, net, mmio } = bench({ merge: true })
    net.receive(frameOf(60))
    expect(mmio.warnings.of('rx-dropped-not-live')).toBe(1)
    driver.start()
    net.receive(frameOf(13))
    net.receive(frameOf(FRAME_BYTES_MAX + 1))
    expect(mmio.warnings.of('rx-dropped-length')).toBe(2)
    expect(net.waitingFrames).toBe(0)
  })

  test('waiting frames survive a save and arrive at the clone', () => {
    const { driver, net, mmio, context, ram } = bench({ merge: true })
    driver.start()
    net.receive(frameOf(60, 1))
    net.receive(frameOf(61, 2))
    const twin = new VirtioNet(2, MAC)
    const twinMmio = new VirtioMmio(0, new TestContext(ram), twin)
    twinMmio.restore(structuredClone(mmio.save()))
    driver.mmio = twinMmio
    for (let count = 0; count < 2; count++) driver.submit(RX, [], [200])
    expect(driver.kick(RX)).toBe(true)
    expect(takeFrames(driver)).toEqual([frameOf(60, 1), frameOf(61, 2)])
    expect(context.interrupts).toBe(0)
  })
})

describe('sending', () => {
  test('frames leave in order, whatever their framing, without the header; the slice ends', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            length: fc.integer({ min: 14, max: 2000 }),
            cuts: fc.array(fc.nat(2000), { maxLength: 4 }),
          }),
          {
            minLength: 1,
            maxLength: 3,
          },
        ),
        (frames) => {
          const { driver, context } = bench({ merge: true })
          driver.start()
          for (const [index, { length, cuts }] of frames.entries()) {
            const stream = Uint8Array.from([...new Uint8Array(HEADER_BYTES), ...frameOf(length, index)])
            const places = [...new Set(cuts.filter((cut) => cut > 0 && cut < stream.length))].sort(
              (a, b) => a - b,
            )
            const pieces = [0, ...places].map((start, piece) =>
              stream.subarray(start, places[piece] ?? stream.length),
            )
            driver.submit(TX, pieces, [])
          }
          driver.kick(TX)
          expect(context.takeOutputs()).toEqual(
            frames.map(({ length }, index) => ({ kind: 'net-tx', nic: 2, frame: frameOf(length, index) })),
          )
          expect(context.sliceEnds).toBe(1)
          expect(driver.reap(TX)).toHaveLength(frames.length)
        },
      ),
      { numRuns: 80 },
    )
  })

  test('what is no whole frame is dropped, counted and handed back', () => {
    const cases: readonly [Uint8Array[], 'tx-frame-length' | 'tx-frame-offload'][] = [
      [[new Uint8Array(0)], 'tx-frame-length'],
      [[new Uint8Array(8)], 'tx-frame-length'],
      [[new Uint8Array(HEADER_BYTES + 13)], 'tx-frame-length'],
      [[new Uint8Array(HEADER_BYTES + FRAME_BYTES_MAX + 1)], 'tx-frame-length'],
      [[Uint8Array.of(1), new Uint8Array(100)], 'tx-frame-offload'],
      [[Uint8Array.of(0, 1), new Uint8Array(100)], 'tx-frame-offload'],
      [[Uint8Array.of(0), Uint8Array.of(1), new Uint8Array(100)], 'tx-frame-offload'],
    ]
    for (const [pieces, code] of cases) {
      const { driver, context, mmio } = bench({ merge: true })
      driver.start()
      driver.submit(TX, pieces, [])
      driver.kick(TX)
      expect(context.takeOutputs()).toEqual([])
      expect(context.sliceEnds).toBe(0)
      expect(mmio.warnings.of(code)).toBe(1)
      expect(driver.reap(TX)).toHaveLength(1)
      expect(mmio.live).toBe(true)
    }
  })

  test('the output does not change when the guest reuses its buffer', () => {
    const { driver, context, ram } = bench({ merge: true })
    driver.start()
    driver.submit(TX, [Uint8Array.from([...new Uint8Array(HEADER_BYTES), ...frameOf(60)])], [])
    driver.kick(TX)
    ram.bytes.fill(0xee)
    expect(context.takeOutputs()).toEqual([{ kind: 'net-tx', nic: 2, frame: frameOf(60) }])
  })
})

test('a state with frames that are none is refused', () => {
  const { net } = bench({ merge: true })
  const waiting = [
    [new Uint8Array(13)],
    [new Uint8Array(FRAME_BYTES_MAX + 1)],
    [1],
    Array(RX_WAITING_FRAMES_MAX + 1).fill(frameOf(60)),
    'x',
  ]
  for (const frames of waiting)
    expect(() => net.restore({ version: 1, waiting: frames as never })).toThrow(
      expect.objectContaining({ code: 'DEVICE_STATE_INVALID' }),
    )
})
