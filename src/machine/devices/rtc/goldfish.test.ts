import { expect, test } from 'vitest'
import { TestContext } from '../testing/test-context.ts'
import { GoldfishRtc } from './goldfish.ts'

const EPOCH_NS = 1_700_000_000_123_456_789n

function bench() {
  const context = new TestContext()
  const rtc = new GoldfishRtc(context, EPOCH_NS)
  const now = (): bigint => {
    const low = BigInt(rtc.read(0x00, 4))
    return (BigInt(rtc.read(0x04, 4)) << 32n) | low
  }
  const write64 = (low: number, value: bigint): void => {
    rtc.write(low + 4, 4, Number(value >> 32n))
    rtc.write(low, 4, Number(value & 0xffff_ffffn))
  }
  return { context, rtc, now, write64 }
}

test('the time is the epoch plus guest time', () => {
  const { context, now } = bench()
  expect(now()).toBe(EPOCH_NS)
  context.clock = 25n
  expect(now()).toBe(EPOCH_NS + 2500n)
})

test('the high half belongs to the low half that was read', () => {
  const { context, rtc } = bench()
  const toWrap = (1n << 32n) - (EPOCH_NS & 0xffff_ffffn)
  context.clock = toWrap / 100n
  const high = Number((EPOCH_NS + context.clock * 100n) >> 32n)
  rtc.read(0x00, 4)
  context.clock += 1n
  expect(rtc.read(0x04, 4)).toBe(high)
  rtc.read(0x00, 4)
  expect(rtc.read(0x04, 4)).toBe(high + 1)
})

test('a time that was set goes on from there', () => {
  const { context, now, write64 } = bench()
  context.clock = 1000n
  write64(0x00, 42n)
  expect(now()).toBe(42n)
  context.clock += 10n
  expect(now()).toBe(1042n)
})

test('an alarm fires at its tick, not before, and once', () => {
  const { context, rtc, write64 } = bench()
  rtc.write(0x10, 4, 1)
  write64(0x08, EPOCH_NS + 1001n)
  expect(rtc.read(0x18, 4)).toBe(1)
  expect(rtc.alarmDeadline()).toBe(11n)
  context.clock = 10n
  rtc.expire()
  expect(context.asserted).toBe(false)
  context.clock = 11n
  rtc.expire()
  expect(context.asserted).toBe(true)
  expect(rtc.alarmDeadline()).toBeNull()
  expect(rtc.read(0x18, 4)).toBe(0)
  rtc.write(0x1c, 4, 1)
  expect(context.asserted).toBe(false)
  rtc.expire()
  expect(context.interrupts).toBe(1)
})

test('an alarm in the past fires at once; one that is cleared or not enabled stays silent', () => {
  const past = bench()
  past.rtc.write(0x10, 4, 1)
  past.write64(0x08, EPOCH_NS - 1n)
  expect(past.context.asserted).toBe(true)
  const cleared = bench()
  cleared.rtc.write(0x10, 4, 1)
  cleared.write64(0x08, EPOCH_NS + 100n)
  cleared.rtc.write(0x14, 4, 1)
  cleared.context.clock = 5n
  cleared.rtc.expire()
  expect(cleared.context.asserted).toBe(false)
  const disabled = bench()
  disabled.write64(0x08, EPOCH_NS)
  expect(disabled.context.asserted).toBe(false)
  disabled.rtc.write(0x10, 4, 1)
  expect(disabled.context.asserted).toBe(true)
})

test('a clone keeps the time that was set and the alarm', () => {
  const { rtc, write64, context } = bench()
  write64(0x00, 1n << 60n)
  write64(0x08, (1n << 60n) + 500n)
  rtc.write(0x10, 4, 1)
  const twin = new GoldfishRtc(context, EPOCH_NS)
  twin.restore(structuredClone(rtc.save()))
  expect(twin.save()).toEqual(rtc.save())
  expect(twin.alarmDeadline()).toBe(5n)
  expect(() => twin.restore({ ...(rtc.save() as object), alarmNs: -1n })).toThrow(
    expect.objectContaining({ code: 'DEVICE_STATE_INVALID' }),
  )
})
