/** Secrets that are compared: the cluster's API token and the secrets of join tokens. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { z } from 'zod'

/** 256 bits: nobody guesses it, whatever the rate. */
const SECRET_BYTES = 32

/** Its form: base64url, without padding. */
export const SECRET = /^[\w-]{43}$/

export const secretSchema = z.string().regex(SECRET)

/** A new secret. */
export function newSecret(): string {
  return randomBytes(SECRET_BYTES).toString('base64url')
}

/** Hexadecimal, as files are named. A secret of 256 bits needs no salt and no slow hash. */
export function secretHash(secret: string): string {
  return createHash('sha256').update(secret).digest('hex')
}

/** Takes the same time wherever the two differ and whatever their lengths are: what is compared are hashes. */
export function isSameSecret(presented: string, expected: string): boolean {
  const [left, right] = [presented, expected].map((text) => createHash('sha256').update(text).digest())
  return timingSafeEqual(left!, right!)
}

/** Whether an `Authorization` header (RFC 6750, 2.1) carries this token. */
export function isAuthorized(header: string | undefined, token: string): boolean {
  const presented = /^Bearer ([\w-]+)$/.exec(header ?? '')?.[1]
  return presented !== undefined && isSameSecret(presented, token)
}
