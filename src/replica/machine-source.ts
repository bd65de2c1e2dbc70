/** Makes the machine's configuration from a replica's: both replicas of a pair come to the same one. */
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { BootConfig, MachineConfig } from '../machine/config.ts'
import { NANOSECONDS_PER_TICK } from '../machine/devices/memory-map.ts'
import type { MachineInput } from '../machine/io.ts'
import { identityInputs } from '../snapshot/boot.ts'
import { SnapshotError } from '../snapshot/errors.ts'
import { readSnapshotConfig } from '../snapshot/file.ts'
import { machineVersion } from '../snapshot/machine-version.ts'
import type { Boot, ReplicaConfig, Start } from './config.ts'
import { ReplicaError } from './errors.ts'

const NANOSECONDS_PER_MS = 1_000_000n

/** Rejects with IMAGE_UNREADABLE or a SnapshotError. */
export async function loadMachine(config: ReplicaConfig): Promise<MachineConfig> {
  if (config.start !== null) return machineOfSnapshot(config, config.start)
  return {
    memoryBytes: config.memoryBytes,
    nics: [{ mac: bytesOf(config.mac) }],
    disks: [],
    rngSeed: bytesOf(config.rngSeed),
    epochNs: BigInt(config.epochMs) * NANOSECONDS_PER_MS,
    // Only the machine module of a test boots nothing.
    boot: config.boot === null ? { kind: 'bare', elf: new Uint8Array() } : await loadBoot(config.boot),
  }
}

/** The time of day is now, the rest is as it was saved. */
function machineOfSnapshot(config: ReplicaConfig, start: Start): MachineConfig {
  if (start.machineVersion !== null && start.machineVersion !== machineVersion()) {
    throw new SnapshotError(
      'SNAPSHOT_MACHINE_VERSION',
      `${start.snapshot} is of another version of the machine than runs here.`,
    )
  }
  const saved = readSnapshotConfig(start.snapshot)
  if (saved.boot.digest !== BigInt(`0x${start.digest}`) || saved.memoryBytes !== config.memoryBytes) {
    throw new SnapshotError('SNAPSHOT_MISMATCH', `${start.snapshot} does not hold the state ${start.digest}.`)
  }
  return {
    ...saved,
    rngSeed: bytesOf(config.rngSeed),
    // The epoch is the time at guest clock zero, which was long ago.
    epochNs: BigInt(config.epochMs) * NANOSECONDS_PER_MS - saved.boot.clock * NANOSECONDS_PER_TICK,
  }
}

/** What the machine takes in before anything else, in its first slice. */
export function firstInputs({ start }: ReplicaConfig): MachineInput[] {
  if (start === null || start.identity === null) return []
  const { generation, words } = start.identity
  return identityInputs({ generation: bytesOf(generation), words })
}

async function loadBoot({ kernel, initrd, append }: Boot): Promise<BootConfig> {
  try {
    return {
      kind: 'linux',
      kernel: await readFile(kernel),
      initrd: initrd === null ? null : await readFile(initrd),
      append,
    }
  } catch (error) {
    throw unreadable(error)
  }
}

/**
 * Reads the images once more, for a guest that resets itself: they are not kept, and a machine that is between two
 * instructions cannot wait for somebody to bring them. Throws IMAGE_UNREADABLE.
 */
export function reloadBoot({ kernel, initrd, append }: Boot): BootConfig {
  try {
    return {
      kind: 'linux',
      kernel: readFileSync(kernel),
      initrd: initrd === null ? null : readFileSync(initrd),
      append,
    }
  } catch (error) {
    throw unreadable(error)
  }
}

function unreadable(error: unknown): ReplicaError {
  const detail = error instanceof Error ? error.message : String(error)
  return new ReplicaError('IMAGE_UNREADABLE', detail, { cause: error })
}

/** The memory of kernel and initrd, tens of megabytes: one copy in the process is enough. */
export function imageBuffers({ boot }: MachineConfig): ArrayBuffer[] {
  if (boot.kind !== 'linux') return []
  const images = boot.initrd === null ? [boot.kernel] : [boot.kernel, boot.initrd]
  return images.map((image) => image.buffer).filter((buffer) => buffer instanceof ArrayBuffer)
}

/** Gives the images back once the machine has them in its RAM. A worker's data is never collected as a whole. */
export function releaseImages(machine: MachineConfig): void {
  for (const buffer of imageBuffers(machine)) buffer.transfer(0)
}

function bytesOf(hexadecimal: string): Uint8Array {
  return new Uint8Array(Buffer.from(hexadecimal, 'hex'))
}
