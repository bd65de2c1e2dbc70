/**
 * The authority of a cluster: a certificate that signs those of its hosts, and the key for it, which lies on the host
 * where the cluster was initialised. Whoever has that key can make himself a host.
 *
 * Keys are ECDSA on P-256, which every TLS 1.3 implementation must know (RFC 8446, 9.1).
 */
import 'reflect-metadata'
import { createHash, createPrivateKey, randomBytes, X509Certificate } from 'node:crypto'
import * as x509 from '@peculiar/x509'
import { SecurityError } from './errors.ts'
import { checkHostName, hostUri } from './host-name.ts'
import {
  IdentityFiles,
  readPublicFile,
  readSecretFile,
  writePublicFile,
  writeSecretFile,
} from './identity-files.ts'
import { newSecret } from './tokens.ts'

const KEY_ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256' } as const
const SIGNING_ALGORITHM = { ...KEY_ALGORITHM, hash: 'SHA-256' } as const

const DAY_MS = 86_400_000

/** Nothing renews certificates: they outlive the machines. A host leaves its cluster by other means (docs/security.md). */
const AUTHORITY_DAYS = 30 * 365
const HOST_DAYS = 20 * 365

/** The clocks of two hosts may differ by this much without a new certificate being of the future. */
const CLOCK_SKEW_MS_MAX = DAY_MS

/** Positive, and unique without being counted (RFC 5280, 4.1.2.2: at most 20 octets). */
const SERIAL_BYTES = 16

/** A request has some 300 bytes. */
export const CSR_CHARS_MAX = 4096

/** A key pair, and the request to certify it for a host. */
export interface CertificateRequest {
  /** PEM. */
  readonly csr: string
  /** PKCS #8, PEM. */
  readonly privateKey: string
}

export async function requestCertificate(host: string): Promise<CertificateRequest> {
  checkHostName(host)
  const keys = await newKeys()
  const csr = await x509.Pkcs10CertificateRequestGenerator.create({
    name: `CN=${host}`,
    keys,
    signingAlgorithm: SIGNING_ALGORITHM,
  })
  return { csr: csr.toString('pem'), privateKey: await privateKeyPem(keys) }
}

/** SHA-256 of a certificate in DER, hexadecimal. */
export function certificateFingerprint(pem: string): string {
  return createHash('sha256').update(new X509Certificate(pem).raw).digest('hex')
}

export class Authority {
  readonly clusterId: string
  /** Its certificate, PEM. */
  readonly certificate: string
  readonly #certificate: x509.X509Certificate
  readonly #key: CryptoKey

  private constructor(clusterId: string, certificate: x509.X509Certificate, key: CryptoKey) {
    this.clusterId = clusterId
    this.certificate = certificate.toString('pem')
    this.#certificate = certificate
    this.#key = key
  }

