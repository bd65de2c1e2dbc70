/**
 * What a primary and its backup say to each other.
 *
 * Two paths carry it. The **logging channel** is a reliable byte stream (TCP): it carries the log, the
 * acknowledgements and the explicit operations, in order, until it breaks. **Heartbeats** are datagrams (UDP):
 * they may be lost, repeated or late, and are only ever evidence of life, never a reason to act on the machine.
 *
 * Bytes are the business of `channel-codec.ts` and `heartbeat-codec.ts`; what is done with a message is that
 * of `primary.ts` and `backup.ts`. Docs: docs/protocol.md, "Messages".
 */

/** Raised whenever a message changes meaning or shape; two replicas of different versions refuse each other. */
export const PROTOCOL_VERSION = 3

/** What a replica is in its pair. */
export type Role = 'primary' | 'backup'

/** The first message each side sends on a new channel; the backup speaks first, the primary answers. */
export interface HelloMessage {
  readonly kind: 'hello'
  readonly version: number
  /** The virtual machine's name, 1 to NAME_BYTES_MAX bytes of UTF-8. */
  readonly vm: string
  /** The pair's generation, 1 to 2^53 − 1. */
  readonly generation: number
  readonly role: Role
  /** This incarnation of the replica process: unique for ever, never reused after a restart. */
  readonly replica: string
  /** The last frame already in the sender's machine: 0 at power-on. Both sides must agree on it. */
  readonly sequence: number
  /** How many bytes of log the sender can hold that it has not executed; the primary stalls before passing it. */
  readonly logBytesMax: number
}

/** One log frame. Sequence numbers start at 1 and have no gaps. */
export interface FrameMessage {
  readonly kind: 'frame'
  readonly sequence: number
  /** Outputs of all frames up to and including this one had left the primary when it sent this message. */
  readonly releasedSequence: number
  /** The guest powers itself off in this slice: the last frame of the log, and never a reason to go live. */
  readonly powerOff: boolean
  /** The encoded log frame, opaque here; it carries its own digest. */
  readonly payload: Uint8Array
}

/** From the backup, sent when a frame is in its log buffer, before it executes; repeated as it executes. */
export interface AckMessage {
  readonly kind: 'ack'
  /** All frames up to and including this one are in the backup's log buffer or executed. */
  readonly receivedSequence: number
  /** All frames up to and including this one are executed. The primary derives the execution lag from it. */
  readonly executedSequence: number
}

/**
 * From the primary: with the frames before this message the backup has every frame whose outputs have left, and is the
 * one backup of this generation from here on. Before it, a backup follows and never contends.
 */
export interface BindMessage {
  readonly kind: 'bind'
  /** Outputs up to and including this frame may have left. */
  readonly sequence: number
}

/** An explicit operation: what happens next on this channel is not a failure. */
export interface ByeMessage {
  readonly kind: 'bye'
  readonly reason: ByeReason
}

/**
 * From the primary:
 * - `stop`: the operator ends the VM; the backup ends too and never goes live.
 * - `unprotect`: the primary goes on alone by decision; the backup ends.
 * - `failover`: the primary has stopped and released its last output; the backup takes over now.
 * From the backup:
 * - `diverged`: its state differs from the digest in the log; it ends and never goes live.
 * From either:
 * - `refused`: the hello did not fit (another version, VM, generation or role, or a backup is already bound).
 */
export type ByeReason = 'stop' | 'unprotect' | 'failover' | 'diverged' | 'refused'

/** From the backup: it has taken note of the bye and will act on it; it never goes live because of what follows. */
export interface ByeAckMessage {
  readonly kind: 'bye-ack'
  readonly reason: ByeReason
}

/**
 * From the primary: what explicit operations have made of the machine (`control.ts`), whole each time. It holds for
 * whoever goes live after the frames before this message.
 */
export interface ControlMessage {
  readonly kind: 'control'
  /** Counts the primary's changes; its acknowledgement names it. */
  readonly number: number
  /** The machine runs no slices. */
  readonly paused: boolean
  /** Upper bound of the share of a core it may use, CPU_LIMIT_MIN to 1. */
  readonly shareMax: number
}

/** From the backup: should it go live, that is how. */
export interface ControlAckMessage {
  readonly kind: 'control-ack'
  readonly number: number
}

/** Everything that travels on the logging channel. */
export type ChannelMessage =
  | HelloMessage
  | FrameMessage
  | AckMessage
  | ByeMessage
  | ByeAckMessage
  | BindMessage
  | ControlMessage
  | ControlAckMessage

/**
 * A datagram sent every HEARTBEAT_INTERVAL_MS by both sides.
 *
 * The echo makes it a lease as well: the backup promises not to contend for the next generation until
 * PROMISE_MS after it heard the primary, and the echo tells the primary which of its heartbeats was heard.
 */
export interface Heartbeat {
  readonly version: number
  readonly vm: string
  readonly generation: number
  readonly role: Role
  readonly replica: string
  /** Counts up from 1 in each incarnation, so that a repeated or overtaken heartbeat is no news. */
  readonly sequence: number
  /** The sender's own monotonic clock; means nothing to the receiver, which only hands it back. */
  readonly sentAtMs: number
  /** `sentAtMs` of the newest heartbeat heard from the peer for which the sender's promise stands; −1 for none. */
  readonly echoMs: number
  /** From the primary: outputs up to and including this frame have left. From the backup: 0. */
  readonly releasedSequence: number
}

/** What the protocol needs to know of a log frame; the bytes stay in the shell. */
export interface FrameInfo {
  readonly sequence: number
  /** Bytes of the encoded frame. */
  readonly byteLength: number
  /** How many outputs the slice made; 0 lets the gate forget the frame. */
  readonly outputs: number
  /** Bytes those outputs occupy while held. */
  readonly outputBytes: number
  /** The guest powered itself off in this slice. */
  readonly powerOff: boolean
  /** CPU time that the slice took on the primary, ms; 0 of a frame that was replayed. */
  readonly workMs: number
}

/** What a test-and-set on the shared store came to. */
export type TestAndSetOutcome =
  /** The store now names this replica as the winner of the generation, through this attempt or an earlier one. */
  | 'won'
  /** The store names another replica. */
  | 'lost'
  /** The store did not answer; it may or may not have taken the attempt. */
  | 'unreachable'
