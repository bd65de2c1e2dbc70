/** The shapes a host agent takes and gives on its control socket. */
import { z } from 'zod'
import { bootSchema, peerSchema, startSchema } from '../replica/config.ts'
import { replicaStatusSchema } from '../replica/status.ts'

/** As host names (RFC 1123, 2.1): names go into paths, keys of the store and the guest's network. */
export const VM_NAME = /^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/

export const vmNameSchema = z.string().regex(VM_NAME)

/** What the agent needs to start a replica; paths on the host are its own business. */
export const replicaOrderSchema = z.object({
  vm: vmNameSchema,
  replica: z.string(),
  role: z.enum(['primary', 'backup']),
  generation: z.int().min(1),
  cloned: z.boolean(),
  peer: peerSchema.nullable(),
  boot: bootSchema.nullable(),
  start: startSchema.nullable(),
  memoryBytes: z.int().positive(),
  powerOffInput: z.array(z.string()).nullable(),
  mac: z.string(),
  rngSeed: z.string(),
  pairKey: z.string(),
  epochMs: z.int(),
  /** Where and by which token the replica joins the VM's network segment. */
  gatewayAddress: z.string(),
  gatewayToken: z.string(),
  machineModule: z.string().nullable(),
})

export type ReplicaOrder = z.infer<typeof replicaOrderSchema>

export const hostStatusSchema = z.object({
  host: z.string(),
  pid: z.int(),
  /** Address for logging channels, clones and heartbeats. */
  address: z.string(),
  failureDomain: z.string(),
  /** Memory for guests. */
  memoryBytes: z.int(),
  cpus: z.int(),
  /** Whether the cluster knows it now. */
  isMember: z.boolean(),
  replicas: z.array(replicaStatusSchema),
})

export type HostStatus = z.infer<typeof hostStatusSchema>

export const stopOrderSchema = z.object({
  /** Let the guest shut down by itself for this long; 0 cuts its power at once. */
  graceMs: z.int().min(0).max(600_000),
})

export const doneSchema = z.object({})
