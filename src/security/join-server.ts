/** The side of a join that has the authority: makes tokens, and certifies the hosts that bring one. */
import { z } from 'zod'
import { Authority, CSR_CHARS_MAX, certificateFingerprint } from './authority.ts'
import { SecurityError } from './errors.ts'
import { hostNameSchema } from './host-name.ts'
import { IdentityFiles, readSecretFile } from './identity-files.ts'
import { JoinSecrets } from './join-secrets.ts'
import { encodeJoinToken } from './join-token.ts'
import type { Refusals } from './refusals.ts'
import { secretSchema } from './tokens.ts'

/** Long enough to log in to the other host, too short to lie about in a chat. */
export const JOIN_TOKEN_MS = 3_600_000

/** Where a host that joins asks, without a certificate. */
export const JOIN_PATH = '/v1/join'

export const joinRequestSchema = z.strictObject({
  host: hostNameSchema,
  secret: secretSchema,
  /** PEM. */
  csr: z.string().max(CSR_CHARS_MAX),
})

export type JoinRequest = z.infer<typeof joinRequestSchema>

export const joinAnswerSchema = z.object({
  /** PEM, as are the others. */
  certificate: z.string(),
  ca: z.string(),
  apiToken: secretSchema,
})

export type JoinAnswer = z.infer<typeof joinAnswerSchema>

/**
 * Makes a token with which one host can join within `validMs`, by asking at `address` and `port`. Throws
 * SECURITY_AUTHORITY_MISSING where there is no authority, or SECURITY_JOIN_TOKENS_TOO_MANY.
 */
export async function createJoinToken(
  directory: string,
  where: { readonly address: string; readonly port: number },
  validMs = JOIN_TOKEN_MS,
): Promise<string> {
  const { certificate } = await Authority.load(directory)
  const expiresAtMs = Date.now() + validMs
  const secret = new JoinSecrets(new IdentityFiles(directory).joinTokens).create(expiresAtMs)
  const caFingerprint = certificateFingerprint(certificate)
  return encodeJoinToken({ version: 1, ...where, caFingerprint, secret, expiresAtMs })
}

export class JoinServer {
  readonly #authority: Authority
  readonly #secrets: JoinSecrets
  readonly #apiToken: string
  readonly #refusals: Refusals

  private constructor(authority: Authority, files: IdentityFiles, refusals: Refusals) {
    this.#authority = authority
    this.#secrets = new JoinSecrets(files.joinTokens)
    this.#apiToken = readSecretFile(files.apiToken).trim()
    this.#refusals = refusals
  }

  /** Throws SECURITY_AUTHORITY_MISSING on a host that cannot let others join. */
  static async open(directory: string, refusals: Refusals): Promise<JoinServer> {
    return new JoinServer(await Authority.load(directory), new IdentityFiles(directory), refusals)
  }

  /**
   * Answers a request whose shape was checked with `joinRequestSchema`. Throws SECURITY_JOIN_REFUSED. A token is used up
   * by a certificate and by nothing else.
   */
  async join({ host, secret, csr }: JoinRequest, from: string | undefined): Promise<JoinAnswer> {
    if (!this.#secrets.isValid(secret)) throw this.#refused(host, from)
    const certificate = await this.#authority.issue(csr, host)
    // Of two that bring the same token at the same time, one gets here first.
    if (!this.#secrets.use(secret)) throw this.#refused(host, from)
    return { certificate, ca: this.#authority.certificate, apiToken: this.#apiToken }
  }

  #refused(host: string, from: string | undefined): SecurityError {
    this.#refusals.count('join-refused', from, `as host ${host}`)
    return new SecurityError('SECURITY_JOIN_REFUSED', 'The join token is unknown, used or expired.')
  }
}
