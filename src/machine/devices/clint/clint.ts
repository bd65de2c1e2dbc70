/**
 * The core-local interruptor of `virt`: software interrupts, timer compare registers and the time, as memory-mapped
 * registers (RISC-V privileged specification, sections 3.2.1 and 3.1.9; SiFive's register map). The
 * registers are the harts'; this device only shows them, so it has no state.
 */
import type { FdtNode } from '../../boot/fdt.ts'
import type { DeviceState, MmioDevice } from '../device.ts'
import { CLINT_BASE, HART_PHANDLE_BASE } from '../memory-map.ts'
import { StateReader } from '../state.ts'

const CLINT_SIZE = 0x1_0000
const MTIMECMP_BASE = 0x4000
const MTIME_LOW = 0xbff8
const MTIME_HIGH = 0xbffc

/** Interrupt numbers at a hart (privileged specification, mcause). */
const MACHINE_SOFTWARE = 3
const MACHINE_TIMER = 7

const VERSION = 1
const LOW_HALF = 0xffff_ffffn

/** The part of a hart that its CLINT registers show. */
export interface ClintHart {
  /** Drives MSIP. */
  msip: boolean
  /** Unsigned 64 bits, in ticks of guest time. MTIP follows it. */
  mtimecmp: bigint
}

export class Clint implements MmioDevice {
  readonly name = 'clint'
  readonly base = CLINT_BASE
  readonly size = CLINT_SIZE
  readonly #harts: readonly ClintHart[]
  readonly #guestClock: () => bigint

  constructor(harts: readonly ClintHart[], guestClock: () => bigint) {
    this.#harts = harts
    this.#guestClock = guestClock
  }

  read(offset: number, width: 1 | 2 | 4): number {
    if (width !== 4) return 0
    if (offset === MTIME_LOW) return Number(this.#guestClock() & LOW_HALF)
    if (offset === MTIME_HIGH) return Number((this.#guestClock() >> 32n) & LOW_HALF)
    if (offset < MTIMECMP_BASE) {
      const hart = this.#harts[offset >>> 2]
      return hart?.msip === true ? 1 : 0
    }
    const hart = this.#harts[(offset - MTIMECMP_BASE) >>> 3]
    if (hart === undefined) return 0
    const half = (offset & 4) === 0 ? hart.mtimecmp : hart.mtimecmp >> 32n
    return Number(half & LOW_HALF)
  }

  /** Writes to mtime are ignored: guest time is a function of the log. */
  write(offset: number, width: 1 | 2 | 4, value: number): void {
    if (width !== 4 || offset >= MTIME_LOW) return
    if (offset < MTIMECMP_BASE) {
      const hart = this.#harts[offset >>> 2]
      if (hart !== undefined) hart.msip = (value & 1) !== 0
      return
    }
    const hart = this.#harts[(offset - MTIMECMP_BASE) >>> 3]
    if (hart === undefined) return
    const half = BigInt(value >>> 0)
    const before = hart.mtimecmp
    hart.mtimecmp = (offset & 4) === 0 ? (before & ~LOW_HALF) | half : (before & LOW_HALF) | (half << 32n)
  }

  fdtNode(): FdtNode {
    const wires = this.#harts.flatMap((_, hart) => {
      const phandle = HART_PHANDLE_BASE + hart
      return [phandle, MACHINE_SOFTWARE, phandle, MACHINE_TIMER]
    })
    return {
      name: `clint@${CLINT_BASE.toString(16)}`,
      properties: {
        compatible: ['sifive,clint0', 'riscv,clint0'],
        reg: [BigInt(CLINT_BASE), BigInt(CLINT_SIZE)],
        'interrupts-extended': wires,
      },
    }
  }

  save(): DeviceState {
    return { version: VERSION }
  }

  restore(state: DeviceState): void {
    new StateReader(this.name, state, VERSION)
  }
}
