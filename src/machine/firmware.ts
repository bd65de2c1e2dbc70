/** The machine as the firmware of its guest: what the Supervisor Binary Interface asks of it, for its one hart. */
import type { SbiMachine } from './boot/sbi.ts'
import type { Core } from './cpu/core.ts'
import { INTERRUPT } from './cpu/csr.ts'
import { STATUS } from './cpu/status.ts'
import type { HartState } from './hart-state.ts'
import type { MachineOutput } from './io.ts'
import type { Ram } from './memory.ts'

/** What the machine lends its firmware. */
export interface FirmwareContext {
  readonly core: Core
  readonly hart: HartState
  readonly ram: Ram
  /** Raises or lowers a bit of mip. */
  setPending(bit: bigint, level: boolean): void
  output(output: MachineOutput): void
  /** Emits what went through the UART's registers, so that console output keeps its order. */
  flushConsole(): void
}

const NEVER = 0xffffffffffffffffn

export function firmware(context: FirmwareContext): SbiMachine {
  const { core, hart, ram } = context
  const softwareInterrupt = BigInt(INTERRUPT.ssip)
  return {
    harts: 1,
    identity: { vendor: 0n, architecture: 0n, implementation: 0n },
    setTimer: (_hart, deadline) => hart.set('stimecmp', deadline ?? NEVER),
    raiseSoftwareInterrupt: () => context.setPending(softwareInterrupt, true),
    clearSoftwareInterrupt: () => context.setPending(softwareInterrupt, false),
    remoteFence: (_hart, fence) => {
      if (fence.kind === 'sfence.vma') core.exports.flushTlbs()
    },
    hartState: () => 'started',
    // The only hart runs already: the specification's answer is made before this is asked.
    startHart: () => undefined,
    // The only hart stopping leaves nothing that could ever start it again.
    stopHart: () => context.output({ kind: 'power', action: 'off', exitStatus: 0 }),
    suspendRetentive: () => hart.set('waiting', 1n),
    suspendNonRetentive: (index, address, opaque) => {
      // It wakes as a hart that was just started: prepared now, executed when an interrupt ends the wait.
      hart.set('pc', address)
      hart.setX(10, BigInt(index))
      hart.setX(11, opaque)
      hart.set('satp', 0n)
      hart.set('mstatus', hart.get('mstatus') & ~BigInt(STATUS.sie))
      core.exports.flushTlbs()
      hart.set('waiting', 1n)
    },
    systemReset: (action, failed) => context.output({ kind: 'power', action, exitStatus: failed ? 1 : 0 }),
    isMemory: (address, lengthBytes) =>
      address + lengthBytes < 2n ** 53n && ram.contains(Number(address), Number(lengthBytes)),
    readMemory: (address, lengthBytes) => ram.view(Number(address), lengthBytes),
    writeMemory: (address, data) => ram.write(Number(address), data),
    consoleWrite: (data) => {
      context.flushConsole()
      context.output({ kind: 'console-tx', port: 'uart', data: data.slice() })
    },
    // Console input reaches the guest through its UART and virtio devices only.
    consoleRead: () => new Uint8Array(0),
  }
}
