/** How a command ends and what it prints when it fails. Exit codes are stable, as error codes are. */
import { describeError } from '../control/server.ts'

export const EXIT_FAILED = 1
/** The command line itself was wrong: unknown verbs and options, bad names, sizes and ports. */
export const EXIT_USAGE = 2
/** What was named is not there: a virtual machine, an image, a running cluster. */
export const EXIT_NOT_FOUND = 3
/** Something else is in the way: a name, a port, a cluster that runs already. */
export const EXIT_CONFLICT = 4

const EXIT_CODES: { readonly [code: string]: number } = {
  HOST_COUNT_INVALID: EXIT_USAGE,
  VM_NAME_INVALID: EXIT_USAGE,
  MEMORY_INVALID: EXIT_USAGE,
  PUBLISH_INVALID: EXIT_USAGE,
  CPU_LIMIT_INVALID: EXIT_USAGE,
  HOST_NAME_INVALID: EXIT_USAGE,
  CLONE_RATE_INVALID: EXIT_USAGE,
  STORE_URL_INVALID: EXIT_USAGE,
  SECURITY_JOIN_TOKEN_INVALID: EXIT_USAGE,
  IMAGE_NAME_INVALID: EXIT_USAGE,
  CONTROL_SOCKET_PATH: EXIT_USAGE,
  NET_PORT_FORBIDDEN: EXIT_USAGE,
  NET_ADDRESS_INVALID: EXIT_USAGE,
  MACHINE_OPTIONS: EXIT_USAGE,
  MACHINE_SNAPSHOT_NEEDED: EXIT_USAGE,
  CLUSTER_NOT_UP: EXIT_NOT_FOUND,
  CLUSTER_NO_GATEWAY: EXIT_NOT_FOUND,
  HOST_NOT_FOUND: EXIT_NOT_FOUND,
  STORE_NOT_FOUND: EXIT_NOT_FOUND,
  VM_NOT_FOUND: EXIT_NOT_FOUND,
  IMAGE_NOT_FOUND: EXIT_NOT_FOUND,
  IMAGE_RECIPE_UNKNOWN: EXIT_NOT_FOUND,
  MACHINE_FILE_MISSING: EXIT_NOT_FOUND,
  MACHINE_NET_UNREACHABLE: EXIT_NOT_FOUND,
  DISK_NOT_FOUND: EXIT_NOT_FOUND,
  SNAPSHOT_MISSING: EXIT_NOT_FOUND,
  CLUSTER_ALREADY_UP: EXIT_CONFLICT,
  VM_EXISTS: EXIT_CONFLICT,
  SNAPSHOT_EXISTS: EXIT_CONFLICT,
  VM_RUNNING: EXIT_CONFLICT,
  VM_NOT_RUNNING: EXIT_CONFLICT,
  VM_NOT_PROTECTED: EXIT_CONFLICT,
  VM_NOT_MOVED: EXIT_CONFLICT,
  HOST_NOT_DRAINED: EXIT_CONFLICT,
  HOST_FULL: EXIT_CONFLICT,
  NET_PORT_IN_USE: EXIT_CONFLICT,
  NET_SEGMENT_EXISTS: EXIT_CONFLICT,
}

/** Prints an error as two lines, `error CODE: …` and `next: …`, and returns the exit code it means. */
export function reportError(error: unknown, write: (text: string) => void): number {
  const { code, message, next } = describeError(error)
  write(`error ${code}: ${message}\nnext: ${next}\n`)
  return EXIT_CODES[code] ?? EXIT_FAILED
}
