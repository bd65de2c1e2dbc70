/**
 * The power switch: SiFive's test finisher as on `virt`. One 32-bit register; what is written ends the machine.
 */
import type { FdtNode } from '../../boot/fdt.ts'
import type { DeviceContext, DeviceState, MmioDevice } from '../device.ts'
import { SYSCON_BASE, SYSCON_PHANDLE } from '../memory-map.ts'
import { StateReader } from '../state.ts'

const FINISHER_FAIL = 0x3333
const FINISHER_PASS = 0x5555
const FINISHER_RESET = 0x7777

const VERSION = 1

export class Syscon implements MmioDevice {
  readonly name = 'syscon'
  readonly base = SYSCON_BASE
  readonly size = 0x1000
  readonly #context: Pick<DeviceContext, 'output' | 'endSlice'>

  constructor(context: Pick<DeviceContext, 'output' | 'endSlice'>) {
    this.#context = context
  }

  read(): number {
    return 0
  }

  write(offset: number, width: 1 | 2 | 4, value: number): void {
    if (offset !== 0 || width === 1) return
    const command = value & 0xffff
    if (command === FINISHER_PASS) this.#power('off', 0)
    else if (command === FINISHER_RESET) this.#power('reset', 0)
    else if (command === FINISHER_FAIL) this.#power('off', value >>> 16)
  }

  fdtNode(): FdtNode {
    return {
      name: `test@${SYSCON_BASE.toString(16)}`,
      properties: {
        compatible: ['sifive,test1', 'sifive,test0', 'syscon'],
        reg: [BigInt(SYSCON_BASE), BigInt(this.size)],
        phandle: SYSCON_PHANDLE,
      },
    }
  }

  /** The nodes that tell a kernel which value does what; they belong at the root of the tree. */
  powerNodes(): readonly FdtNode[] {
    const action = (name: string, value: number): FdtNode => ({
      name,
      properties: { compatible: `syscon-${name}`, regmap: SYSCON_PHANDLE, offset: 0, value },
    })
    return [action('poweroff', FINISHER_PASS), action('reboot', FINISHER_RESET)]
  }

  save(): DeviceState {
    return { version: VERSION }
  }

  restore(state: DeviceState): void {
    new StateReader(this.name, state, VERSION)
  }

  #power(action: 'off' | 'reset', exitStatus: number): void {
    this.#context.output({ kind: 'power', action, exitStatus })
    this.#context.endSlice()
  }
}
