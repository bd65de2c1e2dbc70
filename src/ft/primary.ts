import { Admission } from './admission.ts'
import { Arbitration } from './arbitration.ts'
import { LOG_BYTES_MAX } from './backup-events.ts'
import { Bond } from './bond.ts'
import { Control, type ControlState, UNCONTROLLED } from './control.ts'
import { helloOf, refusalOf } from './handshake.ts'
import { LagControl } from './lag.ts'
import type {
  AckMessage,
  ByeReason,
  ChannelMessage,
  FrameInfo,
  HelloMessage,
  TestAndSetOutcome,
} from './messages.ts'
import { OutputGate } from './output-gate.ts'
import { Patience } from './patience.ts'
import type {
  LossCause,
  PrimaryConfig,
  PrimaryEffect,
  PrimaryEnd,
  PrimaryEvent,
  PrimaryReport,
  PrimaryStatus,
} from './primary-events.ts'
import type { ExplicitOperation, Intent, PrimaryState } from './primary-state.ts'
import { ProtocolInvariantError } from './protocol-error.ts'
import { ALL_RULES, type Rules } from './rules.ts'
import { shouldStall } from './stall.ts'
import { CLOSING_MS_MAX, FAILOVER_MS_MAX, TICK_IDLE_MS, TICK_MS } from './timing.ts'

/** States in which something is due within a tick; in the others nothing is urgent. */
const URGENT: ReadonlySet<PrimaryState['kind']> = new Set(['claiming', 'protected', 'closing', 'arbitrating'])

/**
 * Decides for the replica whose machine is live: records, sends, holds outputs until they may leave, and goes on
 * alone or halts when the backup is lost. Pure: everything it knows comes through `handle`.
 */
export class Primary {
  readonly #config: PrimaryConfig
  readonly #rules: Rules
  readonly #arbitration: Arbitration
  readonly #gate: OutputGate
  readonly #lag = new LagControl()
  readonly #control: Control
  #patience = new Patience()
  #generation: number
  #state: PrimaryState = { kind: 'new' }
  #effects: PrimaryEffect[] = []
  /** A backup that called before the generation was claimed; it is answered once it is. */
  #early: { readonly connection: number; readonly hello: HelloMessage } | null = null
  /** While alone: the copy of the machine that is to become the backup. */
  #admission: Admission | null = null
  #running = false
  /** What the CPU thread was last told. */
  #share = 1
  #powerOff = false

  constructor(config: PrimaryConfig, rules: Rules = ALL_RULES) {
    this.#config = config
    this.#rules = rules
    this.#generation = config.generation
    this.#control = new Control(config.control ?? UNCONTROLLED)
    this.#arbitration = new Arbitration(config.vm, config.replica)
    this.#gate = new OutputGate(config.sequence)
  }

