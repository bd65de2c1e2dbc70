/** A primary and a backup as the lag control meets them: slices, a channel that delays, a backup of some speed. */
import type { LagSample } from '../lag.ts'
import { SentLog } from '../sent-log.ts'

/** What is tried: the present rule, or another to compare. */
export interface LagRule {
  acknowledged(waitingMs: number): void
  sample(log: LagSample & { readonly lagMs: number }, nowMs: number): unknown
  readonly share: number
}

export interface Plant {
  /** Multiple of the primary's speed at which the backup executes, at a time. */
  readonly backupSpeed: (nowMs: number) => number
  /** Whether the guest has work, at a time. */
  readonly isBusy: (nowMs: number) => boolean
  /** One way. */
  readonly delayMs: number
  /** On top, drawn for each message; order is kept. */
  readonly jitterMs: number
  /** The CPU thread's speed while it runs, beside what the share says: naps are not exact. */
  readonly paceError: number
  /** How much longer than by its work a slice may take to replay, at random; 0 for none. */
  readonly replayNoise: number
  /** From 0 to 1. */
  readonly random: () => number
}

export interface Moment {
  readonly nowMs: number
  /** Age of the oldest frame not executed. */
  readonly lagMs: number
  readonly share: number
}

const SLICE_MS = 3
const STEP_MS = 1
const TICK_MS = 10

interface Arrival {
  readonly atMs: number
  readonly sequence: number
}

/** Runs the pair for a time; returns its history, ten moments a second. */
export function runLaggingPair(rule: LagRule, plant: Plant, forMs: number): Moment[] {
  const sent = new SentLog(0)
  const works: number[] = []
  const toBackup: Arrival[] = []
  const toPrimary: (Arrival & { readonly received: number })[] = []
  const history: Moment[] = []
  const delayed = (queue: readonly Arrival[], nowMs: number) =>
    Math.max(queue.at(-1)?.atMs ?? 0, nowMs + plant.delayMs + plant.jitterMs * plant.random())
  let [received, executed, acked] = [0, 0, 0]
  let [workMs, owedMs, costMs] = [0, 0, 0]
  const acknowledge = (nowMs: number) => {
    acked = executed
    toPrimary.push({ atMs: delayed(toPrimary, nowMs), sequence: executed, received })
  }
  for (let nowMs = 0; nowMs < forMs; nowMs += STEP_MS) {
    if (plant.isBusy(nowMs)) workMs += STEP_MS * Math.min(1, rule.share * plant.paceError)
    if (workMs >= SLICE_MS) {
      sent.sent(1_000, workMs, nowMs)
      works.push(workMs)
      workMs = 0
      toBackup.push({ atMs: delayed(toBackup, nowMs), sequence: works.length })
    }
    while (toBackup.length > 0 && toBackup[0]!.atMs <= nowMs) {
      received = toBackup.shift()!.sequence
      acknowledge(nowMs)
    }
    owedMs += STEP_MS * plant.backupSpeed(nowMs)
    while (executed < received) {
      if (costMs === 0) costMs = works[executed]! * (1 + plant.replayNoise * (plant.random() - 0.5))
      if (owedMs < costMs) break
      owedMs -= costMs
      costMs = 0
      executed++
    }
    if (executed === received) owedMs = 0
    if (nowMs % TICK_MS === 0 && executed > acked) acknowledge(nowMs)
    while (toPrimary.length > 0 && toPrimary[0]!.atMs <= nowMs) {
      const ack = toPrimary.shift()!
      sent.acknowledge(ack.received, ack.sequence)
      rule.acknowledged(sent.waitingMs)
    }
    if (nowMs % TICK_MS === 0) {
      const lagMs = sent.lagMs(nowMs)
      rule.sample({ ...sent.work, waitingMs: sent.waitingMs, lagMs }, nowMs)
    }
    if (nowMs % 100 === 0) history.push({ nowMs, lagMs: sent.lagMs(nowMs), share: rule.share })
  }
  return history
}
