import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { MachineOutput } from '../../io.ts'
import { TestContext } from '../testing/test-context.ts'
import { TestDriver } from '../testing/test-driver.ts'
import { TestRam } from '../testing/test-ram.ts'
import { VirtioMmio } from '../virtio/transport.ts'
import { PENDING_BYTES_MAX, REQUEST_BYTES_MAX, VirtioBlk } from './virtio-blk.ts'

const DISK_BYTES = 64 * 1024
const IN = 0
const OUT = 1
const FLUSH = 4
const GET_ID = 8
const OK = 0
const IOERR = 1
const UNSUPP = 2

function bench(
  options: { sizeBytes?: number; readOnly?: boolean; ramBytes?: number; queueSize?: number } = {},
) {
  const ram = new TestRam(options.ramBytes ?? 4 * 1024 * 1024)
  const context = new TestContext(ram)
  const make = (): VirtioBlk =>
    new VirtioBlk({
      disk: 1,
      sizeBytes: options.sizeBytes ?? DISK_BYTES,
      readOnly: options.readOnly ?? false,
    })
  const blk = make()
  const mmio = new VirtioMmio(0, context, blk)
  const driver = new TestDriver(mmio, ram, {
    queues: 1,
    queueSize: options.queueSize ?? 16,
    eventIndex: true,
  })
  driver.start()
  return { ram, context, blk, mmio, driver, make }
}

function header(type: number, sector: bigint): Uint8Array {
  const bytes = new Uint8Array(16)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, type, true)
  view.setBigUint64(8, sector, true)
  return bytes
}

/** A disk outside of the machine, to which outputs are applied. */
class TestDisk {
  readonly bytes: Uint8Array
  constructor(sizeBytes: number) {
    this.bytes = new Uint8Array(sizeBytes)
  }

  serve(output: MachineOutput, blk: VirtioBlk): void {
    if (output.kind === 'disk-read')
      blk.complete(output.id, true, this.bytes.slice(output.offset, output.offset + output.length))
    else if (output.kind === 'disk-write') {
      this.bytes.set(output.data, output.offset)
      blk.complete(output.id, true, new Uint8Array(0))
    } else if (output.kind === 'disk-flush') blk.complete(output.id, true, new Uint8Array(0))
  }
}

