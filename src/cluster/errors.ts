import { UnderstudyError } from '../errors.ts'

/** Every error of the cluster, by its stable code. `next` says what the reader can do. */
export const CLUSTER_ERRORS = {
  CLUSTER_NOT_UP: 'Start it with `understudy up`, or name its directory with --dir or UNDERSTUDY_DIR.',
  CLUSTER_ALREADY_UP: 'Use it as it is, or stop it first with `understudy down`.',
  CLUSTER_START_FAILED: 'Read the log file that the message names.',
  CLUSTER_STATE_INVALID: 'Remove the file that the message names, or choose another --dir.',
  CLUSTER_TOO_FEW_HOSTS: 'Start more hosts with `understudy up --hosts 2`, or run with --no-protect.',
  CLUSTER_NO_GATEWAY: 'Start one with `understudy gateway`, or a whole local cluster with `understudy up`.',
  HOST_UNREACHABLE: 'Run the command in the directory of a host: `understudy cluster join` makes it one.',
  HOST_NOT_DRAINED:
    'Look at `understudy events` for why; the host takes nothing new. Take it back with `understudy host undrain`.',
  HOST_COUNT_INVALID: 'Give --hosts a number from 1 to 16.',
  HOST_NAME_INVALID: 'Use 1 to 40 lower-case letters, digits and "-", with a letter or digit at both ends.',
  HOST_FULL: 'Nothing needs to be done: another host is tried. Start hosts, or give this one more --memory.',
  HOST_NOT_FOUND: 'List the hosts with `understudy host ls`.',
  VM_NAME_INVALID: 'Use 1 to 40 lower-case letters, digits and "-", with a letter or digit at both ends.',
  VM_EXISTS: 'Choose another --name, or remove the old one with `understudy rm`.',
  VM_NOT_FOUND: 'List the virtual machines with `understudy ps`.',
  VM_RUNNING: 'Stop it first with `understudy stop`.',
  VM_NOT_RUNNING: 'Look at `understudy events` for why it ended; start it anew with `understudy run`.',
  VM_NOT_PROTECTED: 'Protect it with `understudy protect`; `understudy info` says what it waits for.',
  VM_NOT_MOVED: 'Look at `understudy events` for why; it runs on where it was, and is protected as before.',
  CONTROL_UNCONFIRMED: 'Look at `understudy ps`: if it was taken over meanwhile, say it again.',
  VM_START_FAILED: 'Read the log file that the message names.',
  EVENTS_CONTENDED: 'Nothing needs to be done: it is tried again.',
  MEMORY_INVALID: 'Give a size such as 512M or 1G, from 64M to 3G.',
  CPU_LIMIT_INVALID: 'Give --cpu a percentage of a core from 5% to 100%; 100% is no limit.',
  CLONE_RATE_INVALID:
    'Give --rate megabytes of guest memory a second, such as 50M, from 1M on; or unlimited.',
  PUBLISH_INVALID: 'Give --publish HOSTPORT:GUESTPORT, each from 1 to 65535.',
} as const

export type ClusterErrorCode = keyof typeof CLUSTER_ERRORS

export class ClusterError extends UnderstudyError {
  declare readonly code: ClusterErrorCode

  constructor(code: ClusterErrorCode, message: string, options?: ErrorOptions) {
    super(code, message, CLUSTER_ERRORS[code], options)
  }
}
