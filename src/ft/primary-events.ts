import type { ControlReport, ControlState } from './control.ts'
import type { ChannelMessage, FrameInfo, Heartbeat, TestAndSetOutcome } from './messages.ts'

/** What the shell tells the primary. Every event is handled at a time of the host's monotonic clock, in ms. */
export type PrimaryEvent =
  /** Once, first. */
  | { readonly kind: 'start' }
  /** Call every `tickMs` (a getter; it changes with the state). Late ticks are noticed and allowed for. */
  | { readonly kind: 'tick' }
  /** A logging channel stands. `connection` is the shell's number for it and is never reused. */
  | { readonly kind: 'channel-opened'; readonly connection: number }
  /** A whole message arrived. Frames never arrive at a primary. */
  | { readonly kind: 'channel-message'; readonly connection: number; readonly message: ChannelMessage }
  /** The channel ended, for whatever reason; also when the shell gives up on a peer that speaks nonsense. */
  | { readonly kind: 'channel-closed'; readonly connection: number }
  | { readonly kind: 'heartbeat'; readonly heartbeat: Heartbeat }
  /** The CPU thread ended a slice: its frame and outputs are in the rings. In sequence, without gaps. */
  | { readonly kind: 'frame-recorded'; readonly frame: FrameInfo }
  /** The answer to a `test-and-set` effect; late answers to earlier attempts are welcome. */
  | { readonly kind: 'test-and-set-result'; readonly generation: number; readonly outcome: TestAndSetOutcome }
  /**
   * The state of this machine behind its newest frame is on its way to a replica of that name, which shall become the
   * backup. Only for a machine that is alone.
   */
  | { readonly kind: 'admit'; readonly replica: string; readonly sequence: number }
  /** The operator's wish; `unprotect` of a machine that is alone gives up the replica that was to be admitted. */
  | { readonly kind: 'operation'; readonly operation: 'stop' | 'unprotect' | 'failover' }
  /** The operator's wish to pause, resume or limit the machine; reported as `paused`, `resumed`, `limited` when it is done. */
  | { readonly kind: 'control'; readonly change: Partial<ControlState> }

/** What the primary asks of the shell; to be carried out in order, at once. */
export type PrimaryEffect =
  /** Send on the logging channel. */
  | {
      readonly kind: 'send'
      readonly connection: number
      readonly message: Exclude<ChannelMessage, { kind: 'frame' }>
    }
  /**
   * Keep the bytes of all frames from the next one on (true), or those recorded so far no longer (false): a replica that is
   * to be admitted will need them.
   */
  | { readonly kind: 'keep-frames'; readonly keep: boolean }
  /**
   * Send the log frame on the logging channel, as a frame message with these fields and the frame's bytes. It answers
   * the `frame-recorded` event of that frame, or is of a frame that was to be kept: the bytes of others need not be kept
   * after that event's effects.
   */
  | {
      readonly kind: 'send-frame'
      readonly connection: number
      readonly sequence: number
      readonly releasedSequence: number
      readonly powerOff: boolean
    }
  | { readonly kind: 'close-channel'; readonly connection: number }
  | { readonly kind: 'send-heartbeat'; readonly heartbeat: Heartbeat }
  /** Count it: a heartbeat was heard before, was overtaken, or is of another pair. It had no effect. */
  | { readonly kind: 'heartbeat-refused' }
  /** Let go of all held outputs of frames up to and including this one, in order. */
  | { readonly kind: 'release-outputs'; readonly throughSequence: number }
  /** Create-if-absent of key `vm/<vm>/generation/<generation>` with value `winner`; answer with `test-and-set-result`. */
  | {
      readonly kind: 'test-and-set'
      readonly vm: string
      readonly generation: number
      readonly winner: string
    }
  /** This replica is the live machine of `generation`: claim the network port and the disks under it. Comes before any release. */
  | { readonly kind: 'go-live'; readonly generation: number }
  /** The CPU thread may begin new slices (true) or must end its slice and wait (false). */
  | { readonly kind: 'run'; readonly run: boolean }
  /** The share of a core the CPU thread may use, PRIMARY_SHARE_MIN to 1. */
  | { readonly kind: 'throttle'; readonly share: number }
  /** End for good: drop every held output, leave the network, end the process. Nothing follows. */
  | { readonly kind: 'end'; readonly reason: PrimaryEnd }
  /** For the event log and the metrics; changes nothing. */
  | { readonly kind: 'report'; readonly report: PrimaryReport }

/**
 * Why a primary ended:
 * - `lost-arbitration`: another replica is live; the machine here is void.
 * - `power-off`: the guest powered itself off. `stopped`: the operator's wish. `failed-over`: handed to the backup.
 */
export type PrimaryEnd = 'lost-arbitration' | 'power-off' | 'stopped' | 'failed-over'

export type PrimaryReport =
  | { readonly type: 'protected'; readonly generation: number; readonly backup: string }
  /** `detectionMs`: from the last sign of life to the verdict. */
  | {
      readonly type: 'lost-backup'
      readonly generation: number
      readonly cause: LossCause
      readonly detectionMs: number
    }
  /** Live without a backup. `arbitrationMs`: from the verdict to the won test-and-set; 0 when there was none to lose. */
  | { readonly type: 'unprotected'; readonly generation: number; readonly arbitrationMs: number }
  | { readonly type: 'refused'; readonly code: RefusalCode }
  | ControlReport
  /** A replica that was to become the backup did not; the machine is alone as before. */
  | { readonly type: 'not-admitted'; readonly generation: number; readonly cause: LossCause }
  | { readonly type: 'halted'; readonly generation: number; readonly reason: PrimaryEnd }

/** Why a replica believes it has lost the other. */
export type LossCause =
  | 'silence'
  | 'stalled'
  | 'too-slow'
  | 'channel-closed'
  | 'newer-generation'
  | 'diverged'
  | 'protocol'
  | 'operation'

/** Why a hello was refused. */
export type RefusalCode = 'version' | 'vm' | 'generation' | 'role' | 'sequence' | 'not-waiting'

/**
 * Configuration of a primary.
 * `begin`: `protected` claims the generation and waits for a backup; `alone` claims it and runs unprotected;
 * `live` has won it already (a backup that went live goes on as a primary).
 */
export interface PrimaryConfig {
  readonly vm: string
  readonly generation: number
  /** This incarnation's name, unique for ever. */
  readonly replica: string
  readonly begin: 'protected' | 'alone' | 'live'
  /** The last frame of the log so far: 0 at power-on. */
  readonly sequence: number
  /** What explicit operations have made of a machine that is live already; nothing unless told. */
  readonly control?: ControlState
}

/** For `ps`, the metrics and the tests. */
export interface PrimaryStatus {
  readonly state: 'new' | 'claiming' | 'waiting' | 'protected' | 'closing' | 'arbitrating' | 'alone' | 'ended'
  readonly generation: number
  /** The backup this primary is bound to. */
  readonly backup: string | null
  /** The replica that is to become the backup. */
  readonly candidate: string | null
  /** Execution lag, ms; null without a backup. */
  readonly lagMs: number | null
  /** When the backup's newest heartbeat came; null without a backup, and before the first. */
  readonly heartbeatAtMs: number | null
  /** Share of CPU the machine may use, PRIMARY_SHARE_MIN to 1. */
  readonly share: number
  /** Explicit operations that are done. */
  readonly control: ControlState
  /** A buffer is full: the machine waits. */
  readonly stalled: boolean
  readonly heldOutputBytes: number
  readonly releasedSequence: number
}
