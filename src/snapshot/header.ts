/** The header of a snapshot: which machine it is of, and how to know its state. */
import type { MachineConfig, SnapshotStart } from '../machine/config.ts'
import { configFromHeader, headerFromConfig, parseHeader } from '../replay/log-header.ts'
import { SnapshotError } from './errors.ts'

export type SnapshotConfig = MachineConfig & { readonly boot: SnapshotStart }

/** The header is that of a log which starts here: the same configuration, and no images. */
export function encodeHeader(config: MachineConfig, program: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(headerFromConfig(config, [], program)))
}

/** Throws SNAPSHOT_MALFORMED. */
export function decodeHeader(json: Uint8Array): SnapshotConfig {
  try {
    const config = configFromHeader(parseHeader(json, 0), new Map())
    if (isSnapshotConfig(config)) return config
  } catch (cause) {
    throw new SnapshotError('SNAPSHOT_MALFORMED', `The header: ${(cause as Error).message}.`, { cause })
  }
  throw new SnapshotError('SNAPSHOT_MALFORMED', 'The header is of a machine at power-on.')
}

export function isSnapshotConfig(config: MachineConfig): config is SnapshotConfig {
  return config.boot.kind === 'snapshot'
}
