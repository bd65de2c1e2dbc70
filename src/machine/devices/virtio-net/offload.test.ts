/** Checksums that a driver leaves to the device, and those that the device vouches for. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Packet, packet } from '../testing/packets.ts'
import { TestContext } from '../testing/test-context.ts'
import { TestDriver } from '../testing/test-driver.ts'
import { TestRam } from '../testing/test-ram.ts'
import { VirtioMmio } from '../virtio/transport.ts'
import { checksumOf, checksumSpan, sumSegments } from './checksum.ts'
import { VirtioNet } from './virtio-net.ts'

const RX = 0
const TX = 1
const HEADER_BYTES = 12
const CSUM = 1n << 0n
const GUEST_CSUM = 1n << 1n
const MRG_RXBUF = 1n << 15n
const NEEDS_CSUM = 1
const DATA_VALID = 2

function bench(features: bigint) {
  const ram = new TestRam(8 * 1024 * 1024)
  const context = new TestContext(ram)
  const net = new VirtioNet(0, Uint8Array.of(2, 0, 0, 0, 0, 1))
  const mmio = new VirtioMmio(0, context, net)
  const driver = new TestDriver(mmio, ram, { queues: 2, queueSize: 64, features })
  driver.start()
  return { ram, context, net, mmio, driver }
}

const packets = fc
  .record({
    version: fc.constantFrom(4 as const, 6 as const),
    protocol: fc.constantFrom('tcp' as const, 'udp' as const),
    payload: fc.uint8Array({ minLength: 0, maxLength: 3000 }),
    optionBytes: fc.constantFrom(0, 4, 40),
    paddingBytes: fc.constantFrom(0, 1, 7),
  })
  .map(packet)

/** A header that asks for completion, and the frame cut at random places. */
function submit(driver: TestDriver, header: Uint8Array, frame: Uint8Array, cuts: readonly number[]): void {
  const stream = Uint8Array.from([...header, ...frame])
  const places = [...new Set(cuts.filter((cut) => cut > 0 && cut < stream.length))].sort((a, b) => a - b)
  driver.submit(
    TX,
    [0, ...places].map((start, n) => stream.subarray(start, places[n] ?? stream.length)),
    [],
  )
  driver.kick(TX)
}

function needsChecksum(start: number, offset: number): Uint8Array {
  const header = new Uint8Array(HEADER_BYTES)
  header[0] = NEEDS_CSUM
  new DataView(header.buffer).setUint16(6, start, true)
  new DataView(header.buffer).setUint16(8, offset, true)
  return header
}

function withChecksum({ frame, transport, checksumOffset }: Packet, value: number): Uint8Array {
  const changed = frame.slice()
  new DataView(changed.buffer).setUint16(transport + checksumOffset, value)
  return changed
}

describe('sending', () => {
  test('a checksum left out is completed, however the frame lies in memory', () => {
    fc.assert(
      // Without padding: what the driver has summed ends with the frame.
      fc.property(packets, fc.array(fc.nat(3200), { maxLength: 6 }), (sent, cuts) => {
        const whole = sent.frame.subarray(0, sent.frame.length)
        const span = checksumSpan(sent.frame)
        fc.pre(span !== null && span.start + span.length === whole.length)
        const { driver, context } = bench(CSUM)
        const partial = withChecksum(sent, sent.pseudoHeader)
        submit(driver, needsChecksum(sent.transport, sent.checksumOffset), partial, cuts)
        expect(context.takeOutputs()).toEqual([{ kind: 'net-tx', nic: 0, frame: sent.frame }])
      }),
      { numRuns: 150 },
    )
  })

  test('a frame that asks for nothing leaves as it is, its checksum right or wrong', () => {
    const sent = packet({ version: 4, protocol: 'tcp', payload: Uint8Array.of(1, 2, 3) })
    const wrong = withChecksum(sent, 0x1234)
    const { driver, context } = bench(CSUM)
    submit(driver, new Uint8Array(HEADER_BYTES), wrong, [])
    expect(context.takeOutputs()).toEqual([{ kind: 'net-tx', nic: 0, frame: wrong }])
  })

  test('what was not accepted or does not fit is dropped and counted', () => {
    const { frame, transport } = packet({ version: 4, protocol: 'udp', payload: new Uint8Array(40) })
    for (const [features, start, offset] of [
      [0n, transport, 6],
      [CSUM, transport, frame.length],
      [CSUM, frame.length - 1, 0],
      [CSUM, 0xffff, 0xffff],
    ] as const) {
      const { driver, context, mmio } = bench(features)
      submit(driver, needsChecksum(start, offset), frame, [])
      expect(context.takeOutputs()).toEqual([])
      expect(mmio.warnings.of('tx-frame-offload')).toBe(1)
      expect(driver.reap(TX)).toHaveLength(1)
    }
  })

  test('a checksum of zero is sent as all ones', () => {
    expect(checksumOf(0xffff)).toBe(0xffff)
    expect(checksumOf(0)).toBe(0xffff)
    expect(checksumOf(1)).toBe(0xfffe)
  })
})

