import { BackupSpeed } from './backup-speed.ts'
import type { WorkSums } from './sent-log.ts'
import { LAG_INTERVAL_MS, LAG_LIMIT_MS } from './timing.ts'

/**
 * Slows the primary down so that a backup that cannot keep up is about LAG_LIMIT_MS behind and no more.
 *
 * A backup that is a second behind costs a second of pause when it goes live, for it must consume its log first.
 *
 * The lag as it is measured, the age of the oldest frame not executed, is a bad thing to steer by: it shows a change of
 * the primary's speed only when the frames made since are reached, one lag later. A rule that cuts while the lag is high
 * and gives back while it is low is then always a second late, and swings. What has no such dead time is the backlog, the
 * work that was sent and not executed: it grows at (share − backup's speed) from the moment the share changes.
 * Backlog divided by speed is what the lag will be, and what a takeover would take now. So:
 *
 *     lag   = backlog / speed
 *     share = speed × (1 + (set point − lag) / CORRECTION_MS)
 *
 * The first factor alone would hold any lag; the second brings it to the set point. Put into each other, they say that
 * the lag's error shrinks with the time constant CORRECTION_MS: an integrator with proportional feedback, without
 * overshoot as long as what delays the feedback is below 1/e of that. It is: half an interval, an interval until the
 * share acts, and the way of an acknowledgement make 0.2 s. The estimate of the speed is not in the loop, because the
 * share does not change how fast a busy backup is; so it may be averaged without a danger to stability.
 */

/** Share of a core left to the primary at worst: slow, but a guest that still answers. */
export const PRIMARY_SHARE_MIN = 0.05
/** Set point as a share of the limit: room for what a measured speed is off, so that the lag stays below the limit. */
const SET_POINT = 0.9
/** Time constant of the approach to the set point. */
const CORRECTION_MS = 800
/** However far the lag is off, the primary keeps this share of the backup's speed: the lag then falls 0.5 s a second. */
const CORRECTION_MIN = 0.5
/** A backup this fast keeps up by itself, all but; it is let catch up instead of being held at the set point. */
const KEEPS_UP_SPEED = 0.95
/** One below this is held at the set point; in between is a bit of both, so that a speed on the edge does not flutter. */
const SLOW_SPEED = 0.85
/** While it catches up the primary has this share of its speed: a lag of 0.9 s is gone within 5 s. */
const CATCHING_UP = 0.8
/** Lag at which it has caught up, as a share of the limit: a few slices, for a backup as fast as its primary never gets rid of the last. */
const CAUGHT_UP = 1 / 20
/** Changes below this are not worth a command to the CPU thread. */
const SHARE_STEP_MIN = 0.005

/** What the control is told of the log. */
export interface LagSample extends WorkSums {
  /** Work that waited in the backup's log buffer when it last acknowledged. */
  readonly waitingMs: number
}

export class LagControl {
  readonly #limitMs: number
  #backup = new BackupSpeed()
  #share = 1
  #throttled = 1
  #nextMs = Number.NEGATIVE_INFINITY

  constructor(limitMs: number = LAG_LIMIT_MS) {
    this.#limitMs = limitMs
  }

  /** An acknowledgement came; `waitingMs` is what then waited at the backup. */
  acknowledged(waitingMs: number): void {
    this.#backup.acknowledged(waitingMs)
  }

  /** Takes the state of the log in. Acts once per LAG_INTERVAL_MS. */
  sample(log: LagSample, nowMs: number): void {
    if (nowMs < this.#nextMs) return
    this.#nextMs = nowMs + LAG_INTERVAL_MS
    this.#backup.sample(log.executedMs, log.waitingMs, nowMs)
    const { speed } = this.#backup
    const lagMs = (log.sentMs - log.executedMs) / speed
    // How much of the lag is the network's way is nothing that waiting would cure.
    const share = speed * this.#correction(lagMs, log.waitingMs / speed, speed)
    this.#share = Math.min(1, Math.max(PRIMARY_SHARE_MIN, share))
    const isNews = Math.abs(this.#share - this.#throttled) >= SHARE_STEP_MIN
    if (isNews || this.#share === 1) this.#throttled = this.#share
  }

  /** `waitingMs` is the part of the lag that is in the backup's log buffer. */
  #correction(lagMs: number, waitingMs: number, speed: number): number {
    const holding = Math.max(CORRECTION_MIN, 1 + (this.#limitMs * SET_POINT - lagMs) / CORRECTION_MS)
    const catchingUp = Math.max(CATCHING_UP, 1 + (this.#limitMs * CAUGHT_UP - waitingMs) / CORRECTION_MS)
    const slow = Math.min(1, Math.max(0, (KEEPS_UP_SPEED - speed) / (KEEPS_UP_SPEED - SLOW_SPEED)))
    return slow * holding + (1 - slow) * Math.min(holding, catchingUp)
  }

  /** What is worth telling the CPU thread: the share, without its smallest movements. */
  get throttled(): number {
    return this.#throttled
  }

  /** Share of a core the primary may use, PRIMARY_SHARE_MIN to 1. */
  get share(): number {
    return this.#share
  }

  /** No backup to wait for any more; the next is unknown. */
  lift(): void {
    this.#backup = new BackupSpeed()
    this.#share = 1
    this.#throttled = 1
  }
}
