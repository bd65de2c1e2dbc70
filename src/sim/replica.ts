import { Backup } from '../ft/backup.ts'
import type { BackupEffect, BackupEvent } from '../ft/backup-events.ts'
import { ChannelDecoder, encodeMessage } from '../ft/channel-codec.ts'
import { decodeHeartbeat, encodeHeartbeat } from '../ft/heartbeat-codec.ts'
import type { ChannelMessage, FrameInfo } from '../ft/messages.ts'
import { Primary } from '../ft/primary.ts'
import type { PrimaryEffect, PrimaryEvent } from '../ft/primary-events.ts'
import type { Connection, Endpoint } from './connection.ts'
import {
  type CounterFrame,
  CounterMachine,
  type CounterOutput,
  decodeCounterFrame,
  encodeCounterFrame,
} from './counter-machine.ts'
import { Process } from './process.ts'
import type { World } from './world.ts'

/** The state of a machine behind its frame `sequence`, and the generation it is live in. */
export interface Clone {
  readonly machine: CounterMachine
  readonly sequence: number
  readonly generation: number
}

/** A host, and the process on it that a replica is. */
export interface Place {
  readonly host: string
  readonly process: Process
}

export type Effect = PrimaryEffect | BackupEffect
export type ProtocolEvent = PrimaryEvent | BackupEvent

const VM = 'vm'
/** In these worlds nobody forges: what is tried are old, late and repeated heartbeats. */
export const PAIR_KEY = new Uint8Array(32)
/** A backup that is not joined yet dials again after this. */
const REDIAL_MS = 40

/**
 * The shell around the protocol in the simulated world: what `src/replica` is in the real one. It runs the machine,
 * carries out effects, and may be paused between any two of them.
 */
export class Replica implements Endpoint {
  readonly name: string
  readonly host: string
  readonly process: Process
  readonly machine: CounterMachine
  /** It went on from a copy of another replica's machine. */
  readonly isClone: boolean
  readonly #world: World
  #wasBound = false
  #protocol: Primary | Backup
  #peer: Replica | null = null
  readonly #connections = new Map<
    number,
    { readonly connection: Connection; readonly decoder: ChannelDecoder }
  >()
  #pauseAtEffectMs: number | null = null
  #ended = false
  /** Inputs that wait for the next slice. */
  #requests: number[] = []
  #completions: number[] = []
  #powerOffWanted = false
  /** Outputs of frames, held until released or forgotten. */
  #held: { readonly sequence: number; readonly outputs: CounterOutput[] }[] = []
  /** Frames received and not told to accept yet; then the log buffer. */
  readonly #arrived = new Map<number, Uint8Array>()
  #logBuffer: CounterFrame[] = []
  #replaying = false
  #sequence = 0
  #run = false
  #inSlice = false
  #share = 1
  /** Generation under which this replica sends; 0 before it ever was live. */
  generation = 0

