import { UnderstudyError } from '../errors.ts'

/** Every code of the `machine` verbs themselves, with what to do. Stable: programs may match the codes. */
export const MACHINE_VERB_ERRORS = {
  MACHINE_OPTIONS: 'See `understudy machine run --help`.',
  MACHINE_SNAPSHOT_NEEDED: 'Name the snapshot that the log starts at with --snapshot.',
  MACHINE_FILE_MISSING: 'Check the path.',
  MACHINE_FILE_UNREADABLE: 'Check that the path is a file this user may read.',
  MACHINE_FILE_TOO_LARGE: 'Give a smaller file: kernel, initrd and ELF have to fit the memory of the guest.',
  MACHINE_LOG_UNWRITABLE:
    'Choose another place for the log, and check space and rights there. What was recorded before is good.',
  MACHINE_NET_UNREACHABLE:
    'Start the peer first: passt, QEMU or anything that listens with `-netdev stream`.',
  MACHINE_ASLEEP:
    'The guest waits for an interrupt that nothing can raise: no timer is armed, no input is open. Give it a NIC, or keep stdin open.',
} as const

export type MachineVerbErrorCode = keyof typeof MACHINE_VERB_ERRORS

export class MachineVerbError extends UnderstudyError {
  declare readonly code: MachineVerbErrorCode

  constructor(code: MachineVerbErrorCode, message: string, options?: ErrorOptions) {
    super(code, message, MACHINE_VERB_ERRORS[code], options)
  }
}