describe('requests', () => {
  test('writes and reads in any framing, ended in any order, agree with a plain array', () => {
    const request = fc.record({
      write: fc.boolean(),
      sector: fc.nat(DISK_BYTES / 512 - 4),
      sectors: fc.integer({ min: 1, max: 4 }),
      fill: fc.nat(255),
      cut: fc.integer({ min: 1, max: 511 }),
    })
    fc.assert(
      fc.property(
        fc.array(fc.array(request, { minLength: 1, maxLength: 3 }), { maxLength: 12 }),
        fc.nat(),
        (batches, order) => {
          const { driver, context, blk } = bench()
          const disk = new TestDisk(DISK_BYTES)
          const model = new Uint8Array(DISK_BYTES)
          for (const batch of batches) {
            // Requests under way at the same time may end in any order, so only disjoint ones have one outcome.
            const taken = new Set<number>()
            const disjoint = batch.filter(({ sector, sectors }) => {
              const own = Array.from({ length: sectors }, (_, index) => sector + index)
              if (own.some((each) => taken.has(each))) return false
              for (const each of own) taken.add(each)
              return true
            })
            const expected = new Map<number, Uint8Array>()
            for (const { write, sector, sectors, fill, cut } of disjoint) {
              const length = sectors * 512
              if (write) {
                const data = new Uint8Array(length).fill(fill)
                const head = driver.submit(
                  0,
                  [header(OUT, BigInt(sector)), data.subarray(0, cut), data.subarray(cut)],
                  [1],
                )
                model.set(data, sector * 512)
                expected.set(head, Uint8Array.of(OK))
              } else {
                const head = driver.submit(0, [header(IN, BigInt(sector))], [cut, length - cut, 1])
                expected.set(head, Uint8Array.of(...model.subarray(sector * 512, sector * 512 + length), OK))
              }
            }
            driver.kick(0)
            const outputs = context.takeOutputs()
            expect(outputs).toHaveLength(disjoint.length)
            expect(blk.pendingOutputs()).toEqual(outputs)
            if (order % 2 === 1) outputs.reverse()
            for (const output of outputs) disk.serve(output, blk)
            for (const chain of driver.reap(0)) {
              // A read writes data and status, any other request only the status byte.
              const wanted = expected.get(chain.head)
              expect(chain.data).toEqual(wanted)
              expected.delete(chain.head)
            }
            expect(expected.size).toBe(0)
            expect(blk.pendingOutputs()).toEqual([])
          }
          expect(disk.bytes).toEqual(model)
        },
      ),
      { numRuns: 60 },
    )
  })

  test('the slice ends when a request is issued', () => {
    const { driver, context } = bench()
    driver.submit(0, [header(FLUSH, 0n)], [1])
    driver.kick(0)
    expect(context.takeOutputs()).toEqual([{ kind: 'disk-flush', disk: 1, id: 0 }])
    expect(context.sliceEnds).toBe(1)
  })

  const answers: readonly {
    name: string
    readOnly?: boolean
    readable: Uint8Array[]
    writable: number[]
    status: number
  }[] = [
    {
      name: 'a read past the end',
      readable: [header(IN, BigInt(DISK_BYTES / 512))],
      writable: [512, 1],
      status: IOERR,
    },
    {
      name: 'a read across the end',
      readable: [header(IN, BigInt(DISK_BYTES / 512 - 1))],
      writable: [1024, 1],
      status: IOERR,
    },
    {
      name: 'a sector number near 2^64',
      readable: [header(IN, (1n << 64n) - 1n)],
      writable: [512, 1],
      status: IOERR,
    },
    { name: 'a read of no whole sectors', readable: [header(IN, 0n)], writable: [100, 1], status: IOERR },
    { name: 'an empty read', readable: [header(IN, 0n)], writable: [1], status: IOERR },
    {
      name: 'a write to a read-only disk',
      readOnly: true,
      readable: [header(OUT, 0n), new Uint8Array(512)],
      writable: [1],
      status: IOERR,
    },
    {
      name: 'a write of no whole sectors',
      readable: [header(OUT, 0n), new Uint8Array(511)],
      writable: [1],
      status: IOERR,
    },
    { name: 'an unknown type', readable: [header(77, 0n)], writable: [512, 1], status: UNSUPP },
  ]
  for (const { name, readOnly, readable, writable, status } of answers) {
    test(`${name} is answered at once with ${status}`, () => {
      const { driver, context, ram } = bench({ readOnly: readOnly ?? false })
      ram.bytes.fill(0xaa, 1024 * 1024)
      driver.submit(0, readable, writable)
      driver.kick(0)
      const [chain] = driver.reap(0)
      expect(chain.length).toBe(1)
      const room = writable.reduce((sum, length) => sum + length, 0)
      // The status byte is the last of the writable part, wherever the data ends.
      expect(statusAt(driver, room)).toBe(status)
      expect(context.takeOutputs()).toEqual([])
      expect(context.sliceEnds).toBe(0)
    })
  }

  /** The first chain's writable part lies behind its readable one, each piece aligned to 16. */
  function statusAt(driver: TestDriver, room: number): number {
    const table = driver.queues[0].descriptors
    let descriptor = 0
    let passed = 0
    for (;;) {
      const at = table + 16 * descriptor
      const flags = driver.ram.u16(at + 12)
      const length = driver.ram.u32(at + 8)
      if ((flags & 2) !== 0) {
        passed += length
        if (passed === room) return driver.ram.u8(driver.ram.u64(at) + length - 1)
      }
      descriptor = driver.ram.u16(at + 14)
    }
  }

  test('GET_ID gives a name of at most 20 bytes', () => {
    const { driver } = bench()
    driver.submit(0, [header(GET_ID, 0n)], [20, 1])
    driver.kick(0)
    const [chain] = driver.reap(0)
    expect(chain.length).toBe(21)
    expect(new TextDecoder().decode(chain.data.subarray(0, 20)).replaceAll('\0', '')).toBe('understudy-disk1')
    expect(chain.data[20]).toBe(OK)
  })

  test('a request without a whole header or without a status byte asks for a reset', () => {
    for (const [readable, writable] of [
      [[new Uint8Array(15)], [1]],
      [[header(FLUSH, 0n)], []],
    ] as [Uint8Array[], number[]][]) {
      const { driver, mmio, context } = bench()
      driver.submit(0, readable, writable)
      driver.kick(0)
      expect(mmio.warnings.of('request-malformed')).toBe(1)
      expect(mmio.live).toBe(false)
      expect(context.takeOutputs()).toEqual([])
    }
  })
})

