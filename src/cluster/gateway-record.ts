/** Where the gateway of a cluster is, as the store knows it. */
import { z } from 'zod'
import type { Store } from '../store/store.ts'
import { ClusterError } from './errors.ts'

const GATEWAY_KEY = 'cluster/gateway'

const gatewayRecordSchema = z.object({
  /** Address of its control, as `GatewayClient` takes it. */
  control: z.string().max(256),
})

export type GatewayRecord = z.infer<typeof gatewayRecordSchema>

/** Throws CLUSTER_NO_GATEWAY. */
export async function readGatewayRecord(store: Store): Promise<GatewayRecord> {
  const entry = await store.get(GATEWAY_KEY)
  const record = entry === null ? null : gatewayRecordSchema.safeParse(parsed(entry.value))
  if (record?.success) return record.data
  throw new ClusterError('CLUSTER_NO_GATEWAY', 'The store knows no gateway.')
}

/** The newest gateway is the one: it replaces whatever was there. */
export async function writeGatewayRecord(store: Store, record: GatewayRecord): Promise<void> {
  const value = Buffer.from(JSON.stringify(record))
  for (;;) {
    const result = await store.createIfAbsent(GATEWAY_KEY, value)
    if (result.created) return
    if ((await store.compareAndSet(GATEWAY_KEY, result.existing.version, value)).set) return
  }
}

function parsed(value: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(value).toString('utf8'))
  } catch {
    return null
  }
}
