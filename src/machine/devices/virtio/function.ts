/**
 * The seam between the virtio-mmio transport and a device type (net, block, console, entropy). The transport knows
 * registers, features and status; the device type knows its queues, its configuration space and its inputs.
 */

import type { MachineOutput } from '../../io.ts'
import type { DeviceState, GuestMemory } from '../device.ts'
import type { Virtqueue } from './virtqueue.ts'
import type { VirtioWarning } from './warning-codes.ts'

/** What the transport does for a device type. */
export interface VirtioPort {
  readonly memory: GuestMemory
  /** The driver runs and neither side has given up: only then may queues be touched. */
  readonly live: boolean
  queue(index: number): Virtqueue
  /** Whether the driver accepted the feature bit. */
  accepted(featureBit: number): boolean
  /** Raises the used-buffer interrupt if the driver wants one for what was used since the last call. */
  signal(queue: Virtqueue): void
  /** Counts something wrong that loses no more than itself. */
  warn(code: VirtioWarning): void
  /** Counts something that leaves the queues unusable, and sets DEVICE_NEEDS_RESET. */
  fault(code: VirtioWarning): void
  output(output: MachineOutput): void
  endSlice(): void
}

export interface VirtioFunction {
  readonly name: string
  /** Section 5. */
  readonly deviceId: number
  /** Feature bits of the device type; the transport adds its own. */
  readonly features: bigint
  /** The largest size of each queue, powers of two. */
  readonly queueSizesMax: readonly number[]
  /** The configuration space, little-endian. None of the devices here changes it, nor lets the driver. */
  readonly config: Uint8Array
  /** Called once, before anything else. */
  connect(port: VirtioPort): void
  /** The driver added buffers to the queue. Called only while live. */
  notify(queue: number): void
  /** Forgets all that belongs to the driver: pending chains and data for it. */
  reset(): void
  save(): DeviceState
  restore(state: DeviceState): void
}