  /** Takes one event in at a time that never runs backwards; returns what is to be done, in order. */
  handle(event: PrimaryEvent, nowMs: number): PrimaryEffect[] {
    this.#effects = []
    if (this.#state.kind !== 'ended') this.#dispatch(event, nowMs)
    // Once for every event, so that no path that frees a buffer forgets to let the machine run again.
    this.#adjustRunning()
    this.#adjustShare()
    return this.#effects
  }

  /** How often the shell shall send `tick`, in ms. */
  get tickMs(): number {
    return URGENT.has(this.#state.kind) ? TICK_MS : TICK_IDLE_MS
  }

  /** For `ps`, the metrics and the tests. */
  status(nowMs: number): PrimaryStatus {
    const bond = this.#bond()
    return {
      state: this.#state.kind,
      generation: this.#generation,
      backup: bond?.backup ?? null,
      candidate: this.#admission?.replica ?? null,
      lagMs: bond?.lagMs(nowMs) ?? null,
      heartbeatAtMs: bond?.heartbeatAtMs ?? null,
      share: Math.min(this.#lag.share, this.#control.state.shareMax),
      control: this.#control.confirmed,
      stalled: this.#shouldStall(),
      heldOutputBytes: this.#gate.heldBytes,
      releasedSequence: this.#gate.releasedSequence,
    }
  }

  #dispatch(event: PrimaryEvent, nowMs: number): void {
    switch (event.kind) {
      case 'start':
        this.#start(nowMs)
        return
      case 'tick':
        this.#tick(nowMs)
        return
      case 'channel-opened':
        return
      case 'channel-message':
        this.#message(event.connection, event.message, nowMs)
        return
      case 'channel-closed':
        this.#closed(event.connection, nowMs)
        return
      case 'heartbeat':
        if (this.#bond()?.heartbeat(event.heartbeat, nowMs) === false) {
          this.#effects.push({ kind: 'heartbeat-refused' })
        }
        this.#release(nowMs)
        return
      case 'frame-recorded':
        this.#recorded(event.frame, nowMs)
        return
      case 'test-and-set-result':
        this.#answered(event.generation, event.outcome, nowMs)
        return
      case 'admit':
        this.#admit(event.replica, event.sequence, nowMs)
        return
      case 'operation':
        this.#operation(event.operation, nowMs)
        return
      case 'control':
        this.#controlled(event.change)
        return
    }
  }

  #start(nowMs: number): void {
    if (this.#state.kind !== 'new') throw new ProtocolInvariantError('a primary was started twice')
    if (this.#config.begin === 'live') {
      this.#state = { kind: 'alone' }
      this.#running = this.#mayRun()
      return
    }
    this.#state = { kind: 'claiming' }
    this.#effects.push(this.#arbitration.begin(this.#generation, nowMs))
  }

  #bond(): Bond | null {
    const state = this.#state
    return state.kind === 'protected' || state.kind === 'closing' ? state.bond : null
  }

  #tick(nowMs: number): void {
    const attempt = this.#arbitration.tick(nowMs)
    if (attempt !== null) this.#effects.push(attempt)
    if (this.#admission?.expired(nowMs)) this.#notAdmitted('stalled')
    const state = this.#state
    if (state.kind !== 'protected' && state.kind !== 'closing') return
    if (state.bond.tick(nowMs) === 'gone') {
      this.#lost('silence', nowMs)
      return
    }
    if (state.bond.stalled(nowMs)) {
      this.#lost('stalled', nowMs)
      return
    }
    if (state.kind === 'closing' && nowMs >= state.untilMs) {
      this.#lost('operation', nowMs)
      return
    }
    this.#beat(state.bond, nowMs)
    this.#lag.sample(state.bond.work, nowMs)
    this.#release(nowMs)
    if (this.#patience.tick(this.#lag.share, state.bond.lagMs(nowMs), nowMs)) this.#lost('too-slow', nowMs)
  }

  #beat(bond: Bond, nowMs: number): void {
    const heartbeat = bond.beat(this.#gate.releasedSequence, nowMs)
    if (heartbeat !== null) this.#effects.push({ kind: 'send-heartbeat', heartbeat })
  }

  #message(connection: number, message: ChannelMessage, nowMs: number): void {
    const bond = this.#bond()
    if (bond === null || bond.connection !== connection) {
      if (message.kind === 'hello') this.#hello(connection, message, nowMs)
      else this.#effects.push({ kind: 'close-channel', connection })
      return
    }
    bond.traffic(nowMs)
    switch (message.kind) {
      case 'ack':
        this.#acknowledged(bond, message, nowMs)
        return
      case 'bye-ack':
        this.#confirmed(connection, message.reason)
        return
      case 'control-ack':
        this.#controlAcknowledged(message.number, nowMs)
        return
      case 'bye':
        this.#lost(message.reason === 'diverged' ? 'diverged' : 'operation', nowMs)
        return
      case 'hello':
      case 'frame':
      case 'bind':
      case 'control':
        this.#lost('protocol', nowMs)
        return
    }
  }

  #hello(connection: number, theirs: HelloMessage, nowMs: number): void {
    if (this.#state.kind === 'claiming') {
      this.#early = { connection, hello: theirs }
      return
    }
    const admission = this.#admission?.replica === theirs.replica ? this.#admission : null
    const own = this.#ownHello(admission?.sequence ?? this.#gate.lastSequence)
    const isAwaited = this.#state.kind === 'waiting' || admission !== null
    const refusal = isAwaited ? refusalOf(own, theirs) : 'not-waiting'
    if (refusal !== null) {
      this.#send(connection, { kind: 'bye', reason: 'refused' })
      this.#effects.push({ kind: 'close-channel', connection })
      this.#report({ type: 'refused', code: refusal })
      return
    }
    this.#send(connection, own)
    const bond = new Bond(connection, own, theirs, nowMs)
    for (const frame of admission?.frames ?? []) {
      bond.sent(frame, nowMs)
      this.#sendFrame(connection, frame)
    }
    // Before it is bound: who may take over knows how the machine is to be found.
    if (this.#control.state !== UNCONTROLLED) this.#send(connection, this.#control.message)
    // This binds: from here on the backup may contend, so no other may be taken without arbitration.
    this.#send(connection, { kind: 'bind', sequence: this.#gate.releasedSequence })
    this.#state = { kind: 'protected', bond }
    this.#patience = new Patience()
    this.#report({ type: 'protected', generation: this.#generation, backup: bond.backup })
    this.#beat(bond, nowMs)
    if (admission === null) this.#effects.push({ kind: 'go-live', generation: this.#generation })
    else this.#forgetAdmission()
  }

  #admit(replica: string, sequence: number, nowMs: number): void {
    const isAtEnd = sequence === this.#gate.lastSequence
    if (this.#state.kind !== 'alone' || this.#admission !== null || this.#powerOff || !isAtEnd) {
      this.#report({ type: 'not-admitted', generation: this.#generation, cause: 'operation' })
      return
    }
    this.#admission = new Admission(replica, sequence, LOG_BYTES_MAX, nowMs)
    this.#effects.push({ kind: 'keep-frames', keep: true })
  }

