import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { RAM_BASE } from '../memory-map.ts'
import { EchoFunction } from '../testing/echo-function.ts'
import { TestContext } from '../testing/test-context.ts'
import { TestDriver } from '../testing/test-driver.ts'
import { TestRam } from '../testing/test-ram.ts'
import { REGISTER } from './protocol.ts'
import { VirtioMmio } from './transport.ts'
import type { VirtioWarning } from './warning-codes.ts'

const NEEDS_RESET = 64

interface Bench {
  ram: TestRam
  context: TestContext
  echo: EchoFunction
  mmio: VirtioMmio
  driver: TestDriver
}

function bench(options: {
  queueSize: number
  eventIndex?: boolean
  indirect?: boolean
  ramBytes?: number
}): Bench {
  const ram = new TestRam(options.ramBytes ?? 4 * 1024 * 1024)
  const context = new TestContext(ram)
  const echo = new EchoFunction()
  const mmio = new VirtioMmio(0, context, echo)
  const driver = new TestDriver(mmio, ram, { queues: 1, ...options })
  driver.start()
  return { ram, context, echo, mmio, driver }
}

describe('a split virtqueue against a driver model', () => {
  const command = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant('submit' as const),
        readable: fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 }), { minLength: 1, maxLength: 4 }),
        writable: fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 4 }),
        indirect: fc.boolean(),
      }),
    },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('kick' as const) }) },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('echo' as const), position: fc.nat(300) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('reap' as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('clone' as const) }) },
  )

  for (const eventIndex of [false, true]) {
    for (const indirect of [false, true]) {
      test(`every chain comes back once with its data; no interrupt is lost (event index ${eventIndex}, indirect ${indirect})`, () => {
        fc.assert(
          fc.property(
            fc.constantFrom(1, 2, 4, 8, 32),
            fc.array(command, { maxLength: 120 }),
            (queueSize, commands) => {
              const b = bench({ queueSize, eventIndex, indirect })
              const expected = new Map<number, Uint8Array>()
              let returned = 0
              let submitted = 0
              const reap = (): void => {
                b.driver.acknowledge()
                for (const chain of b.driver.reap(0)) {
                  expect(chain.data).toEqual(expected.get(chain.head))
                  returned += 1
                }
                if (eventIndex) b.driver.setUsedEvent(0)
              }
              for (const step of commands) {
                if (step.kind === 'submit') {
                  const useIndirect = indirect && step.indirect
                  const needed = useIndirect ? 1 : step.readable.length + step.writable.length
                  if (b.driver.room(0) < needed) continue
                  const head = b.driver.submit(0, step.readable, step.writable, useIndirect)
                  const room = step.writable.reduce((sum, length) => sum + length, 0)
                  expected.set(
                    head,
                    Uint8Array.from(step.readable.flatMap((data) => [...data]).slice(0, room)),
                  )
                  submitted += 1
                } else if (step.kind === 'kick') b.driver.kick(0)
                else if (step.kind === 'echo') {
                  if (b.echo.held.length === 0) continue
                  b.echo.echo(step.position % b.echo.held.length)
                  // The driver has armed the event for the first chain it has not seen: the line must be up.
                  expect(b.context.asserted).toBe(true)
                } else if (step.kind === 'reap') reap()
                else {
                  const state = structuredClone(b.mmio.save())
                  const context = new TestContext(b.ram)
                  context.asserted = b.context.asserted
                  const echo = new EchoFunction()
                  const mmio = new VirtioMmio(0, context, echo)
                  mmio.restore(state)
                  expect(mmio.save()).toEqual(state)
                  b.driver.mmio = mmio
                  b.context = context
                  b.echo = echo
                  b.mmio = mmio
                }
              }
              b.driver.kick(0)
              while (b.echo.held.length > 0) b.echo.echo(0)
              reap()
              expect(returned).toBe(submitted)
              expect(b.mmio.read(REGISTER.status, 4)).toBe(15)
            },
          ),
          { numRuns: 60 },
        )
      })
    }
  }

  test('the ring indexes wrap at 65536', () => {
    const b = bench({ queueSize: 4, eventIndex: true })
    for (let round = 0; round < 70_000; round++) {
      b.driver.submit(0, [Uint8Array.of(round & 0xff)], [1])
      expect(b.driver.kick(0)).toBe(true)
      b.echo.echo(0)
      if (!b.context.asserted) throw new Error(`no interrupt in round ${round}`)
      b.driver.acknowledge()
      const [chain] = b.driver.reap(0)
      if (chain.data[0] !== (round & 0xff)) throw new Error(`wrong data in round ${round}`)
      b.driver.setUsedEvent(0)
    }
  })

  test('VIRTQ_AVAIL_F_NO_INTERRUPT silences, and an event index further on delays', () => {
    const silent = bench({ queueSize: 8 })
    silent.driver.suppressInterrupts(0, true)
    silent.driver.submit(0, [Uint8Array.of(1)], [1])
    silent.driver.kick(0)
    silent.echo.echo(0)
    expect(silent.context.asserted).toBe(false)

    const late = bench({ queueSize: 8, eventIndex: true })
    late.driver.setUsedEvent(0, 2)
    for (let count = 0; count < 3; count++) late.driver.submit(0, [Uint8Array.of(1)], [1])
    late.driver.kick(0)
    late.echo.echo(0)
    late.echo.echo(0)
    expect(late.context.asserted).toBe(false)
    late.echo.echo(0)
    expect(late.context.asserted).toBe(true)
  })

  test('with event indexes a device that did not look at the ring is notified once', () => {
    const { driver } = bench({ queueSize: 8, eventIndex: true })
    driver.submit(0, [Uint8Array.of(1)], [1])
    expect(driver.kick(0)).toBe(true)
    driver.submit(0, [Uint8Array.of(1)], [1])
    driver.submit(0, [Uint8Array.of(1)], [1])
    expect(driver.kick(0)).toBe(true)
  })
})

