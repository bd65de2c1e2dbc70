import { Detector, type Grade } from './detector.ts'
import { Heartbeats } from './heartbeats.ts'
import type { LagSample } from './lag.ts'
import type { FrameInfo, Heartbeat, HelloMessage } from './messages.ts'
import { SentLog } from './sent-log.ts'
import { ACK_MS_MAX, LEASE_MS } from './timing.ts'

/**
 * What ties a primary to its one backup, from the hello until arbitration: what was sent and acknowledged, signs of
 * life in both directions, and the lease.
 *
 * The lease, first as intuition: an acknowledgement says "I have frame k", and also "I am following you, and shall be
 * for a while". The first part is true for ever; the second wears off. A primary that was paused finds old
 * acknowledgements in its socket when it wakes, and the backup may be live by now. So what an acknowledgement or an
 * echo proves is dated by when this primary sent what it answers, on this primary's own clock, and believed for
 * LEASE_MS from then. The backup does not contend before PROMISE_MS, which is longer.
 */
export class Bond {
  readonly connection: number
  /** The backup's incarnation. */
  readonly backup: string
  readonly #generation: number
  readonly #detector: Detector
  readonly #heartbeats: Heartbeats
  readonly #sent: SentLog
  #leaseUntilMs = Number.NEGATIVE_INFINITY
  /** `sentAtMs` of the backup's newest heartbeat, handed back to it. */
  #echoMs = -1
  #heartbeatAtMs: number | null = null
  /** Bytes of log the backup can hold unexecuted. */
  readonly logBytesMax: number

  /**
   * @param own the primary's hello, which answers `theirs` on `connection`; what follows frame `own.sequence` is the
   *   first that the backup gets.
   */
  constructor(connection: number, own: HelloMessage, theirs: HelloMessage, nowMs: number) {
    this.connection = connection
    this.backup = theirs.replica
    this.logBytesMax = theirs.logBytesMax
    this.#generation = own.generation
    this.#detector = new Detector(nowMs)
    this.#heartbeats = new Heartbeats(own.vm, 'primary', own.replica)
    this.#sent = new SentLog(own.sequence)
  }

  /** Time has passed; says whether the backup is still there. */
  tick(nowMs: number): Grade {
    return this.#detector.tick(nowMs)
  }

  /** The channel stands and the backup lives, but nothing gets through. */
  stalled(nowMs: number): boolean {
    return this.#sent.unackedMs(nowMs) > ACK_MS_MAX
  }

  /** The next heartbeat, when it is due; else null. */
  beat(releasedSequence: number, nowMs: number): Heartbeat | null {
    const state = { generation: this.#generation, echoMs: this.#echoMs, releasedSequence }
    return this.#heartbeats.due(state, nowMs)
  }

  /** A heartbeat came, from the backup or from elsewhere; false when it is no news of the backup. */
  heartbeat(heartbeat: Heartbeat, nowMs: number): boolean {
    if (!this.#heartbeats.hear(heartbeat, this.backup, this.#generation)) return false
    this.#detector.heardHeartbeat(nowMs)
    this.#heartbeatAtMs = nowMs
    this.#echoMs = heartbeat.sentAtMs
    // An echo of what was not sent yet is nonsense and extends nothing.
    if (heartbeat.echoMs <= nowMs) this.#extendLease(heartbeat.echoMs)
    return true
  }

  /** A whole message came on the channel. */
  traffic(nowMs: number): void {
    this.#detector.heardTraffic(nowMs)
  }

  /** The next frame in sequence was sent. */
  sent(frame: FrameInfo, nowMs: number): void {
    this.#sent.sent(frame.byteLength, frame.workMs, nowMs)
  }

  /** Takes an acknowledgement in; false when it cannot be true of what was sent. */
  acknowledge(receivedSequence: number, executedSequence: number): boolean {
    const sentAtMs = this.#sent.acknowledge(receivedSequence, executedSequence)
    if (sentAtMs === 'nonsense') return false
    if (sentAtMs !== null) this.#extendLease(sentAtMs)
    return true
  }

  /** The backup is known not to contend for the next generation yet. */
  leaseStands(nowMs: number): boolean {
    return nowMs <= this.#leaseUntilMs
  }

  /** All frames up to and including this one are in the backup's log buffer. */
  get ackedSequence(): number {
    return this.#sent.ackedSequence
  }

  /** Bytes of log the backup may have to hold now. */
  get unexecutedBytes(): number {
    return this.#sent.unexecutedBytes
  }

  /** What the lag control goes by. */
  get work(): LagSample {
    return { ...this.#sent.work, waitingMs: this.#sent.waitingMs }
  }

  /** Execution lag: the age of the oldest frame that the backup is not known to have executed. */
  lagMs(nowMs: number): number {
    return this.#sent.lagMs(nowMs)
  }

  /** When the backup's newest heartbeat came; null before the first. */
  get heartbeatAtMs(): number | null {
    return this.#heartbeatAtMs
  }

  /** How long nothing was heard of the backup. */
  get silenceMs(): number {
    return this.#detector.silenceMs
  }

  #extendLease(sentAtMs: number): void {
    this.#leaseUntilMs = Math.max(this.#leaseUntilMs, sentAtMs + LEASE_MS)
  }
}
