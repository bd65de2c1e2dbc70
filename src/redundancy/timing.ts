/** The times of restoring redundancy, in milliseconds, each with its reason. Those of the pair are in src/ft/timing.ts. */

/** The agent looks this often although nothing was heard: something may have been missed, or has been waited for. */
export const LOOK_MS = 2_000

/** A host at which a clone failed is left alone for so long, if there are others or not: what was wrong may still be. */
export const AVOID_MS = 10_000

/**
 * A host that still has another replica of the machine, or no memory for one, is left alone for so long: what is there may be
 * about to end, as the primary does that has handed over.
 */
export const OCCUPIED_MS = 1_000

/**
 * How long a host that died is still taken for one that is there: nothing is placed on it for longer. Replicas do not
 * depend on it: they find out about each other within a third of a second.
 */
export const HOST_LEASE_MS = 3_000

/** Between attempts to get in, while the store is away or the lease of the agent before has not run out. */
export const JOIN_AGAIN_MS = 500

/**
 * An agent that has not said by then what its host carries counts as gone. It asks its replicas, which have a second; a host
 * without power does not even refuse.
 */
export const HOST_STATUS_MS_MAX = 2_000

/**
 * A clone is given up when its host has not been among those that answer for this long. The connection alone would tell
 * after minutes; an agent that is started again is back sooner.
 */
export const CLONE_HOST_GONE_MS = 5_000
