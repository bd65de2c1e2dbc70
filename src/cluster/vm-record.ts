/** What the store keeps of a virtual machine, from `run` to `rm`. */
import { z } from 'zod'
import { CLONE_RATE_MIN } from '../replica/config.ts'
import { hostNameSchema } from '../security/host-name.ts'
import type { Store } from '../store/store.ts'
import { VM_NAME, vmNameSchema } from './agent-api.ts'
import { ClusterError } from './errors.ts'

export const publishSchema = z.object({
  hostPort: z.int().min(1).max(65_535),
  guestPort: z.int().min(1).max(65_535),
})

export type Publish = z.infer<typeof publishSchema>

export const vmRecordSchema = z.object({
  name: vmNameSchema,
  image: z.string(),
  memoryBytes: z.int(),
  mac: z.string(),
  publish: z.array(publishSchema),
  protect: z.boolean(),
  /** Where its replicas shall be moved to; null, which it is again when that is done, for wherever they are. */
  wish: z.object({ primary: hostNameSchema.nullable(), backup: hostNameSchema.nullable() }),
  /** The generation it was started with; takeovers count up from there. */
  /** How fast it may be cloned, in bytes of its memory a second; null for as fast as it goes. */
  cloneBytesPerSecond: z.int().min(CLONE_RATE_MIN).nullable(),
  generation: z.int(),
  createdAt: z.string(),
})

export type VmRecord = z.infer<typeof vmRecordSchema>

function recordKey(name: string): string {
  return `vm/${name}/record`
}

/** Throws VM_NAME_INVALID. */
export function checkVmName(name: string): void {
  if (!VM_NAME.test(name)) throw new ClusterError('VM_NAME_INVALID', `${JSON.stringify(name)} is no name.`)
}

export async function readVmRecord(store: Store, name: string): Promise<VmRecord | null> {
  const entry = await store.get(recordKey(name))
  return entry === null ? null : decode(entry.key, entry.value)
}

export async function listVmRecords(store: Store): Promise<VmRecord[]> {
  const entries = await store.list('vm')
  return entries
    .filter((entry) => entry.key.endsWith('/record'))
    .map((entry) => decode(entry.key, entry.value))
}

/** Throws VM_EXISTS: of two commands that take one name, one wins. */
export async function createVmRecord(store: Store, record: VmRecord): Promise<void> {
  const result = await store.createIfAbsent(recordKey(record.name), Buffer.from(JSON.stringify(record)))
  if (!result.created) throw new ClusterError('VM_EXISTS', `${record.name} exists already.`)
}

/** Changes a record, however many others do. Throws VM_NOT_FOUND. */
export async function updateVmRecord(
  store: Store,
  name: string,
  change: (record: VmRecord) => VmRecord,
): Promise<VmRecord> {
  for (;;) {
    const entry = await store.get(recordKey(name))
    if (entry === null) throw new ClusterError('VM_NOT_FOUND', `There is no virtual machine ${name}.`)
    const record = change(decode(entry.key, entry.value))
    const value = Buffer.from(JSON.stringify(record))
    if ((await store.compareAndSet(entry.key, entry.version, value)).set) return record
  }
}

export async function deleteVmRecord(store: Store, name: string): Promise<void> {
  const entry = await store.get(recordKey(name))
  if (entry !== null) await store.compareAndDelete(entry.key, entry.version)
}

/**
 * The first generation that no arbitration of this name has used. They are kept when a VM is removed: a
 * replica of the removed one that wakes up much later must still lose.
 */
export async function nextGeneration(store: Store, name: string): Promise<number> {
  const used = await store.list(`vm/${name}/generation`)
  const numbers = used.map((entry) => Number(entry.key.split('/').at(-1)))
  return Math.max(0, ...numbers) + 1
}

function decode(key: string, value: Uint8Array): VmRecord {
  try {
    return vmRecordSchema.parse(JSON.parse(Buffer.from(value).toString('utf8')))
  } catch (error) {
    throw new ClusterError('CLUSTER_STATE_INVALID', `The store's ${key} is not a VM's record.`, {
      cause: error,
    })
  }
}
