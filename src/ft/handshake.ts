import { type HelloMessage, PROTOCOL_VERSION, type Role } from './messages.ts'
import type { RefusalCode } from './primary-events.ts'

/** What a replica says of itself and expects of the other. */
export interface Membership {
  readonly vm: string
  readonly generation: number
  readonly replica: string
  readonly role: Role
  /** The last frame already in the machine. */
  readonly sequence: number
  readonly logBytesMax: number
}

/** The hello of a replica. */
export function helloOf(own: Membership): HelloMessage {
  return { kind: 'hello', version: PROTOCOL_VERSION, ...own }
}

/**
 * Says whether two replicas can be a pair; null when they can. The generation must be the same: an older one belongs
 * to a pair that arbitration has dissolved, a newer one means that this replica's own pair is.
 */
export function refusalOf(own: Membership, hello: HelloMessage): RefusalCode | null {
  if (hello.version !== PROTOCOL_VERSION) return 'version'
  if (hello.vm !== own.vm) return 'vm'
  if (hello.role === own.role || hello.replica === own.replica) return 'role'
  if (hello.generation !== own.generation) return 'generation'
  if (hello.sequence !== own.sequence) return 'sequence'
  return null
}
