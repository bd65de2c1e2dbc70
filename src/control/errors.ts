import { UnderstudyError } from '../errors.ts'

/** Every error of the control sockets themselves; errors of what it controls pass through with their own codes. */
export const CONTROL_ERRORS = {
  CONTROL_BAD_REQUEST: 'Correct the request; the message names what is wrong.',
  CONTROL_NOT_FOUND: 'Check the path and the version of the other side.',
  CONTROL_UNAUTHORIZED:
    'Call as a host of this cluster: with its certificate and its API token, which are in the identity directory.',
  CONTROL_TOO_LARGE: 'Send a smaller request.',
  CONTROL_UNREACHABLE: 'Start the cluster with `understudy up`, or look at its logs in the state directory.',
  CONTROL_TIMEOUT: 'Look at the log of the process that did not answer, in the state directory.',
  CONTROL_NONSENSE: 'Check that both sides are of the same version.',
  CONTROL_SOCKET_PATH: 'Choose a shorter state directory with --dir or UNDERSTUDY_DIR.',
  CONTROL_INTERNAL: 'This is a bug: look at the log of the process that answered, and report it.',
} as const

export type ControlErrorCode = keyof typeof CONTROL_ERRORS

export class ControlError extends UnderstudyError {
  constructor(code: ControlErrorCode, message: string, options?: ErrorOptions) {
    super(code, message, CONTROL_ERRORS[code], options)
  }
}

/** An error that another process reported: its code and advice are kept as they came. */
export class RemoteError extends UnderstudyError {}