  /**
   * `clone` is what a backup goes on from that is not there from the beginning; `place` is where it runs, on a host of its own
   * otherwise.
   */
  constructor(
    world: World,
    name: string,
    role: 'primary' | 'backup',
    begin: 'protected' | 'alone',
    clone: Clone | null = null,
    place: Place | null = null,
  ) {
    this.#world = world
    this.name = name
    this.host = place?.host ?? name
    this.process = place?.process ?? new Process(world.scheduler, world.random)
    this.isClone = clone !== null
    this.machine = clone?.machine ?? new CounterMachine()
    this.#sequence = clone?.sequence ?? 0
    const identity = { vm: VM, generation: clone?.generation ?? 1, replica: name, sequence: this.#sequence }
    this.#protocol =
      role === 'primary'
        ? new Primary({ ...identity, begin }, world.rules)
        : new Backup(identity, world.rules)
  }

  /** Starts the process; a backup dials `peer`. */
  start(peer: Replica | null): void {
    this.#peer = peer
    this.step({ kind: 'start' })
    this.#planTick()
    if (this.#protocol instanceof Backup) this.#dial()
  }

  /**
   * Fixes the hand-over point and copies the machine for a replica of that name; null unless it is alone. The copy may take
   * as long as it likes to get there.
   */
  cloneFor(name: string): Clone | null {
    if (!this.process.up || !this.isAlone || !(this.#protocol instanceof Primary)) return null
    const { generation } = this.#protocol.status(0)
    const clone = { machine: this.machine.copy(), sequence: this.#sequence, generation }
    this.step({ kind: 'admit', replica: name, sequence: clone.sequence })
    return clone
  }

  /** The other replica, for heartbeats. */
  meet(peer: Replica): void {
    this.#peer = peer
  }

  get protocol(): Primary | Backup {
    return this.#protocol
  }

  get ended(): boolean {
    return this.#ended
  }

  /** Can be counted on to do its part: neither dead nor ended. */
  get alive(): boolean {
    return !this.#ended && !this.process.dead
  }

  /** Its machine is the live one of its generation, as far as it knows. */
  get serves(): boolean {
    if (this.#protocol instanceof Backup) return this.#protocol.status().state === 'live'
    const { state } = this.#protocol.status(0)
    return state === 'protected' || state === 'alone'
  }

  /** It is live and has no backup, nor anybody who is to become one. */
  get isAlone(): boolean {
    if (!(this.#protocol instanceof Primary)) return false
    const { state, candidate } = this.#protocol.status(0)
    return state === 'alone' && candidate === null && !this.machine.halted
  }

  /** The replica that is to become its backup. */
  get candidate(): string | null {
    return this.#protocol instanceof Primary ? this.#protocol.status(0).candidate : null
  }

  /** It is live, and its death would be the machine's. */
  get isUnprotected(): boolean {
    return this.#protocol instanceof Primary && this.#protocol.status(0).state === 'alone'
  }

  /** A primary that has not met a backup yet; nothing has begun. */
  get waits(): boolean {
    return this.#protocol instanceof Primary && this.#protocol.status(0).state === 'waiting'
  }

  /** It has lost the other and may go live, or on, by winning. */
  get contends(): boolean {
    const { state } = this.#protocol instanceof Backup ? this.#protocol.status() : this.#protocol.status(0)
    return state === 'arbitrating' || state === 'severed' || state === 'draining' || state === 'closing'
  }

  /** It was, or is, the backup of some primary. */
  get wasBound(): boolean {
    return this.#wasBound || this.boundTo !== null
  }

  /** The primary whose backup this is, or null before the handshake and after going live. */
  get boundTo(): string | null {
    return this.#protocol instanceof Backup ? this.#protocol.status().primary : null
  }

  /** The process is killed; `silently` when its host dies with it. */
  kill(silently: boolean): void {
    this.process.die()
    if (silently) return
    for (const { connection } of this.#connections.values()) connection.die(this, this.#world.random)
  }

  /** The process stops between two effects of its next step; null calls that off. */
  pauseAtNextEffect(forMs: number | null): void {
    this.#pauseAtEffectMs = forMs
  }

  resetConnections(): void {
    for (const { connection } of [...this.#connections.values()]) connection.reset()
  }

  /** One step of the protocol, and all it asks for. */
  step(event: ProtocolEvent): void {
    if (this.#ended || this.process.dead) return
    if (!this.process.up) {
      this.process.deliver(() => this.step(event))
      return
    }
    const before = this.#protocol
    const nowMs = this.process.clockMs
    const effects: Effect[] =
      before instanceof Primary
        ? before.handle(event as PrimaryEvent, nowMs)
        : before.handle(event as BackupEvent, nowMs)
    this.#world.stepped(this, event, effects)
    this.#perform(effects)
  }

  #perform(effects: readonly Effect[]): void {
    for (let index = 0; index < effects.length; index++) {
      if (this.#pauseAtEffectMs !== null && this.#world.random.chance(0.5)) {
        const forMs = this.#pauseAtEffectMs
        this.#pauseAtEffectMs = null
        this.process.pause(forMs)
        this.process.resumeWith(() => this.#perform(effects.slice(index)))
        return
      }
      this.#carryOut(effects[index]!)
    }
  }

  #carryOut(effect: Effect): void {
    switch (effect.kind) {
      case 'send':
        this.#connections.get(effect.connection)?.connection.write(this, encodeMessage(effect.message))
        return
      case 'send-frame':
        this.#sendFrame(effect)
        return
      case 'keep-frames':
        this.#keepsFrames = effect.keep
        if (!effect.keep) this.#recorded.clear()
        return
      case 'close-channel':
        this.#connections.get(effect.connection)?.connection.close(this)
        this.#connections.delete(effect.connection)
        if (this.#protocol instanceof Backup) this.#redial()
        return
      case 'send-heartbeat':
        if (this.#peer !== null)
          this.#world.sendHeartbeat(this, this.#peer, encodeHeartbeat(effect.heartbeat, PAIR_KEY))
        return
      case 'accept-frame':
        this.#logBuffer.push(decodeCounterFrame(this.#arrived.get(effect.sequence)!))
        this.#arrived.delete(effect.sequence)
        this.#replay()
        return
      case 'release-outputs':
        this.#release(effect.throughSequence)
        return
      case 'forget-outputs':
        this.#forgetOutputs(effect.throughSequence)
        return
      case 'test-and-set':
        this.#world.store.testAndSet(this, effect.generation, (outcome) =>
          this.step({ kind: 'test-and-set-result', generation: effect.generation, outcome }),
        )
        return
      case 'go-live':
        this.#goLive(effect)
        return
      case 'reissue-disk-io':
        for (const write of this.machine.pendingWrites) {
          this.#world.outside.emit(this, { kind: 'disk-write', generation: this.generation, write })
        }
        return
      case 'run':
        this.#run = effect.run
        this.#slice()
        return
      case 'throttle':
        this.#share = effect.share
        return
      case 'end':
        this.#ended = true
        this.#held = []
        for (const { connection } of this.#connections.values()) connection.close(this)
        return
      case 'announce-mac':
      case 'heartbeat-refused':
      case 'report':
        return
    }
  }

  // --- the channel ---

  #dial(): void {
    if (!(this.#protocol instanceof Backup) || this.#ended) return
    if (this.#connections.size > 0 || this.#protocol.status().state !== 'joining') return
    if (!this.#world.connect(this, this.#peer!)) this.#redial()
  }

  #redial(): void {
    this.process.timer(REDIAL_MS, () => this.#dial())
  }

  opened(connection: Connection): void {
    this.#connections.set(connection.id, { connection, decoder: new ChannelDecoder() })
    this.step({ kind: 'channel-opened', connection: connection.id })
  }

  received(connection: Connection, bytes: Uint8Array): void {
    const known = this.#connections.get(connection.id)
    if (known === undefined) return
    for (const message of known.decoder.push(bytes)) this.#message(connection.id, message)
  }

  #message(connection: number, message: ChannelMessage): void {
    if (message.kind !== 'frame') {
      this.step({ kind: 'channel-message', connection, message })
      return
    }
    const { sequence, releasedSequence, powerOff, payload } = message
    this.#arrived.set(sequence, payload)
    const byteLength = payload.length
    this.step({ kind: 'frame-received', connection, sequence, byteLength, releasedSequence, powerOff })
  }

  closed(connection: Connection): void {
    if (!this.#connections.delete(connection.id)) return
    this.step({ kind: 'channel-closed', connection: connection.id })
    if (this.#protocol instanceof Backup) this.#redial()
  }

  heartbeat(datagram: Uint8Array): void {
    this.step({ kind: 'heartbeat', heartbeat: decodeHeartbeat(datagram, PAIR_KEY) })
  }

  #sendFrame(effect: Extract<PrimaryEffect, { kind: 'send-frame' }>): void {
    const { sequence, releasedSequence, powerOff } = effect
    const payload = this.#recorded.get(sequence)!
    if (!this.#keepsFrames) this.#recorded.delete(sequence)
    const message = { kind: 'frame', sequence, releasedSequence, powerOff, payload } as const
    this.#connections.get(effect.connection)?.connection.write(this, encodeMessage(message))
  }

  readonly #recorded = new Map<number, Uint8Array>()
  #keepsFrames = false

  // --- outputs ---

  #release(throughSequence: number): void {
    const due = this.#held.filter(({ sequence }) => sequence <= throughSequence)
    this.#forgetOutputs(throughSequence)
    for (const { outputs } of due) for (const output of outputs) this.#emit(output)
  }

  #emit(output: CounterOutput): void {
    const { generation } = this
    // Disk requests of replayed frames are issued by reissue-disk-io, if they are still pending.
    if (output.kind !== 'disk-write') this.#world.outside.emit(this, { kind: 'output', generation, output })
    else if (
      this.machine.pendingWrites.some(({ id }) => id === output.write.id) &&
      !this.#wasBackup(output)
    ) {
      this.#world.outside.emit(this, { kind: 'disk-write', generation, write: output.write })
    }
  }

  #wasBackup(output: CounterOutput): boolean {
    return output.index < this.#liveFromOutput
  }

  /** Outputs below this index were made while replaying. */
  #liveFromOutput = 0

  #forgetOutputs(throughSequence: number): void {
    this.#held = this.#held.filter(({ sequence }) => sequence > throughSequence)
  }

  // --- the machine ---

  #goLive(effect: Extract<Effect, { kind: 'go-live' }>): void {
    this.generation = effect.generation
    this.#wasBound = this.wasBound
    this.#world.outside.emit(this, { kind: 'claim', generation: effect.generation })
    if (!('sequence' in effect)) return
    this.#sequence = effect.sequence
    this.#logBuffer = []
    this.#liveFromOutput = this.machine.outputs
    const { generation, sequence, control } = effect
    const identity = { vm: VM, generation, replica: this.name, sequence }
    this.#protocol = new Primary({ ...identity, begin: 'live', control }, this.#world.rules)
    this.step({ kind: 'start' })
  }

  requested(request: number): void {
    this.#requests.push(request)
  }

  diskCompleted(id: number): void {
    if (this.machine.pendingWrites.some((write) => write.id === id)) this.#completions.push(id)
  }

  wantPowerOff(): void {
    this.#powerOffWanted = true
  }

  /** Begins a slice if the machine may run and is not in one. */
  #slice(): void {
    if (!this.#run || this.#inSlice || this.#ended || this.machine.halted) return
    this.#inSlice = true
    const workMs = this.#world.sliceMs()
    this.process.timer(workMs / this.#share, () => this.#endSlice(workMs))
  }

  #endSlice(workMs: number): void {
    this.#inSlice = false
    if (this.#ended) return
    const frame: CounterFrame = {
      sequence: ++this.#sequence,
      clock: Math.floor(this.process.clockMs * 1000) % 0x7fffffff,
      requests: this.#requests.splice(0),
      completions: [...new Set(this.#completions.splice(0))],
      powerOff: this.#powerOffWanted,
    }
    const payload = encodeCounterFrame(frame)
    this.#recorded.set(frame.sequence, payload)
    const info = this.#execute(frame, payload.length, workMs)
    this.step({ kind: 'frame-recorded', frame: info })
    this.#slice()
  }

  #execute(frame: CounterFrame, byteLength: number, workMs: number): FrameInfo {
    const { sequence, powerOff } = frame
    const outputs = this.machine.execute(frame)
    if (outputs.length > 0) this.#held.push({ sequence, outputs })
    const outputBytes = outputs.length * 64
    return { sequence, byteLength, outputs: outputs.length, outputBytes, powerOff, workMs }
  }

  /** The backup's CPU: replays one frame after the other. */
  #replay(): void {
    if (this.#replaying || this.#logBuffer.length === 0) return
    this.#replaying = true
    this.process.timer(this.#world.replayMs(), () => {
      this.#replaying = false
      const frame = this.#logBuffer.shift()
      if (frame === undefined || this.#ended || !(this.#protocol instanceof Backup)) return
      this.step({ kind: 'frame-executed', frame: this.#execute(frame, 0, 0) })
      this.#replay()
    })
  }

  #planTick(): void {
    this.process.timer(this.#protocol.tickMs + this.#world.random.between(0, 2), () => {
      if (this.#ended) return
      this.step({ kind: 'tick' })
      this.#planTick()
    })
  }
}
