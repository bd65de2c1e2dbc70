/**
 * Counts what was refused, by reason, and says so in the log.
 *
 * A refusal is the one sign an operator has of a host that is set up wrongly, or of somebody who tries. So each is
 * counted; but a line for each would let anybody who can send datagrams fill the disk. Each reason gets a line at
 * once, then at most one in LOG_INTERVAL_MS, which says how many it stands for.
 */
import { z } from 'zod'

export const REFUSAL_REASONS = [
  /** A request without the cluster's API token, or with another. */
  'wrong-token',
  /** A join with a token that was never made, was used, or has expired. */
  'join-refused',
  /** No certificate, or one that no authority of this cluster made, or one that has expired. */
  'unknown-certificate',
  /** A certificate that names another cluster. */
  'other-cluster',
  /** A datagram on the heartbeats' port that was not made with the pair's key. */
  'heartbeat-forged',
  /** An authentic heartbeat that was heard before, was overtaken, or is of another pair. A network may repeat some itself. */
  'heartbeat-replayed',
  /** Something else than TLS spoken to a port that is for TLS only. */
  'plain-text',
  /** A handshake that was not finished in time or made no sense, or came when too many others were under way. */
  'handshake-failed',
] as const

export type RefusalReason = (typeof REFUSAL_REASONS)[number]

export const refusalCountsSchema = z.record(z.enum(REFUSAL_REASONS), z.int().nonnegative())

export type RefusalCounts = z.infer<typeof refusalCountsSchema>

/** After the first line of a reason: a minute of a flood makes six lines. */
export const LOG_INTERVAL_MS = 10_000

/** What `pino` offers, as far as it is used here. */
export interface RefusalLog {
  warn(fields: object, message: string): void
}

/** Writes lines of JSON to stderr, for processes that have no other log. */
export const STDERR_LOG: RefusalLog = {
  warn: (fields, message) => void process.stderr.write(`${JSON.stringify({ ...fields, msg: message })}\n`),
}

/** Text from outside gets no more room than this in a line. */
const DETAIL_CHARS_MAX = 200

interface Tally {
  count: number
  loggedCount: number
  nextLogMs: number
}

export class Refusals {
  readonly #log: RefusalLog
  readonly #nowMs: () => number
  readonly #tallies: ReadonlyMap<RefusalReason, Tally>

  /** `nowMs` is any monotonic clock. */
  constructor(log: RefusalLog, nowMs: () => number = () => performance.now()) {
    this.#log = log
    this.#nowMs = nowMs
    this.#tallies = new Map(
      REFUSAL_REASONS.map((reason) => [
        reason,
        { count: 0, loggedCount: 0, nextLogMs: Number.NEGATIVE_INFINITY },
      ]),
    )
  }

  /** @param from who was refused, as far as it is known: an address. */
  count(reason: RefusalReason, from: string | undefined, detail: string): void {
    const tally = this.#tallies.get(reason)!
    tally.count += 1
    const nowMs = this.#nowMs()
    if (nowMs < tally.nextLogMs) return
    tally.nextLogMs = nowMs + LOG_INTERVAL_MS
    const count = tally.count - tally.loggedCount
    tally.loggedCount = tally.count
    this.#log.warn(
      { refusal: reason, count, total: tally.count, from, detail: detail.slice(0, DETAIL_CHARS_MAX) },
      'refused',
    )
  }

  /** Every reason is there, also with 0. */
  counts(): RefusalCounts {
    return Object.fromEntries(
      [...this.#tallies].map(([reason, { count }]) => [reason, count]),
    ) as RefusalCounts
  }
}
