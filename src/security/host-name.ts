/**
 * How a certificate says whose it is: a URI as its only subject alternative name (RFC 5280, 4.2.1.6),
 * `understudy://CLUSTER/host/NAME`. Addresses are not in it: hosts move, and what is trusted is a host, not where it is.
 */
import { z } from 'zod'
import { SecurityError } from './errors.ts'

/** A label of a host name (RFC 1123, 2.1), short enough for the paths of Unix sockets and the keys of the store that it goes into. */
export const HOST_NAME = /^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/

export const hostNameSchema = z.string().regex(HOST_NAME)

/** As OpenSSL and Node print an extension that holds this one name and nothing else. */
const ONLY_NAME = /^URI:understudy:\/\/([0-9a-f]{32})\/host\/([a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?)$/

export interface HostName {
  /** 16 random bytes in hexadecimal. */
  readonly clusterId: string
  readonly host: string
}

/** Throws SECURITY_HOST_NAME_INVALID. */
export function checkHostName(name: string): void {
  if (HOST_NAME.test(name)) return
  throw new SecurityError(
    'SECURITY_HOST_NAME_INVALID',
    `${JSON.stringify(name.slice(0, 80))} is no host name.`,
  )
}

export function hostUri({ clusterId, host }: HostName): string {
  return `understudy://${clusterId}/host/${host}`
}

/** Null for a certificate that names no host of any cluster, or anything besides. */
export function readHostName(subjectAltName: string | undefined): HostName | null {
  const match = ONLY_NAME.exec(subjectAltName ?? '')
  return match === null ? null : { clusterId: match[1]!, host: match[2]! }
}