  /** The candidate is given up; it was never bound, so nothing is lost. */
  #notAdmitted(cause: LossCause): void {
    if (this.#admission === null) return
    this.#forgetAdmission()
    this.#report({ type: 'not-admitted', generation: this.#generation, cause })
  }

  #forgetAdmission(): void {
    this.#admission = null
    this.#effects.push({ kind: 'keep-frames', keep: false })
  }

  #ownHello(sequence: number): HelloMessage {
    return helloOf({
      vm: this.#config.vm,
      generation: this.#generation,
      replica: this.#config.replica,
      role: 'primary',
      sequence,
      logBytesMax: LOG_BYTES_MAX,
    })
  }

  #closed(connection: number, nowMs: number): void {
    if (this.#early?.connection === connection) this.#early = null
    if (this.#bond()?.connection !== connection) return
    const state = this.#state
    // A backup that takes over closes the channel; taking the machine back at once would race it for no reason.
    if (state.kind === 'closing' && state.operation === 'failover') return
    this.#lost('channel-closed', nowMs)
  }

  #recorded(frame: FrameInfo, nowMs: number): void {
    const state = this.#state
    this.#gate.hold(frame.sequence, frame.outputs, frame.outputBytes)
    if (frame.powerOff) this.#powerOff = true
    switch (state.kind) {
      case 'protected':
        state.bond.sent(frame, nowMs)
        this.#sendFrame(state.bond.connection, frame)
        this.#release(nowMs)
        break
      case 'alone':
        this.#admission?.recorded(frame)
        this.#releaseThrough(frame.sequence)
        if (frame.powerOff) this.#end('power-off')
        break
      case 'closing':
      case 'arbitrating':
        // No backup will have it; it is held until it is known who goes on.
        break
      default:
        throw new ProtocolInvariantError(`frame ${frame.sequence} was recorded in state ${state.kind}`)
    }
  }

  #sendFrame(connection: number, { sequence, powerOff }: FrameInfo): void {
    const { releasedSequence } = this.#gate
    this.#effects.push({ kind: 'send-frame', connection, sequence, releasedSequence, powerOff })
  }

  #acknowledged(bond: Bond, ack: AckMessage, nowMs: number): void {
    if (!bond.acknowledge(ack.receivedSequence, ack.executedSequence)) {
      this.#lost('protocol', nowMs)
      return
    }
    this.#lag.acknowledged(bond.work.waitingMs)
    this.#release(nowMs)
  }

  /** Releases what the Output Rule and the lease allow. */
  #release(nowMs: number): void {
    const state = this.#state
    if (state.kind !== 'protected') return
    const last = this.#gate.lastSequence
    const through = this.#rules.outputRule ? state.bond.ackedSequence : last
    const poweredOff = this.#powerOff && through === last
    // A backup that has the power-off in its log never contends: no lease is needed then.
    if (this.#rules.promise && !poweredOff && !state.bond.leaseStands(nowMs)) return
    this.#releaseThrough(through)
    if (!poweredOff) return
    this.#effects.push({ kind: 'close-channel', connection: state.bond.connection })
    this.#end('power-off')
  }

  #releaseThrough(sequence: number): void {
    if (this.#gate.release(sequence))
      this.#effects.push({ kind: 'release-outputs', throughSequence: sequence })
  }

  /** The backup is lost, or may be: whoever wins the next generation goes on. */
  #lost(cause: LossCause, nowMs: number): void {
    const bond = this.#bond()
    if (bond === null) return
    const detectionMs = bond.silenceMs
    this.#report({ type: 'lost-backup', generation: this.#generation, cause, detectionMs })
    this.#effects.push({ kind: 'close-channel', connection: bond.connection })
    this.#state = { kind: 'arbitrating', intent: this.#intent() }
    this.#lag.lift()
    this.#contend(this.#generation + 1, nowMs)
  }

  #intent(): Intent {
    const state = this.#state
    if (state.kind === 'closing' && state.operation !== 'unprotect') return state.operation
    return 'go-on'
  }

  #contend(generation: number, nowMs: number): void {
    const attempt = this.#arbitration.begin(generation, nowMs)
    if (this.#rules.testAndSet) this.#effects.push(attempt)
    else this.#answered(generation, 'won', nowMs)
  }

  #answered(generation: number, outcome: TestAndSetOutcome, nowMs: number): void {
    const verdict = this.#arbitration.answer(generation, outcome, nowMs)
    if (verdict === null) return
    const state = this.#state
    if (state.kind !== 'claiming' && state.kind !== 'arbitrating') {
      throw new ProtocolInvariantError(`a verdict on generation ${generation} came in state ${state.kind}`)
    }
    if (verdict.outcome === 'lost') {
      const failedOver = state.kind === 'arbitrating' && state.intent === 'failover'
      this.#end(failedOver ? 'failed-over' : 'lost-arbitration')
      return
    }
    this.#generation = generation
    if (state.kind === 'claiming' && this.#config.begin === 'protected') {
      this.#state = { kind: 'waiting' }
      if (this.#early !== null) this.#hello(this.#early.connection, this.#early.hello, nowMs)
      return
    }
    if (state.kind === 'arbitrating' && state.intent === 'stop') {
      this.#end('stopped')
      return
    }
    this.#goOnAlone(state.kind === 'claiming' ? 0 : verdict.durationMs)
  }

  #goOnAlone(arbitrationMs: number): void {
    this.#state = { kind: 'alone' }
    this.#effects.push({ kind: 'go-live', generation: this.#generation })
    this.#report({ type: 'unprotected', generation: this.#generation, arbitrationMs })
    this.#lag.lift()
    this.#confirmControl()
    this.#releaseThrough(this.#gate.lastSequence)
    if (this.#powerOff) this.#end('power-off')
  }

  #operation(operation: ExplicitOperation, nowMs: number): void {
    const state = this.#state
    if (state.kind === 'protected' && !this.#powerOff) {
      const untilMs = nowMs + (operation === 'failover' ? FAILOVER_MS_MAX : CLOSING_MS_MAX)
      this.#send(state.bond.connection, { kind: 'bye', reason: operation })
      this.#state = { kind: 'closing', bond: state.bond, operation, untilMs }
      return
    }
    if (operation === 'unprotect' && state.kind === 'waiting') {
      this.#goOnAlone(0)
      return
    }
    if (operation !== 'failover') this.#notAdmitted('operation')
    if (operation !== 'stop') return
    if (state.kind === 'closing') this.#state = { ...state, operation: 'stop' }
    else if (state.kind === 'arbitrating') this.#state = { kind: 'arbitrating', intent: 'stop' }
    else if (state.kind !== 'protected') this.#end('stopped')
  }

  /** The backup confirmed the operation: it has ended, or for `failover` it contends now. */
  #confirmed(connection: number, reason: ByeReason): void {
    const state = this.#state
    if (state.kind !== 'closing' || state.operation !== reason || reason === 'failover') return
    this.#effects.push({ kind: 'close-channel', connection })
    if (reason === 'stop') this.#end('stopped')
    else this.#goOnAlone(0)
  }

  #send(connection: number, message: Exclude<ChannelMessage, { kind: 'frame' }>): void {
    this.#effects.push({ kind: 'send', connection, message })
  }

  /** Takes effect here at once; it is done when it would survive a takeover. */
  #controlled(change: Partial<ControlState>): void {
    if (this.#powerOff || !this.#control.change(change)) return
    const state = this.#state
    if (state.kind === 'protected') this.#send(state.bond.connection, this.#control.message)
    else if (state.kind !== 'closing' && state.kind !== 'arbitrating') this.#confirmControl()
  }

  #controlAcknowledged(number: number, nowMs: number): void {
    const verdict = this.#control.acknowledged(number)
    if (verdict === 'nonsense') this.#lost('protocol', nowMs)
    // While an explicit operation ends the pair, what the ended backup knew says nothing about who goes on.
    else if (verdict === 'newest' && this.#state.kind === 'protected') this.#confirmControl()
  }

  #confirmControl(): void {
    for (const report of this.#control.confirm(this.#generation)) this.#report(report)
  }

  #adjustShare(): void {
    const share = Math.min(this.#lag.throttled, this.#control.state.shareMax)
    if (this.#state.kind === 'ended' || share === this.#share) return
    this.#share = share
    this.#effects.push({ kind: 'throttle', share })
  }

  #adjustRunning(): void {
    if (this.#state.kind === 'ended') return
    const run = this.#mayRun()
    if (run === this.#running) return
    this.#running = run
    this.#effects.push({ kind: 'run', run })
  }

  #mayRun(): boolean {
    const state = this.#state
    if (this.#powerOff || this.#control.state.paused || this.#shouldStall()) return false
    if (state.kind === 'closing') return state.operation === 'unprotect'
    // While it arbitrates it may be void already: what it ran would be for nothing, and a guest that waits out an
    // unreachable store asleep does not see its own peers time out.
    return state.kind === 'protected' || state.kind === 'alone'
  }

  #shouldStall(): boolean {
    return shouldStall(this.#running, this.#gate.heldBytes, this.#bond())
  }

  #report(report: PrimaryReport): void {
    this.#effects.push({ kind: 'report', report })
  }

  #end(reason: PrimaryEnd): void {
    this.#state = { kind: 'ended' }
    this.#report({ type: 'halted', generation: this.#generation, reason })
    this.#effects.push({ kind: 'end', reason })
  }
}
