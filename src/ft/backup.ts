import { Arbitration } from './arbitration.ts'
import {
  type BackupConfig,
  type BackupEffect,
  type BackupEnd,
  type BackupEvent,
  type BackupReport,
  type BackupStatus,
  LOG_BYTES_MAX,
} from './backup-events.ts'
import { type ControlState, UNCONTROLLED } from './control.ts'
import { Detector } from './detector.ts'
import { helloOf, type Membership, refusalOf } from './handshake.ts'
import { Heartbeats } from './heartbeats.ts'
import { LogBuffer } from './log-buffer.ts'
import type { ByeReason, ChannelMessage, FrameInfo, Heartbeat, TestAndSetOutcome } from './messages.ts'
import type { LossCause } from './primary-events.ts'
import { ProtocolInvariantError } from './protocol-error.ts'
import { ALL_RULES, type Rules } from './rules.ts'
import { PROMISE_MS, SEVERED_MS_MAX, TICK_IDLE_MS, TICK_MS } from './timing.ts'

/**
 * A backup's states and what leads from one to the next (docs/protocol.md, "The backup"):
 *
 *     new          --start--> joining
 *     joining      --hello of the primary--> following;  --refused, stop--> ended
 *     following    --silence, failover--> arbitrating;  --channel closed--> severed;  --stop, unprotect--> ended
 *     following, not bound yet    --any loss of the primary--> ended
 *     severed      --promise lapsed, and primary silent or undecided--> arbitrating
 *     arbitrating  --won--> draining;  --lost--> ended
 *     draining     --last whole frame consumed--> live
 *     following    --power-off in the log--> ending;  ending --it is executed--> ended
 */
type BackupState =
  | { readonly kind: 'new' }
  | { readonly kind: 'joining' }
  | { readonly kind: 'following'; readonly connection: number }
  | { readonly kind: 'severed'; readonly cause: LossCause; readonly sinceMs: number }
  | { readonly kind: 'arbitrating'; readonly detectionMs: number }
  | {
      readonly kind: 'draining'
      readonly detectionMs: number
      readonly arbitrationMs: number
      readonly sinceMs: number
    }
  | { readonly kind: 'ending' }
  | { readonly kind: 'live' }
  | { readonly kind: 'ended' }

/**
 * Decides for the replica whose machine replays: acknowledges, notices the primary's loss, contends, and goes live or
 * ends. Pure: everything it knows comes through `handle`.
 */
export class Backup {
  readonly #config: BackupConfig
  readonly #rules: Rules
  readonly #logBytesMax: number
  readonly #log: LogBuffer
  readonly #arbitration: Arbitration
  readonly #heartbeats: Heartbeats
  #state: BackupState = { kind: 'new' }
  #effects: BackupEffect[] = []
  #primary: string | null = null
  /** The primary has said that this replica has all that the world knows: it may take over. */
  #isBound = false
  #detector: Detector | null = null
  #ackedExecutedSequence: number
  /** How the machine is to be found if this replica goes live. */
  #control: ControlState = UNCONTROLLED
  /** The primary is known to have released the outputs up to and including this frame. */
  #releasedSequence: number
  /** When the primary was last told, or is about to be told, that it was heard; the promise counts from here. */
  #promisedAtMs = Number.NEGATIVE_INFINITY
  /** When a heartbeat of the primary last came, whether or not a promise goes with it. */
  #heardAtMs = Number.NEGATIVE_INFINITY
  /** `sentAtMs` of the primary's newest heartbeat under the promise. */
  #echoMs = -1

  constructor(config: BackupConfig, rules: Rules = ALL_RULES) {
    this.#config = config
    this.#rules = rules
    this.#logBytesMax = config.logBytesMax ?? LOG_BYTES_MAX
    this.#arbitration = new Arbitration(config.vm, config.replica)
    this.#heartbeats = new Heartbeats(config.vm, 'backup', config.replica)
    this.#log = new LogBuffer(config.sequence, this.#logBytesMax)
    this.#ackedExecutedSequence = config.sequence
    this.#releasedSequence = config.sequence
  }

