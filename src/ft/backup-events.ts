import type { ControlState } from './control.ts'
import type { ChannelMessage, FrameInfo, Heartbeat, TestAndSetOutcome } from './messages.ts'
import type { LossCause, RefusalCode } from './primary-events.ts'

/** What the shell tells the backup. Every event is handled at a time of the host's monotonic clock, in ms. */
export type BackupEvent =
  /** Once, first. */
  | { readonly kind: 'start' }
  /** Call every `tickMs` (a getter; it changes with the state). Late ticks are noticed and allowed for. */
  | { readonly kind: 'tick' }
  /** A logging channel stands. `connection` is the shell's number for it and is never reused. */
  | { readonly kind: 'channel-opened'; readonly connection: number }
  /** A whole message arrived, other than a frame. */
  | {
      readonly kind: 'channel-message'
      readonly connection: number
      readonly message: Exclude<ChannelMessage, { kind: 'frame' }>
    }
  /** A whole frame message arrived; the shell keeps its payload until told. */
  | {
      readonly kind: 'frame-received'
      readonly connection: number
      readonly sequence: number
      readonly byteLength: number
      readonly releasedSequence: number
      readonly powerOff: boolean
    }
  /** The channel ended. A torn last message is dropped by the shell's decoder and never reported. */
  | { readonly kind: 'channel-closed'; readonly connection: number }
  | { readonly kind: 'heartbeat'; readonly heartbeat: Heartbeat }
  /** The CPU thread replayed a frame to its end and its digest agreed; `outputs` are kept until told. In sequence. */
  | { readonly kind: 'frame-executed'; readonly frame: FrameInfo }
  /** The digest did not agree: this replica is void. */
  | { readonly kind: 'diverged'; readonly sequence: number }
  /** The answer to a `test-and-set` effect; late answers to earlier attempts are welcome. */
  | { readonly kind: 'test-and-set-result'; readonly generation: number; readonly outcome: TestAndSetOutcome }
  /** The operator's wish to end this replica only. */
  | { readonly kind: 'operation'; readonly operation: 'stop' }

/** What the backup asks of the shell; to be carried out in order, at once. */
export type BackupEffect =
  | {
      readonly kind: 'send'
      readonly connection: number
      readonly message: Exclude<ChannelMessage, { kind: 'frame' }>
    }
  | { readonly kind: 'close-channel'; readonly connection: number }
  | { readonly kind: 'send-heartbeat'; readonly heartbeat: Heartbeat }
  /** Count it: a heartbeat was heard before, was overtaken, or is of another pair. It had no effect. */
  | { readonly kind: 'heartbeat-refused' }
  /** Put the frame into the log buffer: the CPU thread shall replay it. Precedes its acknowledgement. */
  | { readonly kind: 'accept-frame'; readonly sequence: number }
  /** The primary let these outputs go: the copies kept here are not needed any more. */
  | { readonly kind: 'forget-outputs'; readonly throughSequence: number }
  /** Create-if-absent of key `vm/<vm>/generation/<generation>` with value `winner`; answer with `test-and-set-result`. */
  | {
      readonly kind: 'test-and-set'
      readonly vm: string
      readonly generation: number
      readonly winner: string
    }
  /**
   * This replica is the live machine of `generation`: claim the network port and the disks under it, and go on as
   * `new Primary({begin: 'live', generation, sequence, control})`. The effects that follow it come in the order they are due:
   * reissue-disk-io, announce-mac, release-outputs, run.
   */
  | {
      readonly kind: 'go-live'
      readonly generation: number
      readonly sequence: number
      readonly control: ControlState
    }
  /** Issue again every disk request that has no completion in the log; the requests are idempotent. */
  | { readonly kind: 'reissue-disk-io' }
  /** Broadcast the guest's MAC (RARP) so that switches learn its new place. */
  | { readonly kind: 'announce-mac' }
  /** Send the kept outputs of these frames: the old primary may or may not have sent them. The network bears repeats. */
  | { readonly kind: 'release-outputs'; readonly fromSequence: number; readonly throughSequence: number }
  /** The CPU thread now runs slices of its own. Does not come for a machine that is paused. */
  | { readonly kind: 'run'; readonly run: true }
  /** End for good: the machine here is void, end the process. Nothing follows. */
  | { readonly kind: 'end'; readonly reason: BackupEnd }
  /** For the event log and the metrics; changes nothing. */
  | { readonly kind: 'report'; readonly report: BackupReport }

/**
 * Why a backup ended without going live:
 * - `lost-arbitration`: the primary goes on alone. `power-off`: the guest powered itself off.
 * - `stopped`, `unprotected`: the primary said so. `diverged`: its state differed from the log.
 * - `refused`: the primary would not have it. `unbound`: it lost the primary before it was bound, and may not take over.
 */
export type BackupEnd =
  | 'lost-arbitration'
  | 'power-off'
  | 'stopped'
  | 'unprotected'
  | 'diverged'
  | 'refused'
  | 'unbound'

export type BackupReport =
  | { readonly type: 'protected'; readonly generation: number; readonly primary: string }
  /** `detectionMs`: from the last sign of life to the verdict. */
  | {
      readonly type: 'lost-primary'
      readonly generation: number
      readonly cause: LossCause
      readonly detectionMs: number
    }
  /** `arbitrationMs`: from the verdict to the won test-and-set. `drainMs`: from there until the last frame was consumed. */
  | {
      readonly type: 'went-live'
      readonly generation: number
      readonly sequence: number
      readonly detectionMs: number
      readonly arbitrationMs: number
      readonly drainMs: number
    }
  | { readonly type: 'refused'; readonly code: RefusalCode }
  | { readonly type: 'halted'; readonly generation: number; readonly reason: BackupEnd }

export interface BackupConfig {
  readonly vm: string
  readonly generation: number
  /** This incarnation's name, unique for ever. */
  readonly replica: string
  /** The last frame already in the machine: 0 at power-on. */
  readonly sequence: number
  /** Bytes of log this replica holds unexecuted before it gives up on the primary; LOG_BYTES_MAX unless told. */
  readonly logBytesMax?: number
}

/**
 * Bytes of log a backup holds unexecuted. At the 20 Mbit/s of a busy guest it is half a minute, far more than the lag
 * limit lets grow; it bounds memory, it is not meant to be reached.
 */
export const LOG_BYTES_MAX = 64 * 1024 * 1024

/** For `ps`, the metrics and the tests. */
export interface BackupStatus {
  readonly state:
    | 'new'
    | 'joining'
    | 'following'
    | 'severed'
    | 'arbitrating'
    | 'draining'
    | 'ending'
    | 'live'
    | 'ended'
  readonly generation: number
  /** The primary this backup is bound to, or was. */
  readonly primary: string | null
  /** When the primary's newest heartbeat came; null before the first. */
  readonly heartbeatAtMs: number | null
  readonly receivedSequence: number
  readonly executedSequence: number
  readonly bufferedBytes: number
  /** What explicit operations have made of the machine. */
  readonly control: ControlState
}
