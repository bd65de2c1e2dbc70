import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { RAM_BASE } from '../memory-map.ts'
import { EchoFunction } from '../testing/echo-function.ts'
import { TestContext } from '../testing/test-context.ts'
import { TestDriver } from '../testing/test-driver.ts'
import { TestRam } from '../testing/test-ram.ts'
import { MMIO_MAGIC, REGISTER } from './protocol.ts'
import { VirtioMmio } from './transport.ts'

function bench(): { context: TestContext; echo: EchoFunction; mmio: VirtioMmio; driver: TestDriver } {
  const ram = new TestRam(4 * 1024 * 1024)
  const context = new TestContext(ram)
  const echo = new EchoFunction([64, 16])
  const mmio = new VirtioMmio(3, context, echo)
  return { context, echo, mmio, driver: new TestDriver(mmio, ram, { queues: 1, queueSize: 16 }) }
}

describe('identity', () => {
  test('the slot fixes address, interrupt and node', () => {
    const { mmio } = bench()
    expect(mmio.base).toBe(0x1000_4000)
    expect(mmio.fdtNode().name).toBe('virtio_mmio@10004000')
    expect(mmio.fdtNode().properties.interrupts).toBe(4)
  })

  test('magic, version and device are what section 4.2.2 says', () => {
    const { driver } = bench()
    expect(driver.read(REGISTER.magicValue)).toBe(MMIO_MAGIC)
    expect(String.fromCharCode(...[0, 8, 16, 24].map((shift) => (MMIO_MAGIC >>> shift) & 0xff))).toBe('virt')
    expect(driver.read(REGISTER.version)).toBe(2)
    expect(driver.read(REGISTER.deviceId)).toBe(42)
  })

  test('VERSION_1 and the features of the device are offered by halves', () => {
    const { driver } = bench()
    driver.write(REGISTER.deviceFeaturesSel, 0)
    expect(driver.read(REGISTER.deviceFeatures)).toBe(0b101 | (1 << 28) | (1 << 29))
    driver.write(REGISTER.deviceFeaturesSel, 1)
    expect(driver.read(REGISTER.deviceFeatures)).toBe(1)
    driver.write(REGISTER.deviceFeaturesSel, 2)
    expect(driver.read(REGISTER.deviceFeatures)).toBe(0)
  })

  test('the configuration space reads in any width and as zero behind its end', () => {
    const { mmio } = bench()
    expect(mmio.read(0x100, 1)).toBe(1)
    expect(mmio.read(0x102, 2)).toBe(0x0403)
    expect(mmio.read(0x100, 4)).toBe(0x04030201)
    expect(mmio.read(0x104, 4)).toBe(5)
    expect(mmio.read(0x200, 4)).toBe(0)
  })

  test('below it only 32-bit accesses count', () => {
    const { mmio } = bench()
    expect(mmio.read(0, 1)).toBe(0)
    mmio.write(REGISTER.status, 1, 1)
    expect(mmio.read(REGISTER.status, 4)).toBe(0)
    expect(mmio.warnings.of('register-width')).toBe(2)
  })

  test('there are no shared memory regions', () => {
    const { driver } = bench()
    expect([0xb0, 0xb4, 0xb8, 0xbc].map((register) => driver.read(register))).toEqual(
      Array(4).fill(0xffff_ffff),
    )
  })
})

describe('status', () => {
  test('steps outside the table are refused and counted', () => {
    const { driver, mmio } = bench()
    for (const wrong of [2, 3, 4, 8, 15, 64]) driver.write(REGISTER.status, wrong)
    expect(driver.read(REGISTER.status)).toBe(0)
    expect(mmio.warnings.of('status-transition')).toBe(5)
    driver.write(REGISTER.status, 1)
    driver.write(REGISTER.status, 15)
    expect(driver.read(REGISTER.status)).toBe(1)
    driver.write(REGISTER.status, 3)
    driver.write(REGISTER.status, 1)
    expect(driver.read(REGISTER.status)).toBe(3)
  })

  test('features that were not offered, or without VERSION_1, leave FEATURES_OK clear', () => {
    for (const [low, high] of [
      [0b10, 1],
      [0b100, 0],
      [0, 2 | 1],
    ]) {
      const { driver, mmio } = bench()
      driver.write(REGISTER.status, 1)
      driver.write(REGISTER.status, 3)
      driver.write(REGISTER.driverFeatures, low)
      driver.write(REGISTER.driverFeaturesSel, 1)
      driver.write(REGISTER.driverFeatures, high)
      driver.write(REGISTER.status, 11)
      expect(driver.read(REGISTER.status)).toBe(3)
      expect(mmio.warnings.of('features-refused')).toBe(1)
    }
  })

  test('accepted features cannot change afterwards', () => {
    const { driver, mmio } = bench()
    driver.negotiate()
    driver.write(REGISTER.driverFeaturesSel, 0)
    driver.write(REGISTER.driverFeatures, 0b100)
    expect(mmio.accepted(2)).toBe(false)
    expect(mmio.warnings.of('features-locked')).toBe(1)
  })

  test('a driver that gives up is left alone', () => {
    const { driver, mmio, echo } = bench()
    driver.start()
    driver.write(REGISTER.status, 15 | 128)
    driver.submit(0, [Uint8Array.of(1)], [1])
    driver.kick(0)
    expect(echo.held).toEqual([])
    expect(mmio.live).toBe(false)
  })

  test('a reset takes back everything but the counts', () => {
    const { driver, mmio, echo, context } = bench()
    const fresh = mmio.save() as Record<string, unknown>
    driver.start()
    driver.submit(0, [Uint8Array.of(1)], [1])
    driver.kick(0)
    echo.echo(0)
    driver.write(REGISTER.queueNotify, 77)
    expect(context.asserted).toBe(true)
    driver.write(REGISTER.status, 0)
    expect(context.asserted).toBe(false)
    const after = mmio.save() as Record<string, unknown>
    expect({ ...after, warnings: null }).toEqual({ ...fresh, warnings: null })
    expect(mmio.warnings.of('queue-missing')).toBe(1)
  })
})

