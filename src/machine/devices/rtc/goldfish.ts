/**
 * The goldfish real-time clock of `virt`: 64-bit nanoseconds since 1970 in two halves, and an alarm. The time is the
 * epoch of the machine's configuration plus guest time, so it is a function of the log like any other time.
 */
import type { FdtNode } from '../../boot/fdt.ts'
import type { DeviceContext, DeviceState, MmioDevice } from '../device.ts'
import { NANOSECONDS_PER_TICK, PLIC_PHANDLE, RTC_BASE, RTC_INTERRUPT } from '../memory-map.ts'
import { StateReader } from '../state.ts'

const TIME_LOW = 0x00
const TIME_HIGH = 0x04
const ALARM_LOW = 0x08
const ALARM_HIGH = 0x0c
const IRQ_ENABLED = 0x10
const CLEAR_ALARM = 0x14
const ALARM_STATUS = 0x18
const CLEAR_INTERRUPT = 0x1c

const VERSION = 1
const LOW_HALF = 0xffff_ffffn

export class GoldfishRtc implements MmioDevice {
  readonly name = 'rtc'
  readonly base = RTC_BASE
  readonly size = 0x1000
  readonly #context: Pick<DeviceContext, 'interrupt' | 'guestClock'>
  readonly #epochNs: bigint
  /** What the guest added to the time by setting it. */
  #offsetNs = 0n
  /** Reading TIME_LOW latches the high half, so that the two halves fit together. */
  #timeHigh = 0
  #alarmNs = 0n
  #alarmHigh = 0
  #alarmArmed = false
  #irqEnabled = false
  #irqPending = false

  /** `epochNs`: the time at guest clock zero, in nanoseconds since 1970, from the configuration. */
  constructor(context: Pick<DeviceContext, 'interrupt' | 'guestClock'>, epochNs: bigint) {
    this.#context = context
    this.#epochNs = epochNs
  }

  read(offset: number, width: 1 | 2 | 4): number {
    if (width !== 4) return 0
    switch (offset) {
      case TIME_LOW: {
        const now = this.#nowNs()
        this.#timeHigh = Number(now >> 32n)
        return Number(now & LOW_HALF)
      }
      case TIME_HIGH:
        return this.#timeHigh
      case ALARM_LOW:
        return Number(this.#alarmNs & LOW_HALF)
      case ALARM_HIGH:
        return Number(this.#alarmNs >> 32n)
      case IRQ_ENABLED:
        return this.#irqEnabled ? 1 : 0
      case ALARM_STATUS:
        return this.#alarmArmed ? 1 : 0
      default:
        return 0
    }
  }

  /** The high halves only wait for the low ones, whose writing takes effect. */
  write(offset: number, width: 1 | 2 | 4, value: number): void {
    if (width !== 4) return
    switch (offset) {
      case TIME_LOW:
        this.#setTime((BigInt(this.#timeHigh) << 32n) | BigInt(value >>> 0))
        break
      case TIME_HIGH:
        this.#timeHigh = value >>> 0
        break
      case ALARM_LOW:
        this.#alarmNs = (BigInt(this.#alarmHigh) << 32n) | BigInt(value >>> 0)
        this.#alarmArmed = true
        this.expire()
        break
      case ALARM_HIGH:
        this.#alarmHigh = value >>> 0
        break
      case IRQ_ENABLED:
        this.#irqEnabled = (value & 1) !== 0
        this.#drive()
        break
      case CLEAR_ALARM:
        this.#alarmArmed = false
        break
      case CLEAR_INTERRUPT:
        this.#irqPending = false
        this.#drive()
        break
    }
  }

  /** The guest clock at which the alarm is due, or null when none is armed: the machine calls `expire` then. */
  alarmDeadline(): bigint | null {
    if (!this.#alarmArmed) return null
    const waitNs = this.#alarmNs - this.#epochNs - this.#offsetNs
    return waitNs <= 0n ? 0n : (waitNs + NANOSECONDS_PER_TICK - 1n) / NANOSECONDS_PER_TICK
  }

  /** Fires the alarm if it is due; harmless otherwise. */
  expire(): void {
    if (!this.#alarmArmed || this.#nowNs() < this.#alarmNs) return
    this.#alarmArmed = false
    this.#irqPending = true
    this.#drive()
  }

  fdtNode(): FdtNode {
    return {
      name: `rtc@${RTC_BASE.toString(16)}`,
      properties: {
        compatible: 'google,goldfish-rtc',
        reg: [BigInt(RTC_BASE), BigInt(this.size)],
        interrupts: RTC_INTERRUPT,
        'interrupt-parent': PLIC_PHANDLE,
      },
    }
  }

  save(): DeviceState {
    return {
      version: VERSION,
      offsetNs: this.#offsetNs,
      timeHigh: this.#timeHigh,
      alarmNs: this.#alarmNs,
      alarmHigh: this.#alarmHigh,
      alarmArmed: this.#alarmArmed,
      irqEnabled: this.#irqEnabled,
      irqPending: this.#irqPending,
    }
  }

  restore(state: DeviceState): void {
    const reader = new StateReader(this.name, state, VERSION)
    const offsetNs = reader.i64('offsetNs')
    const timeHigh = reader.u32('timeHigh')
    const alarmNs = reader.u64('alarmNs')
    const alarmHigh = reader.u32('alarmHigh')
    const alarmArmed = reader.boolean('alarmArmed')
    const irqEnabled = reader.boolean('irqEnabled')
    this.#irqPending = reader.boolean('irqPending')
    this.#offsetNs = offsetNs
    this.#timeHigh = timeHigh
    this.#alarmNs = alarmNs
    this.#alarmHigh = alarmHigh
    this.#alarmArmed = alarmArmed
    this.#irqEnabled = irqEnabled
  }

  #nowNs(): bigint {
    return BigInt.asUintN(
      64,
      this.#epochNs + this.#context.guestClock() * NANOSECONDS_PER_TICK + this.#offsetNs,
    )
  }

  #setTime(ns: bigint): void {
    this.#offsetNs = BigInt.asIntN(64, this.#offsetNs + ns - this.#nowNs())
    this.expire()
  }

  #drive(): void {
    this.#context.interrupt.set(this.#irqPending && this.#irqEnabled)
  }
}
