/** Opens a store by where it is. */
import { fileURLToPath } from 'node:url'
import { openDirectoryStore } from './directory.ts'
import { openEtcdStore } from './etcd.ts'
import type { EtcdTls } from './etcd-client.ts'
import { isKey, type Store, StoreError } from './store.ts'

export interface OpenStoreOptions {
  /** Makes a directory a store if it is none; etcd needs no making. */
  readonly create?: boolean
  /** Bounds each operation; see STORE_TIMEOUT_MS. */
  readonly timeoutMs?: number
  /** For `etcds://`: whom to trust and who one is. Without it the system's authorities are trusted. */
  readonly tls?: EtcdTls
}

/** Below what a cluster's keys lie if the address does not say. */
const ETCD_PREFIX_DEFAULT = 'understudy'
/** The port that IANA has registered for etcd's clients. */
const ETCD_PORT_DEFAULT = 2379
/** An etcd cluster has seven members at most by its own advice; more is a mistake. */
const ETCD_ENDPOINTS_MAX = 16

const SCHEME = /^([a-z][a-z0-9+.-]*):\/\//i
const ETCD_URL = /^etcd(s?):\/\/([^/]+)(?:\/(.*?)\/?)?$/
const ENDPOINT = /^([a-zA-Z0-9.-]{1,253}|\[[0-9a-fA-F:.]{2,45}\])(?::([0-9]{1,5}))?$/

/**
 * `url` is the path of a directory, `file:///PATH`, or `etcd://HOST:PORT[,HOST:PORT...][/PREFIX]`; `etcds` is the
 * same over TLS. Rejects with STORE_URL_INVALID, or as opening the store does.
 */
export async function openStore(url: string, options: OpenStoreOptions = {}): Promise<Store> {
  const scheme = SCHEME.exec(url)?.[1]?.toLowerCase()
  if (scheme === undefined && url !== '' && !url.includes('\0')) return openDirectoryStore(url, options)
  if (scheme === 'file') return openDirectoryStore(pathOf(url), options)
  const { secure, endpoints, prefix } = parseEtcdUrl(url)
  const { timeoutMs } = options
  const tls = secure ? (options.tls ?? {}) : null
  return openEtcdStore({ endpoints, prefix, tls, ...(timeoutMs === undefined ? {} : { timeoutMs }) })
}

function pathOf(url: string): string {
  try {
    return fileURLToPath(url)
  } catch (error) {
    throw new StoreError('STORE_URL_INVALID', `not a path on this host: ${url}`, { cause: error })
  }
}

function parseEtcdUrl(url: string): { secure: boolean; endpoints: string[]; prefix: string } {
  const [matched, s, hosts, path] = ETCD_URL.exec(url) ?? []
  const endpoints = (hosts ?? '').split(',').map(endpointOf)
  const prefix = path === undefined || path === '' ? ETCD_PREFIX_DEFAULT : path
  if (matched === undefined || endpoints.length > ETCD_ENDPOINTS_MAX || !isKey(prefix))
    throw new StoreError('STORE_URL_INVALID', `not the address of a store: ${JSON.stringify(url)}`)
  const known = endpoints.filter((endpoint) => endpoint !== null)
  if (known.length < endpoints.length)
    throw new StoreError('STORE_URL_INVALID', `not a list of HOST:PORT: ${JSON.stringify(hosts)}`)
  return { secure: s === 's', endpoints: known, prefix }
}

/** `HOST:PORT`, or null. */
function endpointOf(text: string): string | null {
  const [, host, port] = ENDPOINT.exec(text) ?? []
  const number = port === undefined ? ETCD_PORT_DEFAULT : Number(port)
  return host === undefined || number < 1 || number > 65_535 ? null : `${host}:${number}`
}