describe('queues', () => {
  test('sizes and selection', () => {
    const { driver } = bench()
    expect(driver.read(REGISTER.queueNumMax)).toBe(64)
    driver.write(REGISTER.queueSel, 1)
    expect(driver.read(REGISTER.queueNumMax)).toBe(16)
    driver.write(REGISTER.queueSel, 2)
    expect(driver.read(REGISTER.queueNumMax)).toBe(0)
  })

  test('unsound layouts are refused', () => {
    const sound = {
      size: 16,
      descriptors: RAM_BASE,
      driver: RAM_BASE + 0x1000,
      device: RAM_BASE + 0x2000,
      high: 0,
    }
    const layouts = [
      { ...sound, size: 0 },
      { ...sound, size: 3 },
      { ...sound, size: 128 },
      { ...sound, size: 0x8000_0000 },
      { ...sound, descriptors: RAM_BASE + 8 },
      { ...sound, driver: RAM_BASE + 1 },
      { ...sound, device: RAM_BASE + 2 },
      { ...sound, descriptors: 0 },
      { ...sound, device: RAM_BASE + 4 * 1024 * 1024 - 128 },
      { ...sound, high: 0xffff_ffff },
    ]
    for (const layout of [sound, ...layouts]) {
      const { driver, mmio } = bench()
      driver.negotiate()
      driver.write(REGISTER.queueNum, layout.size)
      driver.write(REGISTER.queueDescLow, layout.descriptors)
      driver.write(REGISTER.queueDescHigh, layout.high)
      driver.write(REGISTER.queueDriverLow, layout.driver)
      driver.write(REGISTER.queueDeviceLow, layout.device)
      driver.write(REGISTER.queueReady, 1)
      const refused = layout === sound ? 0 : 1
      expect(driver.read(REGISTER.queueReady)).toBe(1 - refused)
      expect(mmio.warnings.of('queue-layout')).toBe(refused)
      expect(driver.read(REGISTER.status)).toBe(refused === 1 ? 11 | 64 : 11)
    }
  })

  test('a ready queue is locked, and so is any before FEATURES_OK', () => {
    const { driver, mmio } = bench()
    driver.write(REGISTER.queueNum, 4)
    expect(mmio.warnings.of('queue-locked')).toBe(1)
    driver.start()
    driver.write(REGISTER.queueDescLow, 0)
    expect(mmio.warnings.of('queue-locked')).toBe(2)
  })
})

test('random register accesses never throw, and what is saved can be restored', () => {
  const access = fc.record({
    offset: fc.oneof(fc.constantFrom(...Object.values(REGISTER)), fc.nat(0xfff)),
    width: fc.constantFrom(1 as const, 2 as const, 4 as const),
    value: fc.oneof(
      fc.constantFrom(0, 1, 3, 11, 15, 16, RAM_BASE, RAM_BASE + 0x1000, 0xffff_ffff),
      fc.nat(0xffff_ffff),
    ),
    write: fc.boolean(),
  })
  fc.assert(
    fc.property(fc.boolean(), fc.array(access, { maxLength: 200 }), (started, accesses) => {
      const { driver, mmio, context } = bench()
      if (started) driver.start()
      for (const { offset, width, value, write } of accesses) {
        const aligned = offset - (offset % width)
        if (write) mmio.write(aligned, width, value)
        else expect(mmio.read(aligned, width)).toBeGreaterThanOrEqual(0)
      }
      const twin = new VirtioMmio(3, context, new EchoFunction([64, 16]))
      twin.restore(mmio.save())
      expect(twin.save()).toEqual(mmio.save())
    }),
    { numRuns: 300 },
  )
})

test('a state that does not fit is refused', () => {
  const { driver, mmio } = bench()
  driver.start()
  const state = mmio.save() as Record<string, never>
  const queue = (state.queues as readonly Record<string, never>[])[0]
  const broken: Record<string, unknown>[] = [
    { ...state, version: 2 },
    { ...state, deviceId: 1 },
    { ...state, status: 4 },
    { ...state, accepted: 0b10n },
    { ...state, queues: [] },
    {
      ...state,
      queues: [{ ...queue, descriptors: 0 }, (state.queues as readonly Record<string, never>[])[1]],
    },
    { ...state, interruptStatus: 4 },
    { ...state, warnings: null },
    { ...state, function: { version: 1 } },
  ]
  for (const candidate of broken) {
    expect(() => bench().mmio.restore(candidate as never)).toThrow(
      expect.objectContaining({ code: 'DEVICE_STATE_INVALID' }),
    )
  }
})
