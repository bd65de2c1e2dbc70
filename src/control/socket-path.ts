import { ControlError } from './errors.ts'

/** `sun_path` of unix(7) holds 108 bytes, the closing NUL included. */
const SOCKET_PATH_BYTES_MAX = 107

/** Returns `path` if a Unix socket can have it; longer ones would be cut silently. */
export function socketPath(path: string): string {
  const bytes = Buffer.byteLength(path)
  if (bytes > SOCKET_PATH_BYTES_MAX) {
    throw new ControlError(
      'CONTROL_SOCKET_PATH',
      `${path} has ${bytes} bytes; a socket takes ${SOCKET_PATH_BYTES_MAX}.`,
    )
  }
  return path
}
