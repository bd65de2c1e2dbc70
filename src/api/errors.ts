import { UnderstudyError } from '../errors.ts'

/** Every error of the control API itself; errors of what it controls pass through with their own codes. */
export const API_ERRORS = {
  API_BAD_REQUEST: 'Correct the request; the message names what is wrong.',
  API_NOT_FOUND: 'Check the path and the version of the other side.',
  API_TOO_LARGE: 'Send a smaller request.',
  API_UNREACHABLE: 'Start the cluster with `understudy up`, or look at its logs in the state directory.',
  API_TIMEOUT: 'Look at the log of the process that did not answer, in the state directory.',
  API_NONSENSE: 'Check that both sides are of the same version.',
  API_SOCKET_PATH: 'Choose a shorter state directory with --dir or UNDERSTUDY_DIR.',
  API_INTERNAL: 'This is a bug: look at the log of the process that answered, and report it.',
} as const

export type ApiErrorCode = keyof typeof API_ERRORS

export class ApiError extends UnderstudyError {
  constructor(code: ApiErrorCode, message: string, options?: ErrorOptions) {
    super(code, message, API_ERRORS[code], options)
  }
}

/** An error that another process reported: its code and advice are kept as they came. */
export class RemoteError extends UnderstudyError {}
