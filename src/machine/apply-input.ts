/** What comes from outside, given to the device that it is for, at the start of a slice. */
import type { Generation } from './devices/generation/generation.ts'
import type { Uart16550 } from './devices/uart16550/uart16550.ts'
import type { VirtioBlk } from './devices/virtio-blk/virtio-blk.ts'
import type { VirtioConsole } from './devices/virtio-console/virtio-console.ts'
import type { VirtioNet } from './devices/virtio-net/virtio-net.ts'
import type { VirtioRng } from './devices/virtio-rng/virtio-rng.ts'
import type { MachineInput } from './io.ts'

export interface InputReceivers {
  readonly nics: readonly VirtioNet[]
  readonly disks: readonly VirtioBlk[]
  readonly uart: Uart16550
  readonly console: VirtioConsole
  readonly rng: VirtioRng
  readonly generation: Generation
  /** The reset button. */
  reset(): void
}

/** Input for a device that this machine does not have goes nowhere, as on any bus. */
export function applyInput(input: MachineInput, to: InputReceivers): void {
  switch (input.kind) {
    case 'net-rx':
      to.nics[input.nic]?.receive(input.frame)
      return
    case 'console-rx':
      if (input.port === 'uart') to.uart.receive(input.data)
      else to.console.receive(input.data)
      return
    case 'entropy':
      to.rng.receive(input.data)
      return
    case 'generation':
      to.generation.change(input.data)
      return
    case 'disk-complete':
      to.disks[input.disk]?.complete(input.id, input.ok, input.data)
      return
    case 'reset':
      to.reset()
      return
  }
}
