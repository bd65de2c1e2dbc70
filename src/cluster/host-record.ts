/** What the store knows of the hosts of a cluster: who is there, by leases, and who shall be left alone. */
import { z } from 'zod'
import { HOST_NAME, hostNameSchema } from '../security/host-name.ts'
import type { Store } from '../store/store.ts'
import { ClusterError } from './errors.ts'

/** Throws HOST_NAME_INVALID. */
export function checkHostName(name: string): void {
  if (!HOST_NAME.test(name))
    throw new ClusterError('HOST_NAME_INVALID', `${JSON.stringify(name)} is no name.`)
}

export const hostRecordSchema = z.object({
  host: hostNameSchema,
  /** Random: another agent of the same name is another incarnation. */
  incarnation: z.string().max(64),
  /** Where logging channels, clones and heartbeats of its replicas listen. */
  address: z.string().max(64),
  /** Where its agent answers other machines; null when only the Unix socket is served. */
  apiPort: z.int().nullable(),
  /** The agent's Unix socket, for those on the same machine. */
  apiSocket: z.string().max(256),
  /** Hosts that die together (a rack, a power supply); its own name when nothing else is known. */
  failureDomain: z.string().min(1).max(64),
  /** Memory for guests. */
  memoryBytes: z.int().positive(),
  cpus: z.int().positive(),
})

export type HostRecord = z.infer<typeof hostRecordSchema>

export function hostKey(host: string): string {
  return `host/${host}/lease`
}

function drainKey(host: string): string {
  return `host/${host}/drain`
}

export interface KnownHost extends HostRecord {
  /** It shall carry nothing. */
  readonly draining: boolean
}

/** The hosts whose leases stand, by name. */
export async function listHosts(store: Store): Promise<KnownHost[]> {
  const entries = await store.list('host')
  const draining = new Set(
    entries.filter(({ key }) => key.endsWith('/drain')).map(({ key }) => key.split('/')[1]),
  )
  return entries
    .filter(({ key }) => key.endsWith('/lease'))
    .flatMap(({ value }) => decode(value))
    .map((record) => ({ ...record, draining: draining.has(record.host) }))
    .sort((a, b) => (a.host < b.host ? -1 : 1))
}

/** A record that another version wrote says nothing here: its host is not there for this one. */
function decode(value: Uint8Array): HostRecord[] {
  try {
    return [hostRecordSchema.parse(JSON.parse(Buffer.from(value).toString('utf8')))]
  } catch {
    return []
  }
}

/** Marks a host as one that shall carry nothing, whether or not it is there; or takes that back. */
export async function setDraining(store: Store, host: string, draining: boolean): Promise<void> {
  const key = drainKey(host)
  if (draining) {
    await store.createIfAbsent(key, Buffer.from(new Date().toISOString()))
    return
  }
  const entry = await store.get(key)
  if (entry !== null) await store.compareAndDelete(key, entry.version)
}
