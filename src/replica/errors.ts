import { UnderstudyError } from '../errors.ts'

/** Every error of a replica, by its stable code. `next` says what the reader can do. */
export const REPLICA_ERRORS = {
  RING_RECORD_TOO_LARGE: 'Raise the ring size or split the record; a record must fit in its ring.',
  RING_CORRUPT: 'This is a bug: keep the replica log and report it.',
  RING_CLOSED: 'The other thread has ended; its own error says why.',
  CONFIG_INVALID: 'Start replicas through `understudy run`, which writes their configuration.',
  IMAGE_UNREADABLE: 'Build the image again with `understudy image build`.',
  MACHINE_FAILED: 'Keep the log and report it; the other replica, if there is one, goes on.',
  NOT_PROTECTED: 'Look at `understudy ps`; wait until it says protected.',
  CLONE_NONSENSE: 'Check that both hosts run one version, and that only replicas connect to this port.',
  CLONE_REFUSED: 'Look at `understudy events`: the message says what the other side did not like.',
  CLONE_NOT_POSSIBLE: 'Wait until the virtual machine runs alone: only then can it be cloned.',
  CLONE_BROKEN: 'The virtual machine runs on as before; it is cloned again when a host is there.',
  NOT_LIVE: 'Look at `understudy ps` for where it is live, and try again.',
  NOT_A_BACKUP: 'Ask the replica that `understudy info` calls the backup.',
  CHANNEL_NONSENSE: 'Check that only replicas of one virtual machine connect to this port.',
  EVENT_LOST: 'Check that the state directory of the host is writable and its disk not full.',
  LISTEN_FAILED: 'Check that the loopback interface is up and that file descriptors are left.',
} as const

export type ReplicaErrorCode = keyof typeof REPLICA_ERRORS

export class ReplicaError extends UnderstudyError {
  constructor(code: ReplicaErrorCode, message: string, options?: ErrorOptions) {
    super(code, message, REPLICA_ERRORS[code], options)
  }
}
