/**
 * The files of a host's identity. One directory, entered by its owner only:
 *
 *     ca.crt      the cluster's authority                                        0644
 *     host.crt    this host's certificate                                        0644
 *     host.key    its private key                                                0600
 *     api-token   what requests between hosts carry besides their certificate    0600
 *     ca.key      the authority's private key, on one host of the cluster        0600
 *     join/       a file for each join token that is not used yet, beside ca.key
 *
 * A secret that somebody else may read or replace is none: such a file is refused instead of used.
 */
import { randomUUID } from 'node:crypto'
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { SecurityError } from './errors.ts'

const SECRET_MODE = 0o600
const PUBLIC_MODE = 0o644
const DIRECTORY_MODE = 0o700

/** A certificate has under 1 KiB; whatever is longer is not one of these files. */
const FILE_BYTES_MAX = 64 * 1024

export class IdentityFiles {
  readonly directory: string

  constructor(directory: string) {
    this.directory = directory
  }

  get caCertificate(): string {
    return join(this.directory, 'ca.crt')
  }

  get caKey(): string {
    return join(this.directory, 'ca.key')
  }

  get certificate(): string {
    return join(this.directory, 'host.crt')
  }

  get key(): string {
    return join(this.directory, 'host.key')
  }

  get apiToken(): string {
    return join(this.directory, 'api-token')
  }

  get joinTokens(): string {
    return join(this.directory, 'join')
  }

  /** The certificate is written last: where it is, the rest is. */
  get exists(): boolean {
    return existsSync(this.certificate)
  }

  /** Throws SECURITY_IDENTITY_EXISTS. */
  prepare(): void {
    if (this.exists) {
      throw new SecurityError(
        'SECURITY_IDENTITY_EXISTS',
        `${this.directory} holds the identity of a host already.`,
      )
    }
    mkdirSync(this.directory, { recursive: true, mode: DIRECTORY_MODE })
  }
}

/** Reads a certificate. Throws SECURITY_FILE_UNREADABLE. */
export function readPublicFile(path: string): string {
  return read(path, () => {})
}

/** Reads a secret; it must belong to this user and be readable by nobody else. Throws SECURITY_FILE_OPEN_TO_OTHERS. */
export function readSecretFile(path: string): string {
  return read(path, (descriptor) => {
    const { mode, uid } = fstatSync(descriptor)
    const permissions = mode & 0o777
    if (permissions !== SECRET_MODE) {
      throw new SecurityError(
        'SECURITY_FILE_OPEN_TO_OTHERS',
        `${path} has mode ${permissions.toString(8).padStart(4, '0')}, not 0600: run chmod 600 ${path}`,
      )
    }
    if (uid !== process.getuid?.()) {
      throw new SecurityError('SECURITY_FILE_OPEN_TO_OTHERS', `${path} belongs to user ${uid}, not to you.`)
    }
  })
}

/** The file that is checked is the one that is read, whatever its name comes to mean meanwhile. */
function read(path: string, check: (descriptor: number) => void): string {
  let descriptor: number
  try {
    descriptor = openSync(path, 'r')
  } catch (error) {
    throw new SecurityError(
      'SECURITY_FILE_UNREADABLE',
      `${path} cannot be read: ${(error as Error).message}`,
      {
        cause: error,
      },
    )
  }
  try {
    check(descriptor)
    if (fstatSync(descriptor).size > FILE_BYTES_MAX) {
      throw new SecurityError('SECURITY_IDENTITY_INVALID', `${path} is over ${FILE_BYTES_MAX} bytes.`)
    }
    return readFileSync(descriptor, 'utf8')
  } finally {
    closeSync(descriptor)
  }
}

export function writePublicFile(path: string, text: string): void {
  write(path, text, PUBLIC_MODE)
}

export function writeSecretFile(path: string, text: string): void {
  write(path, text, SECRET_MODE)
}

/** Renamed into place: it appears whole, and never with another mode than its own. */
function write(path: string, text: string, mode: number): void {
  const temporary = `${path}.${randomUUID()}`
  writeFileSync(temporary, text, { mode, flag: 'wx' })
  renameSync(temporary, path)
}
