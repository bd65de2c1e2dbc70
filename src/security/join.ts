/** The side of a join that becomes a host of the cluster. */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { request } from 'node:https'
import { connect, type DetailedPeerCertificate } from 'node:tls'
import { z } from 'zod'
import { certificateFingerprint, requestCertificate } from './authority.ts'
import { SecurityError } from './errors.ts'
import { readHostName } from './host-name.ts'
import { type Identity, loadIdentity } from './identity.ts'
import { IdentityFiles, writePublicFile, writeSecretFile } from './identity-files.ts'
import { JOIN_PATH, type JoinAnswer, type JoinRequest, joinAnswerSchema } from './join-server.ts'
import { decodeJoinToken, type JoinToken } from './join-token.ts'

/** Two connections and a signature; an operator waits for it. */
const JOIN_MS_MAX = 10_000

/** Two certificates and a token. */
const ANSWER_BYTES_MAX = 64 * 1024

/** Host, authority, and what an impostor may add. */
const CHAIN_LENGTH_MAX = 4

const errorSchema = z.object({ error: z.object({ message: z.string() }) })

/**
 * Makes this machine a host of the cluster that `token` is of: generates a key, has it certified as `name`, and writes the
 * identity into `directory`. Throws SECURITY_JOIN_TOKEN_INVALID, SECURITY_HOST_NAME_INVALID, SECURITY_IDENTITY_EXISTS,
 * SECURITY_AUTHORITY_WRONG, SECURITY_JOIN_REFUSED or SECURITY_JOIN_FAILED.
 */
export async function joinCluster(token: string, name: string, directory: string): Promise<Identity> {
  const joinToken = decodeJoinToken(token)
  const { csr, privateKey } = await requestCertificate(name)
  const files = new IdentityFiles(directory)
  files.prepare()
  const ca = await fetchAuthority(joinToken)
  const answer = await ask(joinToken, ca, { host: name, secret: joinToken.secret, csr })
  checkAnswer(answer, joinToken, name, privateKey)
  writePublicFile(files.caCertificate, answer.ca)
  writeSecretFile(files.key, privateKey)
  writeSecretFile(files.apiToken, `${answer.apiToken}\n`)
  writePublicFile(files.certificate, answer.certificate)
  return loadIdentity(directory)
}

/**
 * The authority's certificate, from whoever answers: that it has the fingerprint in the token is what makes it true. Nothing
 * is sent on this connection; the next one trusts this authority and no other.
 */
function fetchAuthority({ address, port, caFingerprint }: JoinToken): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: address,
      port,
      minVersion: 'TLSv1.3',
      rejectUnauthorized: false,
      timeout: JOIN_MS_MAX,
    })
    socket.once('timeout', () => socket.destroy(new Error(`no answer within ${JOIN_MS_MAX} ms`)))
    socket.once('error', (error) => reject(unreachable(address, port, error)))
    socket.once('close', () => reject(unreachable(address, port, new Error('the connection was closed'))))
    socket.once('secureConnect', () => {
      const ca = findInChain(socket.getPeerCertificate(true), caFingerprint)
      if (ca !== null) resolve(ca)
      else {
        const text = `${address} port ${port} shows no authority with the fingerprint in the token.`
        reject(new SecurityError('SECURITY_AUTHORITY_WRONG', text))
      }
      socket.destroy()
    })
  })
}

function findInChain(leaf: DetailedPeerCertificate, fingerprint: string): string | null {
  let certificate: DetailedPeerCertificate | undefined = leaf
  for (let depth = 0; depth < CHAIN_LENGTH_MAX && certificate?.raw !== undefined; depth++) {
    const pem = new X509Certificate(certificate.raw).toString()
    if (certificateFingerprint(pem) === fingerprint) return pem
    certificate = certificate.issuerCertificate
  }
  return null
}

function ask({ address, port }: JoinToken, ca: string, body: JoinRequest): Promise<JoinAnswer> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error) =>
      reject(error instanceof SecurityError ? error : unreachable(address, port, error))
    const outgoing = request({
      host: address,
      port,
      path: JOIN_PATH,
      method: 'POST',
      agent: false,
      ca,
      minVersion: 'TLSv1.3',
      checkServerIdentity: (_address, { subjectaltname }) =>
        readHostName(subjectaltname) === null ? new Error('it is no host of a cluster') : undefined,
    })
    const deadline = setTimeout(() => {
      outgoing.destroy(new Error(`no answer within ${JOIN_MS_MAX} ms`))
    }, JOIN_MS_MAX)
    outgoing.once('close', () => clearTimeout(deadline))
    outgoing.once('error', fail)
    outgoing.once('response', (response) => {
      const chunks: Buffer[] = []
      let bytes = 0
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        chunks.push(chunk)
        if (bytes > ANSWER_BYTES_MAX) outgoing.destroy(new Error('the answer is too long'))
      })
      response.once('error', fail)
      response.once('end', () => {
        try {
          resolve(readAnswer(response.statusCode, Buffer.concat(chunks).toString('utf8')))
        } catch (error) {
          fail(error as Error)
        }
      })
    })
    outgoing.end(JSON.stringify(body))
  })
}

function readAnswer(status: number | undefined, text: string): JoinAnswer {
  const json: unknown = JSON.parse(text)
  if (status === 200) return joinAnswerSchema.parse(json)
  const reported = errorSchema.safeParse(json)
  const message = reported.success ? reported.data.error.message : `The answer has status ${status}.`
  throw new SecurityError('SECURITY_JOIN_REFUSED', message)
}

/** What was asked for is what was given: a mistake of the other side shows here and not in the first failure. */
function checkAnswer(answer: JoinAnswer, token: JoinToken, name: string, privateKey: string): void {
  const certificate = new X509Certificate(answer.certificate)
  const isRight =
    certificateFingerprint(answer.ca) === token.caFingerprint &&
    certificate.checkPrivateKey(createPrivateKey(privateKey)) &&
    readHostName(certificate.subjectAltName)?.host === name
  if (isRight) return
  throw new SecurityError('SECURITY_JOIN_FAILED', 'The answer certifies another key, host or authority.')
}

function unreachable(address: string, port: number, cause: Error): SecurityError {
  return new SecurityError('SECURITY_JOIN_FAILED', `${address} port ${port}: ${cause.message}`, { cause })
}
