import { UnderstudyError } from '../errors.ts'

/** Every error of `src/security`, by its stable code. `next` says what the reader can do. */
export const SECURITY_ERRORS = {
  SECURITY_IDENTITY_MISSING:
    'Join a cluster first, or use a loopback address (127.0.0.1, ::1): without an identity nothing listens or calls beyond this host.',
  SECURITY_PLAIN_REFUSED: 'Write the address as tls:HOST:PORT; beyond loopback nothing is sent in the clear.',
  SECURITY_IDENTITY_INVALID:
    'Let this host join the cluster again into an empty identity directory; the message says which file is wrong.',
  SECURITY_IDENTITY_EXISTS:
    'Choose another identity directory, or remove this one if the host shall leave its cluster.',
  SECURITY_CERTIFICATE_EXPIRED:
    'Check the clock of this host; if it is right, let the host join the cluster again.',
  SECURITY_FILE_OPEN_TO_OTHERS:
    'Make the file yours alone with chmod 600 FILE (and chown, if it belongs to somebody else). If others could read it, make it anew.',
  SECURITY_FILE_UNREADABLE: 'Check that the file is there and belongs to the user who runs understudy.',
  SECURITY_AUTHORITY_MISSING:
    'Do this on the host where the cluster was initialised: only there is the key of its authority.',
  SECURITY_HOST_NAME_INVALID:
    'Use 1 to 63 lower-case letters, digits and "-", with a letter or digit at both ends.',
  SECURITY_JOIN_TOKEN_INVALID: 'Copy the whole token, or make a new one on the host that has the authority.',
  SECURITY_JOIN_REFUSED:
    'Make a new token on the host that has the authority: each is good for one host, and for a limited time.',
  SECURITY_JOIN_TOKENS_TOO_MANY: 'Use the tokens that were made, or wait until they expire.',
  SECURITY_JOIN_FAILED:
    'Check that the address in the token is reachable from here and that the agent there runs; then use the token again.',
  SECURITY_AUTHORITY_WRONG:
    'Somebody else answers at the address in the token. Check address and network; make a new token if in doubt.',
  SECURITY_PEER_REFUSED: 'Check that the other side is a host of the same cluster; its certificate is none.',
} as const

export type SecurityErrorCode = keyof typeof SECURITY_ERRORS

/** Everything that goes wrong on purpose in `src/security`. */
export class SecurityError extends UnderstudyError {
  declare readonly code: SecurityErrorCode

  constructor(code: SecurityErrorCode, message: string, options?: ErrorOptions) {
    super(code, message, SECURITY_ERRORS[code], options)
  }
}
