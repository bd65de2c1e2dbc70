/**
 * The secrets of join tokens that were handed out and not used yet: a file each in the authority's directory, named by
 * the secret's hash and holding only its expiry. Whoever removes the file has used the token: unlink(2) succeeds once,
 * whichever process tries.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { SecurityError } from './errors.ts'
import { writeSecretFile } from './identity-files.ts'
import { newSecret, secretHash } from './tokens.ts'

/** Hosts are added a few at a time; forgotten tokens make room as they expire. */
export const JOIN_TOKENS_MAX = 64

const HASH = /^[0-9a-f]{64}$/

export class JoinSecrets {
  readonly #directory: string

  constructor(directory: string) {
    this.#directory = directory
  }

  /** Throws SECURITY_JOIN_TOKENS_TOO_MANY. */
  create(expiresAtMs: number): string {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 })
    const names = readdirSync(this.#directory).filter((name) => HASH.test(name))
    const expired = names.filter((name) => (this.#expiry(name) ?? 0) <= Date.now())
    for (const name of expired) rmSync(join(this.#directory, name), { force: true })
    if (names.length - expired.length >= JOIN_TOKENS_MAX) {
      throw new SecurityError(
        'SECURITY_JOIN_TOKENS_TOO_MANY',
        `${JOIN_TOKENS_MAX} join tokens are not used yet.`,
      )
    }
    const secret = newSecret()
    writeSecretFile(join(this.#directory, secretHash(secret)), `${expiresAtMs}\n`)
    return secret
  }

  /** Whether a certificate may be had for it now. */
  isValid(secret: string): boolean {
    const expiresAtMs = this.#expiry(secretHash(secret))
    return expiresAtMs !== null && Date.now() < expiresAtMs
  }

  /** Whether it was valid up to now, which it is not any more. */
  use(secret: string): boolean {
    if (!this.isValid(secret)) return false
    try {
      unlinkSync(join(this.#directory, secretHash(secret)))
      return true
    } catch {
      return false
    }
  }

  #expiry(name: string): number | null {
    try {
      const text = readFileSync(join(this.#directory, name), 'utf8')
      return /^\d+\n$/.test(text) ? Number(text) : null
    } catch {
      return null
    }
  }
}
