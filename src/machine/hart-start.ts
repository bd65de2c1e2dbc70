/** A hart at power-on and where what is booted begins (The RISC-V Instruction Set Manual, Volume II, 3.4). */
import type { HartIsa } from './boot/device-tree.ts'
import { BLOCK_ENABLE, CACHE_BLOCK_BYTES, ZERO_BLOCK_BYTES } from './cpu/cache-block.ts'
import type { HartState } from './hart-state.ts'

/** What the harts offer, as the device tree tells it. */
export const ISA: HartIsa = {
  base: 'rv64i',
  extensions: [
    'i',
    'm',
    'a',
    'f',
    'd',
    'c',
    'zicbom',
    'zicboz',
    'zicntr',
    'zicond',
    'zicsr',
    'zifencei',
    'zihintpause',
    'zawrs',
    'zba',
    'zbb',
    'zbs',
    'sstc',
    'svade',
  ],
  mmuType: 'riscv,sv39',
  cbomBlockBytes: CACHE_BLOCK_BYTES,
  cbozBlockBytes: ZERO_BLOCK_BYTES,
}

/** misa: MXL = 64 bits, extensions A C D F I M S U. */
const MISA =
  (2n << 62n) | [...'ACDFIMSU'].reduce((bits, letter) => bits | (1n << BigInt(letter.charCodeAt(0) - 65)), 0n)
const UXL_SXL_64 = 0xa00000000n
/** All exceptions go to the kernel but its own environment calls, which the machine serves. */
const FIRMWARE_MEDELEG = 0xb1ffn
const SUPERVISOR_INTERRUPTS = 0x222n
/** A time that never comes, and an address that nothing has. */
export const NEVER = 0xffffffffffffffffn
/** menvcfg: stimecmp is there (Sstc). */
export const STCE = 1n << 63n
const FIRMWARE_MENVCFG =
  STCE | BigInt(BLOCK_ENABLE.invalidate | BLOCK_ENABLE.cleanOrFlush | BLOCK_ENABLE.zero)

export function resetHart(hart: HartState): void {
  hart.set('misa', MISA)
  hart.set('mstatus', UXL_SXL_64)
  hart.set('mtimecmp', NEVER)
  hart.set('stimecmp', NEVER)
  hart.set('reservation', NEVER)
}

/** A bare program begins in M-mode. */
export function startInMachineMode(hart: HartState, entry: bigint): void {
  hart.set('pc', entry)
  hart.set('privilege', 3n)
}

/** The RISC-V Linux boot protocol: hart number in a0, device tree in a1, translation off. */
export function startInSupervisorMode(hart: HartState, kernel: number, deviceTree: number): void {
  hart.set('pc', BigInt(kernel))
  hart.set('privilege', 1n)
  hart.setX(11, BigInt(deviceTree))
  hart.set('medeleg', FIRMWARE_MEDELEG)
  hart.set('mideleg', SUPERVISOR_INTERRUPTS)
  hart.set('mcounteren', 7n)
  hart.set('scounteren', 7n)
  hart.set('menvcfg', FIRMWARE_MENVCFG)
}