  /**
   * Makes a new cluster: its authority, its API token, and the identity of its first host, in an identity directory
   * that has none. Throws SECURITY_IDENTITY_EXISTS or SECURITY_HOST_NAME_INVALID.
   */
  static async create(directory: string, host: string): Promise<Authority> {
    const { csr, privateKey } = await requestCertificate(host)
    const files = new IdentityFiles(directory)
    files.prepare()
    const clusterId = randomBytes(16).toString('hex')
    const keys = await newKeys()
    const now = Date.now()
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      serialNumber: newSerial(),
      name: authorityName(clusterId),
      notBefore: new Date(now - CLOCK_SKEW_MS_MAX),
      notAfter: new Date(now + AUTHORITY_DAYS * DAY_MS),
      signingAlgorithm: SIGNING_ALGORITHM,
      keys,
      extensions: [
        // It signs hosts, and no other authorities.
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    })
    const authority = new Authority(clusterId, certificate, keys.privateKey)
    writeSecretFile(files.caKey, await privateKeyPem(keys))
    writePublicFile(files.caCertificate, authority.certificate)
    writeSecretFile(files.key, privateKey)
    writeSecretFile(files.apiToken, `${newSecret()}\n`)
    writePublicFile(files.certificate, await authority.issue(csr, host))
    return authority
  }

  /** Throws SECURITY_AUTHORITY_MISSING on a host that has no key of it, SECURITY_FILE_OPEN_TO_OTHERS, SECURITY_IDENTITY_INVALID. */
  static async load(directory: string): Promise<Authority> {
    const files = new IdentityFiles(directory)
    let keyPem: string
    try {
      keyPem = readSecretFile(files.caKey)
    } catch (error) {
      if (!(error instanceof SecurityError) || error.code !== 'SECURITY_FILE_UNREADABLE') throw error
      throw new SecurityError('SECURITY_AUTHORITY_MISSING', error.message, { cause: error })
    }
    const certificatePem = readPublicFile(files.caCertificate)
    try {
      const key = createPrivateKey(keyPem)
      const certificate = new X509Certificate(certificatePem)
      if (!certificate.checkPrivateKey(key)) throw new Error('ca.key is not the key of ca.crt')
      const clusterId = /^CN=understudy ([0-9a-f]{32})$/.exec(certificate.subject)?.[1]
      if (clusterId === undefined) throw new Error('ca.crt names no cluster')
      return new Authority(
        clusterId,
        new x509.X509Certificate(certificate.raw),
        await signingKey(key.export({ format: 'der', type: 'pkcs8' })),
      )
    } catch (error) {
      throw new SecurityError('SECURITY_IDENTITY_INVALID', `${directory}: ${(error as Error).message}`, {
        cause: error,
      })
    }
  }

  /**
   * Certifies the key of a request as that of `host`; what else the request asks for is not heard. Returns PEM. Throws
   * SECURITY_JOIN_REFUSED for a request that is none, or whose sender does not have the key.
   */
  async issue(csr: string, host: string): Promise<string> {
    checkHostName(host)
    const publicKey = await certifiableKey(csr)
    const now = Date.now()
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: newSerial(),
      subject: `CN=${host}`,
      issuer: this.#certificate.subject,
      notBefore: new Date(now - CLOCK_SKEW_MS_MAX),
      notAfter: new Date(now + HOST_DAYS * DAY_MS),
      signingAlgorithm: SIGNING_ALGORITHM,
      publicKey,
      signingKey: this.#key,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        // Every host both calls and is called.
        new x509.ExtendedKeyUsageExtension([
          x509.ExtendedKeyUsage.serverAuth,
          x509.ExtendedKeyUsage.clientAuth,
        ]),
        new x509.SubjectAlternativeNameExtension([
          { type: 'url', value: hostUri({ clusterId: this.clusterId, host }) },
        ]),
        await x509.AuthorityKeyIdentifierExtension.create(this.#certificate),
        await x509.SubjectKeyIdentifierExtension.create(publicKey),
      ],
    })
    return certificate.toString('pem')
  }
}

async function certifiableKey(csr: string): Promise<x509.PublicKey> {
  try {
    if (csr.length > CSR_CHARS_MAX) throw new Error(`it is over ${CSR_CHARS_MAX} characters`)
    const request = new x509.Pkcs10CertificateRequest(csr)
    const { name, namedCurve } = request.publicKey.algorithm as EcKeyAlgorithm
    if (name !== KEY_ALGORITHM.name || namedCurve !== KEY_ALGORITHM.namedCurve) {
      throw new Error('its key is not ECDSA on P-256')
    }
    if (!(await request.verify())) throw new Error('it is not signed with its key')
    return request.publicKey
  } catch (error) {
    throw new SecurityError('SECURITY_JOIN_REFUSED', `The certificate request: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

function authorityName(clusterId: string): string {
  return `CN=understudy ${clusterId}`
}

function newSerial(): string {
  const serial = randomBytes(SERIAL_BYTES)
  // Neither negative nor shorter than it looks.
  serial[0] = (serial[0]! & 0x7f) | 0x40
  return serial.toString('hex')
}

function newKeys(): Promise<CryptoKeyPair> {
  return crypto.subtle.generateKey(KEY_ALGORITHM, true, ['sign', 'verify'])
}

function signingKey(pkcs8: Buffer<ArrayBuffer>): Promise<CryptoKey> {
  return crypto.subtle.importKey('pkcs8', pkcs8, KEY_ALGORITHM, false, ['sign'])
}

async function privateKeyPem({ privateKey }: CryptoKeyPair): Promise<string> {
  const der = Buffer.from(await crypto.subtle.exportKey('pkcs8', privateKey))
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
    .export({ format: 'pem', type: 'pkcs8' })
    .toString()
}
