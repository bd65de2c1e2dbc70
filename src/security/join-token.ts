/**
 * The token that an operator carries from the host with the authority to a host that shall join: where to ask, by
 * which authority's fingerprint to know the answer as true, and a secret that is good for one certificate.
 */
import { z } from 'zod'
import { SecurityError } from './errors.ts'
import { secretSchema } from './tokens.ts'

const joinTokenSchema = z.strictObject({
  version: z.literal(1),
  /** Where the host with the authority answers. */
  address: z.string().min(1).max(255),
  port: z.int().min(1).max(65_535),
  /** SHA-256 of the authority's certificate in DER. */
  caFingerprint: z.string().regex(/^[0-9a-f]{64}$/),
  secret: secretSchema,
  /** On the clock of the host with the authority, which decides; ms since 1970. */
  expiresAtMs: z.int(),
})

export type JoinToken = z.infer<typeof joinTokenSchema>

/** A token has some 300 characters. */
const TOKEN_CHARS_MAX = 2048

export function encodeJoinToken(token: JoinToken): string {
  return Buffer.from(JSON.stringify(token)).toString('base64url')
}

/** Throws SECURITY_JOIN_TOKEN_INVALID. The message never repeats the text: it may hold a secret. */
export function decodeJoinToken(text: string): JoinToken {
  try {
    if (text.length > TOKEN_CHARS_MAX) throw new Error('it is too long')
    return joinTokenSchema.parse(JSON.parse(Buffer.from(text.trim(), 'base64url').toString('utf8')))
  } catch (error) {
    throw new SecurityError('SECURITY_JOIN_TOKEN_INVALID', 'This is no join token, or not all of one.', {
      cause: error,
    })
  }
}
