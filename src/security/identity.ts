/**
 * Who this host is, and whom it trusts: the hosts of its cluster, by certificates of the cluster's authority.
 *
 * Both ends of a connection show a certificate and check the other's, at any address. A server completes the handshake
 * with anybody and judges afterwards (`judge`), because only so can it count who was refused and why, and let a host in that has
 * no certificate yet (`join-server.ts`). A client refuses within the handshake, before it has sent anything.
 */
import { constants, createPrivateKey, X509Certificate } from 'node:crypto'
import {
  type ConnectionOptions,
  createSecureContext,
  type PeerCertificate,
  type SecureContext,
  type TLSSocket,
  type TlsOptions,
} from 'node:tls'
import { SecurityError } from './errors.ts'
import { type HostName, readHostName } from './host-name.ts'
import { IdentityFiles, readPublicFile, readSecretFile } from './identity-files.ts'
import type { RefusalReason } from './refusals.ts'
import { SECRET } from './tokens.ts'

/** All hosts run this program: nothing older needs to be understood. */
const TLS_VERSION = 'TLSv1.3'

/** What a server holds of the other side of a connection. */
export type Verdict =
  | { readonly accepted: true; readonly host: string }
  | { readonly accepted: false; readonly reason: RefusalReason; readonly detail: string }

interface Material {
  readonly ca: string
  readonly cert: string
  readonly key: string
}

/**
 * Throws SECURITY_FILE_UNREADABLE, SECURITY_FILE_OPEN_TO_OTHERS, SECURITY_IDENTITY_INVALID, or
 * SECURITY_CERTIFICATE_EXPIRED.
 */
export function loadIdentity(directory: string): Identity {
  const files = new IdentityFiles(directory)
  const material = {
    ca: readPublicFile(files.caCertificate),
    cert: readPublicFile(files.certificate),
    key: readSecretFile(files.key),
  }
  const apiToken = readSecretFile(files.apiToken).trim()
  try {
    if (!SECRET.test(apiToken)) throw new Error('api-token holds no token')
    return new Identity(checkedName(material), apiToken, material)
  } catch (error) {
    if (error instanceof SecurityError) throw error
    throw new SecurityError('SECURITY_IDENTITY_INVALID', `${directory}: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

function checkedName({ ca, cert, key }: Material): HostName {
  const authority = new X509Certificate(ca)
  const certificate = new X509Certificate(cert)
  const name = readHostName(certificate.subjectAltName)
  if (name === null) throw new Error('host.crt names no host')
  if (!certificate.checkIssued(authority) || !certificate.verify(authority.publicKey))
    throw new Error('host.crt is not of the authority in ca.crt')
  if (!certificate.checkPrivateKey(createPrivateKey(key))) throw new Error('host.key is not of host.crt')
  for (const { validFromDate, validToDate } of [certificate, authority]) {
    if (Date.now() < validFromDate.getTime() || Date.now() > validToDate.getTime()) {
      const range = `${validFromDate.toISOString()} to ${validToDate.toISOString()}`
      throw new SecurityError('SECURITY_CERTIFICATE_EXPIRED', `The certificate is valid from ${range}.`)
    }
  }
  return name
}

export class Identity {
  readonly clusterId: string
  /** This host's name, as its certificate has it. */
  readonly host: string
  /** Requests between hosts carry it. */
  readonly apiToken: string
  readonly #material: Material
  readonly #context: SecureContext

  /** Use `loadIdentity`. */
  constructor({ clusterId, host }: HostName, apiToken: string, material: Material) {
    this.clusterId = clusterId
    this.host = host
    this.apiToken = apiToken
    this.#material = material
    this.#context = createSecureContext({ ...material, minVersion: TLS_VERSION })
  }

  /** For `tls.createServer` and `https.createServer`. Whoever connects must then be judged with `judge`. */
  serverOptions(): TlsOptions {
    const { ca, cert, key } = this.#material
    return {
      ca,
      key,
      // With the authority's own: a host that joins knows it by its fingerprint only.
      cert: `${cert}\n${ca}`,
      minVersion: TLS_VERSION,
      requestCert: true,
      rejectUnauthorized: false,
      // Each connection is verified anew, never by a ticket.
      secureOptions: constants.SSL_OP_NO_TICKET,
    }
  }

  /** For `tls.connect` and `https.request`. */
  clientOptions(): ConnectionOptions {
    return {
      secureContext: this.#context,
      rejectUnauthorized: true,
      // The chain is verified by then; where the host was found says nothing about who it is.
      checkServerIdentity: (_address, certificate) => this.#checkName(certificate),
    }
  }

  /** What to hold of the peer of a connection that was accepted with `serverOptions`. */
  judge(socket: TLSSocket): Verdict {
    const certificate = socket.getPeerCertificate()
    const name = readHostName(certificate.subjectaltname)
    if (name !== null && name.clusterId !== this.clusterId) {
      const detail = `${name.host} of cluster ${name.clusterId}`
      return { accepted: false, reason: 'other-cluster', detail }
    }
    if (name === null || !socket.authorized) {
      const none = certificate.raw === undefined
      const detail = none ? 'no certificate' : String(socket.authorizationError ?? 'names no host')
      return { accepted: false, reason: 'unknown-certificate', detail }
    }
    return { accepted: true, host: name.host }
  }

  #checkName({ subjectaltname }: PeerCertificate): Error | undefined {
    const name = readHostName(subjectaltname)
    if (name?.clusterId === this.clusterId) return undefined
    const whose = name === null ? 'names no host' : `is of cluster ${name.clusterId}`
    return new SecurityError('SECURITY_PEER_REFUSED', `The certificate of the other side ${whose}.`)
  }
}
