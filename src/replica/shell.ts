/**
 * What the shells of a primary and of a backup have in common: they feed the pure protocol of `src/ft` with what
 * happens, at the time it happens, and carry out what it asks for.
 */
import type { ControlState } from '../ft/control.ts'
import type { ChannelMessage, FrameInfo, Heartbeat, TestAndSetOutcome } from '../ft/messages.ts'
import type { ChannelSockets } from './channel.ts'
import type { ReplicaConfig } from './config.ts'
import type { Cpu } from './cpu.ts'
import type { EventDetails, EventType } from './event-log.ts'
import type { HeartbeatSocket } from './heartbeat-socket.ts'
import { bytesOf, type HeldOutputs, type VisibleOutput } from './held-outputs.ts'
import type { ReplicaGauges, ReplicaMetrics } from './metrics.ts'
import type { Outside } from './outside.ts'
import type { ReplicaStatus } from './status.ts'
import type { CpuReport } from './thread-messages.ts'

/** The parts of a replica that its shell works with. */
export interface ReplicaParts {
  readonly config: ReplicaConfig
  readonly cpu: Cpu
  readonly channels: ChannelSockets
  readonly heartbeats: HeartbeatSocket
  readonly outside: Outside
  readonly held: HeldOutputs
  /** The log so far, for the status. */
  readonly logVolume: { frames: number; bytes: number }
  readonly metrics: ReplicaMetrics
  testAndSet(generation: number, winner: string): Promise<TestAndSetOutcome>
  event(type: EventType, details: EventDetails): void
  /** A replica that was to become the backup is it now, or was given up. */
  admitted(isBackup: boolean): void
  /** The backup won and its machine is live: from here on another shell drives this replica. */
  wentLive(generation: number, sequence: number, control: ControlState): void
  /** Ends the process in good order. */
  end(reason: string): void
}

/** What a shell tells of the replica's status. */
export type ShellStatus = Pick<
  ReplicaStatus,
  'role' | 'phase' | 'generation' | 'protection' | 'peer' | 'lagMs' | 'share' | 'paused' | 'shareMax'
>

/** What a shell tells for the metrics. */
export type ShellGauges = Pick<ReplicaGauges, 'lagMs' | 'cpuShare' | 'heartbeatAgeMs'>

export interface Shell {
  start(): void
  tick(): void
  readonly tickMs: number
  cpuReported(report: CpuReport): void
  channelOpened(connection: number): void
  channelMessage(connection: number, message: ChannelMessage): void
  channelClosed(connection: number): void
  heartbeat(heartbeat: Heartbeat): void
  operation(operation: 'stop' | 'failover' | 'unprotect'): void
  /** Pauses, resumes or limits a machine that is live here; nothing happens to one that is not. */
  control(change: Partial<ControlState>): void
  status(): ShellStatus
  gauges(): ShellGauges
}

/** The log counts frames from 0 (`src/replay`), the protocol from 1 (0 stands for none yet). */
export function protocolSequence(frameSequence: number): number {
  return frameSequence + 1
}

/** What the protocol needs to know of a frame and the outputs of its slice. */
export function frameInfo(
  sequence: number,
  byteLength: number,
  outputs: readonly VisibleOutput[],
  workMs: number,
): FrameInfo {
  return {
    sequence,
    byteLength,
    outputs: outputs.length,
    outputBytes: bytesOf(outputs),
    powerOff: outputs.some((output) => output.kind === 'power' && output.action === 'off'),
    workMs,
  }
}

/**
 * Handles events strictly one after the other: what an effect brings about at once (a channel that closes) is
 * handled after the effects of the event before it.
 */
export class EventQueue<E> {
  readonly #handle: (event: E) => void
  #waiting: E[] = []
  #busy = false

  constructor(handle: (event: E) => void) {
    this.#handle = handle
  }

  post(event: E): void {
    this.#waiting.push(event)
    if (this.#busy) return
    this.#busy = true
    try {
      for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
        this.#handle(next)
      }
    } finally {
      this.#busy = false
    }
  }
}
