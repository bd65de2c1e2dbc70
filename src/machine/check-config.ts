/** What a machine can be made of. */
import { type MachineConfig, MEMORY_BYTES_MAX } from './config.ts'
import { MachineConfigError } from './errors.ts'

const MEMORY_STEP_BYTES = 1024 * 1024
const MEMORY_BYTES_MIN = 16 * MEMORY_STEP_BYTES
/** Slots that the machine's own devices take. */
const VIRTIO_FIXED = 2

/** Throws a MachineConfigError. */
export function checkConfig(config: MachineConfig): void {
  const { memoryBytes } = config
  if (
    memoryBytes % MEMORY_STEP_BYTES !== 0 ||
    memoryBytes < MEMORY_BYTES_MIN ||
    memoryBytes > MEMORY_BYTES_MAX
  ) {
    throw new MachineConfigError(
      'MACHINE_MEMORY_SIZE',
      `guest memory of ${memoryBytes} bytes is not a whole number of MiB from 16 MiB to ${MEMORY_BYTES_MAX / MEMORY_STEP_BYTES} MiB`,
      'give a size such as 512M',
    )
  }
  if (config.nics.length + config.disks.length > 8 - VIRTIO_FIXED) {
    throw new MachineConfigError(
      'MACHINE_TOO_MANY_DEVICES',
      `${config.nics.length} network cards and ${config.disks.length} disks do not fit ${8 - VIRTIO_FIXED} free virtio slots`,
      'use fewer disks or network cards',
    )
  }
}