describe('hostile rings and chains', () => {
  const NEXT = 1
  const WRITE = 2
  const INDIRECT = 4
  const buffer = BigInt(RAM_BASE + 0x20_0000)
  const table = RAM_BASE + 0x30_0000

  const hazards: readonly {
    name: string
    code: VirtioWarning
    indirect?: boolean
    make: (driver: TestDriver) => void
  }[] = [
    {
      name: 'a chain that points at itself',
      code: 'chain-too-long',
      make: (driver) => {
        driver.writeDescriptor(0, 0, buffer, 16, NEXT, 0)
        driver.offer(0, 0)
      },
    },
    {
      name: 'a loop of two that are both writable',
      code: 'chain-too-long',
      make: (driver) => {
        driver.writeDescriptor(0, 0, buffer, 16, NEXT | WRITE, 1)
        driver.writeDescriptor(0, 1, buffer, 16, NEXT | WRITE, 0)
        driver.offer(0, 0)
      },
    },
    {
      name: 'a loop of empty descriptors',
      code: 'chain-too-long',
      make: (driver) => {
        driver.writeDescriptor(0, 0, 0n, 0, NEXT, 1)
        driver.writeDescriptor(0, 1, 0n, 0, NEXT, 0)
        driver.offer(0, 0)
      },
    },
    {
      name: 'a head that is no descriptor',
      code: 'descriptor-index',
      make: (driver) => driver.offer(0, 8),
    },
    {
      name: 'a next that is no descriptor',
      code: 'descriptor-index',
      make: (driver) => {
        driver.writeDescriptor(0, 0, buffer, 16, NEXT, 0xffff)
        driver.offer(0, 0)
      },
    },
    {
      name: 'a length past memory',
      code: 'chain-outside-memory',
      make: (driver) => {
        driver.writeDescriptor(0, 0, buffer, 0xffff_ffff, 0, 0)
        driver.offer(0, 0)
      },
    },
    {
      name: 'an address below memory',
      code: 'chain-outside-memory',
      make: (driver) => {
        driver.writeDescriptor(0, 0, BigInt(RAM_BASE) - 1n, 16, WRITE, 0)
        driver.offer(0, 0)
      },
    },
    {
      name: 'an address that wraps around 2^64',
      code: 'chain-outside-memory',
      make: (driver) => {
        driver.writeDescriptor(0, 0, (1n << 64n) - 8n, 16, 0, 0)
        driver.offer(0, 0)
      },
    },
    {
      name: 'a readable descriptor behind a writable one',
      code: 'chain-order',
      make: (driver) => {
        driver.writeDescriptor(0, 0, buffer, 16, NEXT | WRITE, 1)
        driver.writeDescriptor(0, 1, buffer, 16, 0, 0)
        driver.offer(0, 0)
      },
    },
    {
      name: 'an available index that jumps',
      code: 'avail-index-jump',
      make: (driver) => driver.ram.setU16(driver.queues[0].avail + 2, 9),
    },
    {
      name: 'an available index that goes back',
      code: 'avail-index-jump',
      make: (driver) => driver.ram.setU16(driver.queues[0].avail + 2, 0xffff),
    },
    {
      name: 'an indirect table though none was negotiated',
      code: 'indirect-not-negotiated',
      make: (driver) => {
        driver.writeDescriptor(0, 0, BigInt(table), 16, INDIRECT, 0)
        driver.offer(0, 0)
      },
    },
    {
      name: 'indirect inside indirect',
      code: 'indirect-nested',
      indirect: true,
      make: (driver) => {
        driver.writeDescriptor(0, 0, BigInt(table), 32, INDIRECT, 0)
        driver.writeTable(table, [
          { address: buffer, length: 8, flags: NEXT, next: 1 },
          { address: BigInt(table), length: 32, flags: INDIRECT, next: 0 },
        ])
        driver.offer(0, 0)
      },
    },
    {
      name: 'an indirect descriptor with a next',
      code: 'indirect-with-next',
      indirect: true,
      make: (driver) => {
        driver.writeDescriptor(0, 0, BigInt(table), 16, INDIRECT | NEXT, 1)
        driver.offer(0, 0)
      },
    },
    {
      name: 'an indirect table that is no multiple of 16',
      code: 'indirect-length',
      indirect: true,
      make: (driver) => {
        driver.writeDescriptor(0, 0, BigInt(table), 24, INDIRECT, 0)
        driver.offer(0, 0)
      },
    },
    {
      name: 'an empty indirect table',
      code: 'indirect-length',
      indirect: true,
      make: (driver) => {
        driver.writeDescriptor(0, 0, BigInt(table), 0, INDIRECT, 0)
        driver.offer(0, 0)
      },
    },
    {
      name: 'an indirect table larger than any chain',
      code: 'chain-too-long',
      indirect: true,
      make: (driver) => {
        driver.writeDescriptor(0, 0, BigInt(table), 16 * 1025, INDIRECT, 0)
        driver.offer(0, 0)
      },
    },
    {
      name: 'an indirect table outside memory',
      code: 'chain-outside-memory',
      indirect: true,
      make: (driver) => {
        driver.writeDescriptor(0, 0, 0n, 16, INDIRECT, 0)
        driver.offer(0, 0)
      },
    },
    {
      name: 'a loop inside an indirect table',
      code: 'chain-too-long',
      indirect: true,
      make: (driver) => {
        driver.writeDescriptor(0, 0, BigInt(table), 32, INDIRECT, 0)
        driver.writeTable(table, [
          { address: buffer, length: 8, flags: NEXT, next: 1 },
          { address: buffer, length: 8, flags: NEXT, next: 0 },
        ])
        driver.offer(0, 0)
      },
    },
    {
      name: 'a next past the indirect table',
      code: 'descriptor-index',
      indirect: true,
      make: (driver) => {
        driver.writeDescriptor(0, 0, BigInt(table), 16, INDIRECT, 0)
        driver.writeTable(table, [{ address: buffer, length: 8, flags: NEXT, next: 1 }])
        driver.offer(0, 0)
      },
    },
  ]

  for (const hazard of hazards) {
    test(`${hazard.name}: ${hazard.code}, and the device asks for a reset`, () => {
      const { driver, mmio, context, echo } = bench({ queueSize: 8, indirect: hazard.indirect ?? false })
      hazard.make(driver)
      driver.write(REGISTER.queueNotify, 0)
      expect(mmio.warnings.of(hazard.code)).toBe(1)
      expect(driver.read(REGISTER.status)).toBe(15 | NEEDS_RESET)
      expect(context.asserted).toBe(true)
      expect(driver.acknowledge()).toBe(2)
      expect(echo.held).toEqual([])
      // Nothing is touched until the reset.
      driver.write(REGISTER.queueNotify, 0)
      expect(mmio.warnings.of('notify-not-live')).toBe(1)
      // After it everything works again.
      driver.start()
      driver.submit(0, [Uint8Array.of(7)], [1])
      driver.kick(0)
      echo.echo(0)
      expect(driver.reap(0)[0].data).toEqual(Uint8Array.of(7))
    })
  }

  test('many long descriptors are refused once they describe more than 2^32 bytes', () => {
    const ramBytes = 64 * 1024 * 1024
    const { driver, mmio } = bench({ queueSize: 256, ramBytes })
    for (let index = 0; index < 65; index++)
      driver.writeDescriptor(0, index, BigInt(RAM_BASE), ramBytes, NEXT, index + 1)
    driver.offer(0, 0)
    driver.write(REGISTER.queueNotify, 0)
    expect(mmio.warnings.of('chain-too-large')).toBe(1)
  })

  test('the last descriptor of a direct chain may be an indirect table (section 2.7.5.3.2)', () => {
    const { driver, echo } = bench({ queueSize: 8, indirect: true })
    driver.ram.write(Number(buffer), Uint8Array.of(1, 2, 3))
    driver.writeDescriptor(0, 0, buffer, 2, NEXT, 1)
    driver.writeDescriptor(0, 1, BigInt(table), 32, INDIRECT, 0)
    driver.writeTable(table, [
      { address: buffer + 2n, length: 1, flags: NEXT, next: 1 },
      { address: buffer + 16n, length: 8, flags: WRITE, next: 0 },
    ])
    driver.offer(0, 0)
    driver.write(REGISTER.queueNotify, 0)
    echo.echo(0)
    expect([...driver.ram.view(Number(buffer) + 16, 3)]).toEqual([1, 2, 3])
  })

  test('random rings never throw, hang or reach outside RAM', () => {
    const near = fc.constantFrom(
      0n,
      BigInt(RAM_BASE),
      BigInt(RAM_BASE) + 0x20_0000n,
      BigInt(RAM_BASE) + 0x3f_fff0n,
      (1n << 64n) - 16n,
    )
    const descriptor = fc.record({
      address: fc.oneof(near, fc.bigInt({ min: 0n, max: (1n << 64n) - 1n })),
      length: fc.oneof(fc.constantFrom(0, 1, 16, 32, 48, 4096), fc.nat(0xffff_ffff)),
      flags: fc.nat(15),
      next: fc.nat(9),
    })
    fc.assert(
      fc.property(
        fc.boolean(),
        fc.boolean(),
        fc.array(descriptor, { minLength: 8, maxLength: 8 }),
        fc.array(descriptor, { minLength: 4, maxLength: 4 }),
        fc.array(fc.nat(9), { minLength: 1, maxLength: 9 }),
        fc.uint8Array({ maxLength: 256 }),
        (indirect, eventIndex, direct, entries, heads, noise) => {
          const { driver, echo, ram } = bench({ queueSize: 8, indirect, eventIndex })
          for (const [index, entry] of direct.entries())
            driver.writeDescriptor(0, index, entry.address, entry.length, entry.flags, entry.next)
          driver.writeTable(RAM_BASE + 0x20_0000, entries)
          for (const head of heads) driver.offer(0, head)
          driver.write(REGISTER.queueNotify, 0)
          while (echo.held.length > 0 && echo.held[0].readableBytes < 1_000_000) echo.echo(0)
          ram.write(RAM_BASE, noise)
          driver.write(REGISTER.queueNotify, 0)
        },
      ),
      { numRuns: 500 },
    )
  })
})