  /** Takes one event in at a time that never runs backwards; returns what is to be done, in order. */
  handle(event: BackupEvent, nowMs: number): BackupEffect[] {
    this.#effects = []
    const kind = this.#state.kind
    if (kind !== 'ended' && kind !== 'live') this.#dispatch(event, nowMs)
    return this.#effects
  }

  /** How often the shell shall send `tick`, in ms. */
  get tickMs(): number {
    const kind = this.#state.kind
    return kind === 'following' || kind === 'severed' || kind === 'arbitrating' ? TICK_MS : TICK_IDLE_MS
  }

  /** For `ps`, the metrics and the tests. */
  status(): BackupStatus {
    return {
      state: this.#state.kind,
      generation: this.#config.generation,
      primary: this.#isBound ? this.#primary : null,
      heartbeatAtMs: Number.isFinite(this.#heardAtMs) ? this.#heardAtMs : null,
      receivedSequence: this.#log.receivedSequence,
      executedSequence: this.#log.executedSequence,
      bufferedBytes: this.#log.bytes,
      control: this.#control,
    }
  }

  #dispatch(event: BackupEvent, nowMs: number): void {
    switch (event.kind) {
      case 'start':
        if (this.#state.kind !== 'new') throw new ProtocolInvariantError('a backup was started twice')
        this.#state = { kind: 'joining' }
        return
      case 'tick':
        this.#tick(nowMs)
        return
      case 'channel-opened':
        this.#opened(event.connection)
        return
      case 'channel-message':
        this.#message(event.connection, event.message, nowMs)
        return
      case 'frame-received':
        this.#received(event, nowMs)
        return
      case 'channel-closed':
        this.#closed(event.connection, nowMs)
        return
      case 'heartbeat':
        this.#heartbeat(event.heartbeat, nowMs)
        return
      case 'frame-executed':
        this.#executed(event.frame, nowMs)
        return
      case 'diverged':
        this.#diverged()
        return
      case 'test-and-set-result':
        this.#answered(event.generation, event.outcome, nowMs)
        return
      case 'operation':
        this.#end('stopped')
        return
    }
  }

  #opened(connection: number): void {
    if (this.#state.kind !== 'joining') {
      this.#effects.push({ kind: 'close-channel', connection })
      return
    }
    this.#send(connection, helloOf(this.#membership()))
  }

