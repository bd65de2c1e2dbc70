/** Makes the machine's configuration from a replica's: both replicas of a pair come to the same one. */
import type { MachineConfig } from '../machine/config.ts'
import type { ReplicaConfig } from './config.ts'

export async function loadMachine(config: ReplicaConfig): Promise<MachineConfig> {
  const common = {
    memoryBytes: config.memoryBytes,
    nics: [{ mac: Buffer.from(config.mac, 'hex') }],
    disks: [],
    rngSeed: new Uint8Array(Buffer.from(config.rngSeed, 'hex')),
  }
  return { ...common, boot: { kind: 'bare', elf: new Uint8Array() } }
}