describe('answers', () => {
  function reading() {
    const b = bench()
    b.driver.submit(0, [header(IN, 3n)], [512, 1])
    b.driver.kick(0)
    expect(b.context.takeOutputs()).toEqual([
      { kind: 'disk-read', disk: 1, id: 0, offset: 1536, length: 512 },
    ])
    return b
  }

  test('a failed request and one with the wrong length are I/O errors', () => {
    const failed = reading()
    failed.blk.complete(0, false, new Uint8Array(0))
    expect(failed.driver.reap(0)).toHaveLength(1)
    expect(failed.mmio.warnings.of('completion-length')).toBe(0)
    const short = reading()
    short.blk.complete(0, true, new Uint8Array(511))
    expect(short.driver.reap(0)[0].length).toBe(1)
    expect(short.mmio.warnings.of('completion-length')).toBe(1)
  })

  test('an answer to what a reset has thrown away is ignored, and its id is not used again', () => {
    const { driver, blk, context, mmio, ram } = reading()
    driver.start()
    driver.submit(0, [header(IN, 0n)], [512, 1])
    driver.kick(0)
    expect(context.takeOutputs()).toMatchObject([{ id: 1 }])
    const before = ram.bytes.slice()
    blk.complete(0, true, new Uint8Array(512).fill(0xbb))
    expect(ram.bytes).toEqual(before)
    expect(mmio.warnings.of('completion-unknown')).toBe(1)
    blk.complete(1, true, new Uint8Array(512).fill(0xcc))
    expect(driver.reap(0)[0].data).toEqual(Uint8Array.of(...new Uint8Array(512).fill(0xcc), OK))
  })

  test('an answer after DEVICE_NEEDS_RESET touches nothing', () => {
    const { driver, blk, ram, mmio } = reading()
    driver.offer(0, 999)
    driver.write(0x50, 0)
    expect(mmio.live).toBe(false)
    const before = ram.bytes.slice()
    blk.complete(0, true, new Uint8Array(512).fill(0xbb))
    expect(ram.bytes).toEqual(before)
  })
})

describe('limits', () => {
  test('a request that is too long is refused; pending data is bounded and the rest waits in the ring', () => {
    const sizeBytes = 1024 * REQUEST_BYTES_MAX
    const { driver, context, blk } = bench({ sizeBytes, ramBytes: 128 * 1024 * 1024 })
    driver.submit(0, [header(IN, 0n)], [REQUEST_BYTES_MAX + 512, 1])
    driver.kick(0)
    expect(context.takeOutputs()).toEqual([])
    expect(driver.reap(0)).toHaveLength(1)
    const admitted = PENDING_BYTES_MAX / REQUEST_BYTES_MAX
    // All reads share one buffer: only the ring and the device are under test.
    for (let count = 0; count < admitted + 1; count++)
      driver.submit(0, [header(IN, 0n)], [REQUEST_BYTES_MAX, 1])
    driver.kick(0)
    const outputs = context.takeOutputs()
    expect(outputs).toHaveLength(admitted)
    blk.complete((outputs[0] as { id: number }).id, true, new Uint8Array(REQUEST_BYTES_MAX))
    expect(context.takeOutputs()).toHaveLength(1)
  })
})

describe('saved state', () => {
  test('pending requests are issued again by a clone with the same data, and end there', () => {
    const { driver, context, mmio, ram, make } = bench()
    driver.submit(0, [header(OUT, 2n), new Uint8Array(512).fill(0x55)], [1])
    driver.submit(0, [header(IN, 9n)], [512, 1])
    driver.submit(0, [header(FLUSH, 0n)], [1])
    driver.kick(0)
    const outputs = context.takeOutputs()
    const state = structuredClone(mmio.save())
    // The guest may scribble over the buffer of a write under way.
    const buffer = ram.bytes.indexOf(0x55)
    ram.bytes.fill(0, buffer, buffer + 512)
    const twin = make()
    const twinMmio = new VirtioMmio(0, new TestContext(ram), twin)
    twinMmio.restore(state)
    expect(twinMmio.save()).toEqual(state)
    expect(twin.pendingOutputs()).toEqual(outputs)
    const disk = new TestDisk(DISK_BYTES)
    for (const output of twin.pendingOutputs()) disk.serve(output, twin)
    expect(driver.reap(0)).toHaveLength(3)
    expect(disk.bytes[1024]).toBe(0x55)
  })

  test('a state that does not fit is refused', () => {
    const { driver, blk } = bench()
    driver.submit(0, [header(IN, 9n)], [512, 1])
    driver.kick(0)
    const state = blk.save() as { pending: Record<string, unknown>[] } & Record<string, unknown>
    const [request] = state.pending
    const broken = [
      { ...state, version: 0 },
      { ...state, nextId: 0 },
      { ...state, pending: [request, request] },
      { ...state, pending: [{ ...request, kind: 'trim' }] },
      { ...state, pending: [{ ...request, kind: 'write' }] },
      { ...state, pending: [{ ...request, segments: [0, 513] }] },
      { ...state, pending: [{ ...request, segments: [1] }] },
      { ...state, pending: [{ ...request, segments: [] }] },
      { ...state, pending: [{ ...request, statusOffset: 513 }] },
      { ...state, pending: [{ ...request, offsetBytes: DISK_BYTES }] },
      { ...state, pending: [{ ...request, lengthBytes: 1024 }] },
    ]
    for (const candidate of broken)
      expect(() => blk.restore(candidate as never)).toThrow(
        expect.objectContaining({ code: 'DEVICE_STATE_INVALID' }),
      )
    blk.restore(state as never)
    expect(blk.save()).toEqual(state)
  })
})
