/** A replica's configuration, as the host agent writes it into a file for the process it starts. */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { PAIR_KEY_BYTES } from '../ft/heartbeat-codec.ts'
import { ADMISSION_MS_MAX } from '../ft/timing.ts'
import { ReplicaError } from './errors.ts'

/** No clone is waited for longer than the protocol keeps the log for it. */
export const CLONE_MS_MAX = ADMISSION_MS_MAX

/** Slower than that no guest would ever be cloned within CLONE_MS_MAX. */
export const CLONE_RATE_MIN = 1024 * 1024

const port = z.int().min(1).max(65_535)

/** Host and a random part, which makes it unique for ever. */
const replicaName = z.string().min(1).max(128)

const pairKeySchema = z.string().regex(/^[0-9a-f]{64}$/)

/** Where the backup of a pair listens. */
export const peerSchema = z.object({
  host: z.string(),
  /** Address the logging channel and the heartbeats use. */
  address: z.string(),
  channelPort: port,
  heartbeatPort: port,
})

export type Peer = z.infer<typeof peerSchema>

/** What a live replica needs to clone its machine onto another host. */
export const cloneOrderSchema = z.object({
  /** The incarnation that waits there. */
  replica: replicaName,
  peer: peerSchema.extend({ clonePort: port }),
  /** What the heartbeats of the pair that the two become are authenticated with. */
  pairKey: pairKeySchema,
  /** Worth its time where the network is slower than a core. */
  compressed: z.boolean(),
  /** Of guest memory, before it is compressed; null for as fast as it goes. */
  bytesPerSecond: z.int().min(CLONE_RATE_MIN).nullable(),
  /** From the call to a pair that stands; the attempt is given up then. */
  deadlineMs: z.int().min(1_000).max(CLONE_MS_MAX),
})

export type CloneOrder = z.infer<typeof cloneOrderSchema>

/** Paths of the image's files and the kernel's command line; the same on both sides of a pair. */
export const bootSchema = z.object({
  kernel: z.string(),
  initrd: z.string().nullable(),
  append: z.string(),
})

export type Boot = z.infer<typeof bootSchema>

/** The state to go on from instead of power-on, and which machine it becomes; the same on both sides of a pair. */
export const startSchema = z.object({
  /** Path of the snapshot on this host. */
  snapshot: z.string(),
  /** Full digest of the state in it, hexadecimal. */
  digest: z.string().regex(/^[0-9a-f]{16}$/),
  /** The only version of the machine that may use it; null for a snapshot of any version that fits. */
  machineVersion: z.string().nullable(),
  /** What the machine learns first; null when it goes on as the very machine that was saved. */
  identity: z
    .object({
      /** 16 random bytes in hexadecimal. */
      generation: z.string().regex(/^[0-9a-f]{32}$/),
      /** One line, as on the kernel command line. */
      words: z
        .string()
        .max(4096)
        .regex(/^[^\n]*$/),
    })
    .nullable(),
})

export type Start = z.infer<typeof startSchema>

export const replicaConfigSchema = z.object({
  vm: z.string().min(1).max(64),
  /** The host this replica runs on. */
  host: z.string().min(1).max(64),
  /** Unique for ever: names this incarnation in the arbitration. */
  replica: replicaName,
  role: z.enum(['primary', 'backup']),
  /** The generation of the pair, or of the lone replica. */
  generation: z.int().min(1),
  /** A backup that gets its state from the primary, which runs already, instead of from an image. */
  cloned: z.boolean(),
  /** The backup of a protected VM's primary; null for a primary that runs alone and for a backup. */
  peer: peerSchema.nullable(),
  /** Where this replica listens and sends from. */
  address: z.string(),
  /** What to boot, or null when the machine module of a test needs nothing. */
  boot: bootSchema.nullable(),
  /** The snapshot to go on from; `boot` is then what a guest that resets itself boots. Null: power-on. */
  start: startSchema.nullable(),
  memoryBytes: z.int().positive(),
  /**
   * What to type on the guest's serial console, one piece after the other, to make it power itself off; null when the
   * image knows nothing. It is typed again from the start until it has worked: a guest that is still booting, or a
   * login, may throw pieces away.
   */
  powerOffInput: z.array(z.string().max(256)).min(1).max(8).nullable(),
  /** Six bytes in hexadecimal. */
  mac: z.string().regex(/^[0-9a-f]{12}$/),
  /** 32 to 64 bytes in hexadecimal; the same on both sides of a pair. */
  rngSeed: z.string().regex(/^([0-9a-f]{2}){32,64}$/),
  /** Authenticates the heartbeats of the pair; the same on both sides, and on no other. */
  pairKey: pairKeySchema,
  /** What the guest's real-time clock shows at power-on, in ms since 1970; the same on both sides of a pair. */
  epochMs: z.int().min(0),
  /** Where and by which token the replica joins the VM's network segment at the gateway. */
  gatewayAddress: z.string(),
  gatewayToken: z.string(),
  /** URL of the shared store. */
  store: z.string(),
  /** This host's identity: with it the channel speaks TLS. Null on loopback only. */
  identityDirectory: z.string().nullable(),
  /** Unix socket on which this replica answers its agent. */
  controlSocket: z.string(),
  /** The host's events file. */
  eventsFile: z.string(),
  /** Where the log of a backup that diverged is kept. */
  logFile: z.string(),
  /** URL of the module with `createMachine`; null for the product's own. */
  machineModule: z.string().nullable(),
})

export type ReplicaConfig = z.infer<typeof replicaConfigSchema>

/** A key for a pair that is to be. */
export function newPairKey(): string {
  return randomBytes(PAIR_KEY_BYTES).toString('hex')
}

export function readReplicaConfig(path: string): ReplicaConfig {
  let value: unknown
  try {
    value = JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    throw new ReplicaError('CONFIG_INVALID', `${path} cannot be read as JSON.`, { cause: error })
  }
  const result = replicaConfigSchema.safeParse(value)
  if (!result.success) throw new ReplicaError('CONFIG_INVALID', `${path}: ${z.prettifyError(result.error)}`)
  return result.data
}
