/**
 * Every time the protocol knows, in milliseconds, each with its reason. They hang together:
 *
 *     LEASE_MS < PROMISE_MS < GONE_MS_MIN <= GONE_MS_MAX
 *
 * The client-visible pause of a takeover is about (gone or promise) + one test-and-set + draining the log.
 */

/** Fifty datagrams a second cost an idle replica well under 1 % of a core, and six may be missed before GONE_MS_MIN. */
export const HEARTBEAT_INTERVAL_MS = 20

/** How often a shell ticks a replica that has a peer: half a heartbeat, so that a deadline is met within 10 ms. */
export const TICK_MS = 10

/** How often a shell ticks a replica that waits for nothing urgent: an idle guest shall use no CPU. */
export const TICK_IDLE_MS = 100

/**
 * A tick counts for at most this much silence, however late it comes: a host that did not run cannot have listened
 * either. Room for one missed tick and a scheduling delay on a busy machine of two cores.
 */
export const TICK_SILENCE_MS_MAX = 25

/**
 * Silence below which a peer is never called gone: fifteen heartbeats, and more than a busy host's usual stall. It is
 * what the death of a whole host costs; that of a process closes the channel and costs PROMISE_MS. Measured on two
 * cores with a load of 6 to 8: processes stall for 100 to 200 ms, and a bound of 150 cost about every third pair its
 * protection within its first minute.
 */
export const GONE_MS_MIN = 300

/** Silence above which a peer is always called gone, however much it stalled before. */
export const GONE_MS_MAX = 1_000

/**
 * The backup contends for the next generation no sooner than this after it last told the primary that it heard it.
 * Short, because it is also what a killed primary with a closed channel costs; three heartbeats, so that a primary
 * whose channel broke for another reason is still heard in time.
 */
export const PROMISE_MS = 60

/** How long the primary relies on that promise, from when it sent what the backup heard: clocks may drift and timers round. */
export const LEASE_MS = 50

/**
 * A frame that is not acknowledged for this long means that the channel is stalled, whatever the heartbeats say: TCP
 * has then sent it again twice (after 200 and 400 ms). Its outputs are held all that time.
 */
export const ACK_MS_MAX = 600

/** A backup without a channel, but with a primary that can be heard, leaves it this long to decide by itself. */
export const SEVERED_MS_MAX = 500

/** After handing over, the primary leaves the backup this long to win before it takes the machine back. */
export const FAILOVER_MS_MAX = 1_000

/** An explicit operation waits this long to be confirmed before the primary makes it certain by arbitration. */
export const CLOSING_MS_MAX = 500

/** A copy of a machine that has not become its backup by then is given up: a gigabyte takes seconds on any network that carries a log. */
export const ADMISSION_MS_MAX = 60_000

/**
 * A replica that shall become a clone ends when no state has begun to come by then: whoever ordered it calls at once, and has
 * died. Before its host is tried again (AVOID_MS): a place that it holds would be refused to the next one.
 */
export const CLONE_AWAITED_MS_MAX = 5_000

/** First pause between attempts at an unreachable store; doubles up to ARBITRATION_RETRY_MS_MAX. */
export const ARBITRATION_RETRY_MS_MIN = 20
/** Longest pause between attempts: a store that comes back is noticed within this. */
export const ARBITRATION_RETRY_MS_MAX = 320
/** An attempt without an answer for this long is followed by another; both answers, if they come, are true. */
export const ARBITRATION_ATTEMPT_MS_MAX = 1_000

/** Execution lag that a slow backup is held below, by slowing the primary down (the paper's 1 s). */
export const LAG_LIMIT_MS = 1_000
/** How often the primary's share of CPU is adjusted: long enough to measure the backup's speed in, short beside the lag. */
export const LAG_INTERVAL_MS = 100

/** A backup that starves its primary for this long is given up: longer than a host is busy with a start or a backup of its own. */
export const TOO_SLOW_MS_MAX = 30_000
