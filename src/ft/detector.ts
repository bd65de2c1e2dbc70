import { GONE_MS_MAX, GONE_MS_MIN, HEARTBEAT_INTERVAL_MS, TICK_SILENCE_MS_MAX } from './timing.ts'

/**
 * Says how long ago the peer gave a sign of life, and whether that is too long.
 *
 * The intuition: a peer is late when it has been silent for much longer than it usually is, and gone when it has
 * been silent for so long that waiting costs more than being wrong. Being wrong is harmless (the test-and-set lets
 * only one side go on), so the bounds are set by the pause that clients may see, not by caution.
 *
 * Three things keep it honest:
 * - Silence is only what was listened to. A host that was paused or starved for a second has a second of signs of
 *   life still in its socket buffers, so a tick counts for at most TICK_SILENCE_MS_MAX, however late it is.
 * - Jitter is learned quickly and forgotten quickly; a stall (a collection of garbage, a busy host) is remembered for
 *   some seconds, because it comes back.
 * - The usual gap is learned from heartbeats alone, which are regular; traffic on the channel ends a silence but
 *   would teach nothing about when the next sign is due.
 */
export type Grade = 'fine' | 'late' | 'gone'

/** Weights of the newest gap in mean and deviation: those of RFC 6298 (TCP's retransmission timer), section 2.3. */
const MEAN_GAIN = 1 / 8
const DEVIATION_GAIN = 1 / 4
/** Deviations above the mean at which a gap is no jitter any more: RFC 6298's K. */
const DEVIATIONS = 4
/** Heartbeats that may be missed on top of the usual gap. */
const HEARTBEATS_MISSED = 4
/** A peer that stalled once will again: it is given this many times its longest recent gap. */
const STALL_MARGIN = 1.5
/** How much of the longest gap is remembered at each heartbeat: half of it after seven seconds. */
const STALL_MEMORY = 0.998

export class Detector {
  #silenceMs = 0
  #lastTickMs: number
  #sinceHeartbeatMs = 0
  #gapMeanMs = HEARTBEAT_INTERVAL_MS
  #gapDeviationMs = HEARTBEAT_INTERVAL_MS / 2
  #gapLongestMs = 0

  /** Starts as if the peer had been heard at `nowMs`. */
  constructor(nowMs: number) {
    this.#lastTickMs = nowMs
  }

  /** A new heartbeat came (a repeated or overtaken one is no news and must not be given here). */
  heardHeartbeat(nowMs: number): void {
    const gapMs = this.#sinceHeartbeatMs + this.#sinceTick(nowMs)
    const error = gapMs - this.#gapMeanMs
    this.#gapMeanMs += MEAN_GAIN * error
    this.#gapDeviationMs += DEVIATION_GAIN * (Math.abs(error) - this.#gapDeviationMs)
    this.#gapLongestMs = Math.max(gapMs, this.#gapLongestMs * STALL_MEMORY)
    this.#sinceHeartbeatMs = -this.#sinceTick(nowMs)
    this.heardTraffic(nowMs)
  }

  /** A whole message came on the channel. */
  heardTraffic(nowMs: number): void {
    this.#silenceMs = -this.#sinceTick(nowMs)
  }

  /** Time has passed; returns the verdict. */
  tick(nowMs: number): Grade {
    const sinceTickMs = this.#sinceTick(nowMs)
    this.#silenceMs += sinceTickMs
    this.#sinceHeartbeatMs += sinceTickMs
    this.#lastTickMs = Math.max(this.#lastTickMs, nowMs)
    if (this.#silenceMs >= this.goneMs) return 'gone'
    return this.#silenceMs >= this.goneMs / 2 ? 'late' : 'fine'
  }

  /** Silence listened to up to the last tick, never more than the real one. */
  get silenceMs(): number {
    return Math.max(0, this.#silenceMs)
  }

  /** The silence at which the peer is called gone, GONE_MS_MIN to GONE_MS_MAX. */
  get goneMs(): number {
    const usualMs = this.#gapMeanMs + DEVIATIONS * this.#gapDeviationMs
    const missedMs = HEARTBEATS_MISSED * HEARTBEAT_INTERVAL_MS
    const stallMs = this.#gapLongestMs * STALL_MARGIN
    return Math.min(GONE_MS_MAX, Math.max(GONE_MS_MIN, usualMs + missedMs, stallMs))
  }

  /** Time since the last tick, as far as it may count. */
  #sinceTick(nowMs: number): number {
    return Math.min(TICK_SILENCE_MS_MAX, Math.max(0, nowMs - this.#lastTickMs))
  }
}
