/** What a replica tells about itself on its control socket, and what it takes from there. */
import { z } from 'zod'
import { CPU_LIMIT_MIN } from '../ft/control.ts'
import { refusalCountsSchema } from '../security/refusals.ts'

/**
 * - `starting`: the machine is being built, or waits for its pair to stand. `running`: live.
 * - `replaying`: a backup that follows the log. `contending`: it lost the other and waits for the arbitration.
 * - `ended`: nothing more happens here; the process is about to exit.
 */
export const PHASES = ['starting', 'running', 'replaying', 'contending', 'ended'] as const

/** Upper bound of the share of a core that a machine may use. */
export const limitSchema = z.object({ share: z.number().min(CPU_LIMIT_MIN).max(1) })

export const replicaStatusSchema = z.object({
  vm: z.string(),
  host: z.string(),
  pid: z.int(),
  replica: z.string(),
  role: z.enum(['primary', 'backup']),
  phase: z.enum(PHASES),
  generation: z.int(),
  /** Whether a backup holds the log up to now. */
  protection: z.enum(['protected', 'unprotected', 'starting']),
  /** The other replica of a pair: the host's name, a slash, and which incarnation. */
  peer: z.string().nullable(),
  /** Guest RAM. */
  memoryBytes: z.int(),
  /** Execution lag of the backup as the primary sees it; null when there is no pair. */
  lagMs: z.number().nullable(),
  /** Share of a core the machine may use now: less than 1 while a slow backup is waited for, or by a limit. */
  share: z.number(),
  /** It was paused, which the backup knows as well. */
  paused: z.boolean(),
  /** Upper bound of the share that was set, which the backup knows as well; 1 without. */
  shareMax: z.number(),
  /** Instructions retired since power-on. */
  retired: z.number(),
  /** Guest time since power-on. */
  guestSeconds: z.number(),
  /** Millions of instructions a second while it runs, as the slices measured it. */
  mips: z.number(),
  /** Frames and bytes of log made or received. */
  logFrames: z.int(),
  logBytes: z.int(),
  /** Where a backup listens; 0 for others. */
  channelPort: z.int(),
  /** Where a backup that is to be cloned waits for its state; 0 for others. */
  clonePort: z.int(),
  /** The clone that is being made of a live machine; null when there is none. */
  clone: z
    .object({
      host: z.string(),
      phase: z.enum(['connecting', 'sending', 'restoring', 'joining']),
      pages: z.int(),
      pagesLeft: z.int(),
      sentBytes: z.int(),
      elapsedMs: z.number(),
    })
    .nullable(),
  heartbeatPort: z.int(),
  /** What was refused here, by reason. */
  refusals: refusalCountsSchema,
})

export type ReplicaStatus = z.infer<typeof replicaStatusSchema>