  #membership(): Membership {
    return {
      vm: this.#config.vm,
      generation: this.#config.generation,
      replica: this.#config.replica,
      role: 'backup',
      sequence: this.#config.sequence,
      logBytesMax: this.#logBytesMax,
    }
  }

  #tick(nowMs: number): void {
    const attempt = this.#arbitration.tick(nowMs)
    if (attempt !== null) this.#effects.push(attempt)
    const state = this.#state
    if (state.kind === 'severed') {
      this.#tickSevered(state, nowMs)
      return
    }
    if (state.kind !== 'following') return
    if (this.#detector!.tick(nowMs) === 'gone') {
      this.#sever(state.connection, 'silence', nowMs)
      return
    }
    this.#beat(nowMs)
    if (this.#log.executedSequence > this.#ackedExecutedSequence) this.#acknowledge(state.connection)
  }

  #tickSevered(state: Extract<BackupState, { kind: 'severed' }>, nowMs: number): void {
    this.#detector!.tick(nowMs)
    if (nowMs < this.#promisedAtMs + PROMISE_MS) return
    const heard = nowMs < this.#heardAtMs + PROMISE_MS
    // A primary that can be heard is left to decide by itself, but not for ever: it may not reach the store.
    if (state.cause === 'channel-closed' && heard && nowMs < state.sinceMs + SEVERED_MS_MAX) return
    this.#lost(state.cause, nowMs)
  }

  #beat(nowMs: number): void {
    const own = { generation: this.#config.generation, echoMs: this.#echoMs, releasedSequence: 0 }
    const heartbeat = this.#heartbeats.due(own, nowMs)
    if (heartbeat !== null) this.#effects.push({ kind: 'send-heartbeat', heartbeat })
  }

  #message(connection: number, message: ChannelMessage, nowMs: number): void {
    const state = this.#state
    if (state.kind === 'joining') {
      this.#joining(connection, message, nowMs)
      return
    }
    if (state.kind !== 'following' || state.connection !== connection) {
      this.#effects.push({ kind: 'close-channel', connection })
      return
    }
    this.#heard(nowMs)
    this.#detector!.heardTraffic(nowMs)
    if (message.kind === 'bye') {
      this.#bye(connection, message.reason, nowMs)
      return
    }
    if (message.kind === 'control') {
      const { paused, shareMax, number } = message
      this.#control = { paused, shareMax }
      this.#send(connection, { kind: 'control-ack', number })
      return
    }
    const mayBind = !this.#isBound || !this.#rules.bind
    if (message.kind === 'bind' && mayBind && message.sequence <= this.#log.receivedSequence) {
      this.#isBound = true
      this.#report({ type: 'protected', generation: this.#config.generation, primary: this.#primary! })
      return
    }
    this.#sever(connection, 'protocol', nowMs)
  }

  #joining(connection: number, message: ChannelMessage, nowMs: number): void {
    if (message.kind === 'bye') {
      this.#end(message.reason === 'stop' ? 'stopped' : 'refused')
      return
    }
    const refusal = message.kind === 'hello' ? refusalOf(this.#membership(), message) : 'role'
    if (message.kind !== 'hello' || refusal !== null) {
      this.#report({ type: 'refused', code: refusal ?? 'role' })
      this.#effects.push({ kind: 'close-channel', connection })
      return
    }
    this.#state = { kind: 'following', connection }
    this.#primary = message.replica
    this.#isBound = !this.#rules.bind
    this.#detector = new Detector(nowMs)
    this.#heard(nowMs)
    this.#beat(nowMs)
  }

  #bye(connection: number, reason: ByeReason, nowMs: number): void {
    this.#send(connection, { kind: 'bye-ack', reason })
    if (reason === 'stop') {
      this.#end('stopped')
      return
    }
    if (reason === 'unprotect') {
      this.#end('unprotected')
      return
    }
    if (reason !== 'failover') {
      this.#sever(connection, 'protocol', nowMs)
      return
    }
    this.#effects.push({ kind: 'close-channel', connection })
    if (!this.#isBound) {
      this.#end('unbound')
      return
    }
    // The primary has stopped for good before it said so: the promise protects nothing any more.
    this.#lost('operation', nowMs)
  }

  #received(frame: Extract<BackupEvent, { kind: 'frame-received' }>, nowMs: number): void {
    const state = this.#state
    // Frames that come after this replica has begun to contend were never acknowledged and never will be.
    if (state.kind !== 'following' || state.connection !== frame.connection) return
    if (!this.#log.accept(frame.sequence, frame.byteLength)) {
      this.#sever(state.connection, 'protocol', nowMs)
      return
    }
    this.#heard(nowMs)
    this.#detector!.heardTraffic(nowMs)
    this.#effects.push({ kind: 'accept-frame', sequence: frame.sequence })
    this.#acknowledge(state.connection)
    this.#released(frame.releasedSequence)
    // The end is in the log: whatever happens to the primary now, there is nothing to take over.
    if (frame.powerOff) this.#state = { kind: 'ending' }
  }

  #acknowledge(connection: number): void {
    const { receivedSequence, executedSequence } = this.#log
    this.#ackedExecutedSequence = executedSequence
    this.#send(connection, { kind: 'ack', receivedSequence, executedSequence })
  }

  #released(sequence: number): void {
    if (sequence <= this.#releasedSequence || sequence > this.#log.receivedSequence) return
    this.#releasedSequence = sequence
    this.#effects.push({ kind: 'forget-outputs', throughSequence: sequence })
  }

  #heard(nowMs: number): void {
    this.#promisedAtMs = nowMs
  }

  #heartbeat(heartbeat: Heartbeat, nowMs: number): void {
    const state = this.#state
    if (state.kind !== 'following' && state.kind !== 'severed') return
    if (!this.#heartbeats.hear(heartbeat, this.#primary!, this.#config.generation)) {
      this.#effects.push({ kind: 'heartbeat-refused' })
      return
    }
    this.#heardAtMs = nowMs
    this.#detector!.heardHeartbeat(nowMs)
    this.#released(heartbeat.releasedSequence)
    // Without a channel there is no promise: the echo stays at what was heard under it.
    if (state.kind === 'severed') return
    this.#echoMs = heartbeat.sentAtMs
    this.#heard(nowMs)
  }

  #executed(frame: FrameInfo, nowMs: number): void {
    this.#log.executed(frame.sequence)
    const state = this.#state
    if (frame.powerOff) {
      this.#end('power-off')
      return
    }
    if (state.kind === 'draining') this.#goLiveWhenDrained(state, nowMs)
  }

  #diverged(): void {
    const state = this.#state
    if (state.kind === 'following') this.#send(state.connection, { kind: 'bye', reason: 'diverged' })
    this.#end('diverged')
  }

  #closed(connection: number, nowMs: number): void {
    const state = this.#state
    if (state.kind !== 'following' || state.connection !== connection) return
    if (!this.#isBound) this.#end('unbound')
    else this.#state = { kind: 'severed', cause: 'channel-closed', sinceMs: nowMs }
  }

  /** Stops listening and acknowledging, at once; contends when the promise has lapsed. */
  #sever(connection: number, cause: LossCause, nowMs: number): void {
    this.#effects.push({ kind: 'close-channel', connection })
    if (!this.#isBound) {
      this.#end('unbound')
      return
    }
    const state = { kind: 'severed', cause, sinceMs: nowMs } as const
    this.#state = state
    this.#tickSevered(state, nowMs)
  }

  /** The primary is lost, or may be: whoever wins the next generation goes on. */
  #lost(cause: LossCause, nowMs: number): void {
    const detectionMs = this.#detector!.silenceMs
    const generation = this.#config.generation
    this.#report({ type: 'lost-primary', generation, cause, detectionMs })
    this.#state = { kind: 'arbitrating', detectionMs }
    const attempt = this.#arbitration.begin(generation + 1, nowMs)
    if (this.#rules.testAndSet) this.#effects.push(attempt)
    else this.#answered(generation + 1, 'won', nowMs)
  }

  #answered(generation: number, outcome: TestAndSetOutcome, nowMs: number): void {
    const verdict = this.#arbitration.answer(generation, outcome, nowMs)
    const state = this.#state
    if (verdict === null || state.kind !== 'arbitrating') return
    if (verdict.outcome === 'lost') {
      this.#end('lost-arbitration')
      return
    }
    const draining = {
      kind: 'draining',
      detectionMs: state.detectionMs,
      arbitrationMs: verdict.durationMs,
      sinceMs: nowMs,
    } as const
    this.#state = draining
    this.#goLiveWhenDrained(draining, nowMs)
  }

  #goLiveWhenDrained(state: Extract<BackupState, { kind: 'draining' }>, nowMs: number): void {
    if (this.#rules.wholeFrame && !this.#log.drained) return
    this.#state = { kind: 'live' }
    const generation = this.#config.generation + 1
    const sequence = this.#log.executedSequence
    const drainMs = nowMs - state.sinceMs
    const { detectionMs, arbitrationMs } = state
    this.#effects.push(
      { kind: 'go-live', generation, sequence, control: this.#control },
      { kind: 'reissue-disk-io' },
      { kind: 'announce-mac' },
      { kind: 'release-outputs', fromSequence: this.#releasedSequence + 1, throughSequence: sequence },
    )
    if (!this.#control.paused) this.#effects.push({ kind: 'run', run: true })
    this.#report({ type: 'went-live', generation, sequence, detectionMs, arbitrationMs, drainMs })
  }

  #send(connection: number, message: Exclude<ChannelMessage, { kind: 'frame' }>): void {
    this.#effects.push({ kind: 'send', connection, message })
  }

  #report(report: BackupReport): void {
    this.#effects.push({ kind: 'report', report })
  }

  #end(reason: BackupEnd): void {
    this.#state = { kind: 'ended' }
    this.#report({ type: 'halted', generation: this.#config.generation, reason })
    this.#effects.push({ kind: 'end', reason })
  }
}