describe('receiving', () => {
  /** The flags that the guest gets with a frame, which must arrive as it was. */
  function received(frame: Uint8Array, features: bigint, bufferBytes: number): number {
    const { driver, net } = bench(features | MRG_RXBUF)
    while (driver.room(RX) > 0) driver.submit(RX, [], [bufferBytes])
    driver.kick(RX)
    net.receive(frame)
    const buffers = driver.reap(RX)
    const stream = Uint8Array.from(buffers.flatMap(({ data }) => [...data]))
    expect(stream.subarray(HEADER_BYTES)).toEqual(frame)
    return stream[0]
  }

  test('a right checksum is vouched for, a wrong one is the guest’s to find', () => {
    fc.assert(
      fc.property(
        packets,
        fc.integer({ min: 60, max: 4000 }),
        fc.integer({ min: 1, max: 0xfffe }),
        (sent, bytes, by) => {
          expect(received(sent.frame, GUEST_CSUM, bytes)).toBe(DATA_VALID)
          expect(received(sent.frame, 0n, bytes)).toBe(0)
          const wrong = (sent.checksum + by) % 0xffff
          // A UDP checksum of 0 says that there is none.
          expect(received(withChecksum(sent, wrong), GUEST_CSUM, bytes)).toBe(0)
        },
      ),
      { numRuns: 60 },
    )
  })

  test('nothing is vouched for but whole TCP and UDP packets with a checksum', () => {
    const tcp = packet({ version: 4, protocol: 'tcp', payload: new Uint8Array(30) })
    const changed = (at: number, value: number): Uint8Array => {
      const frame = tcp.frame.slice()
      frame[at] = value
      return frame
    }
    const udp = packet({ version: 4, protocol: 'udp', payload: new Uint8Array(30) })
    const frames: [string, Uint8Array][] = [
      ['another protocol', changed(23, 1)],
      ['more fragments', changed(20, 0x20)],
      ['a later fragment', changed(21, 1)],
      ['a header too short', changed(14, 0x44)],
      ['version 6 in a packet of type 4', changed(14, 0x65)],
      ['longer than the frame', changed(17, 0xff)],
      ['shorter than its headers', changed(17, 30)],
      ['ARP', changed(13, 6)],
      ['UDP without a checksum', withChecksum(udp, 0)],
      ['a runt', tcp.frame.slice(0, 20)],
    ]
    for (const [what, frame] of frames) {
      expect(checksumSpan(frame), what).toBe(null)
      expect(received(frame, GUEST_CSUM, 2000), what).toBe(0)
    }
  })
})

test('a sum does not depend on where the pieces are cut', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 200 }),
      fc.array(fc.nat(200)),
      fc.nat(50),
      (data, cuts, skip) => {
        fc.pre(skip < data.length)
        const ram = new TestRam(64 * 1024)
        const places = [
          0,
          ...[...new Set(cuts.filter((c) => c > 0 && c < data.length))].sort((a, b) => a - b),
        ]
        const segments = places.map((start, n) => {
          const piece = data.subarray(start, places[n + 1] ?? data.length)
          // At odd addresses as well.
          const address = 0x8000_0000 + 257 * n + n
          ram.write(address, piece)
          return { address, length: piece.length }
        })
        let expected = 0
        for (let at = skip; at < data.length; at += 2) expected += data[at] * 256 + (data[at + 1] ?? 0)
        while (expected > 0xffff) expected = (expected & 0xffff) + (expected >>> 16)
        expect(sumSegments(ram, segments, skip, data.length - skip)).toBe(expected)
      },
    ),
  )
})
