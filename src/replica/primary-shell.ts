/** Carries out what the protocol decides for the replica whose machine is live. */
import { type ControlState, UNCONTROLLED } from '../ft/control.ts'
import type { ChannelMessage, Heartbeat } from '../ft/messages.ts'
import { Primary } from '../ft/primary.ts'
import type { PrimaryConfig, PrimaryEffect, PrimaryEvent, PrimaryReport } from '../ft/primary-events.ts'
import { isVisible } from './held-outputs.ts'
import {
  EventQueue,
  frameInfo,
  protocolSequence,
  type ReplicaParts,
  type Shell,
  type ShellGauges,
  type ShellStatus,
} from './shell.ts'
import type { CpuReport } from './thread-messages.ts'
import { monotonicMs } from './thread-messages.ts'

export class PrimaryShell implements Shell {
  readonly #parts: ReplicaParts
  readonly #primary: Primary
  readonly #events = new EventQueue<PrimaryEvent>((event) => this.#handle(event))
  /** The bytes of the frame whose `frame-recorded` event is being handled, and of those that are to be kept. */
  readonly #recorded = new Map<number, Uint8Array>()
  #keepsFrames = false
  /** The frame that is being recorded: what is released meanwhile was never held. */
  #recording = 0

  /** `control` is what explicit operations have made of a machine that is live already. */
  constructor(
    parts: ReplicaParts,
    begin: PrimaryConfig['begin'],
    generation: number,
    sequence: number,
    control: ControlState = UNCONTROLLED,
  ) {
    this.#parts = parts
    const { vm, replica } = parts.config
    this.#primary = new Primary({ vm, replica, begin, generation, sequence, control })
  }

  start(): void {
    this.#events.post({ kind: 'start' })
  }

  tick(): void {
    this.#events.post({ kind: 'tick' })
    const { lagMs } = this.#primary.status(monotonicMs())
    if (lagMs !== null) this.#parts.metrics.lagSampled(lagMs)
  }

  get tickMs(): number {
    return this.#primary.tickMs
  }

  cpuReported(report: CpuReport): void {
    if (report.kind !== 'recorded') return
    const { outside, held, logVolume } = this.#parts
    const sequence = protocolSequence(report.sequence)
    for (const output of report.outputs) if (output.kind === 'entropy-request') outside.answer(output)
    const outputs = report.outputs.filter(isVisible)
    held.hold(sequence, outputs, monotonicMs())
    this.#recording = sequence
    outside.logged(sequence, report.framesTaken)
    logVolume.frames += 1
    logVolume.bytes += report.bytes.length
    this.#recorded.set(sequence, report.bytes)
    const frame = frameInfo(sequence, report.bytes.length, outputs, report.workMs)
    this.#events.post({ kind: 'frame-recorded', frame })
    this.#recording = 0
    if (!this.#keepsFrames) this.#recorded.delete(sequence)
    // Without a backup there is nothing to be safe with: what was taken in is as safe as the machine itself.
    if (this.#primary.status(monotonicMs()).state === 'alone') outside.safe(sequence)
  }

  channelOpened(connection: number): void {
    this.#events.post({ kind: 'channel-opened', connection })
  }

  channelMessage(connection: number, message: ChannelMessage): void {
    this.#events.post({ kind: 'channel-message', connection, message })
    if (message.kind === 'ack') this.#parts.outside.safe(message.receivedSequence)
  }

  channelClosed(connection: number): void {
    this.#events.post({ kind: 'channel-closed', connection })
  }

  heartbeat(heartbeat: Heartbeat): void {
    this.#events.post({ kind: 'heartbeat', heartbeat })
  }

  /** The state behind the newest frame, `sequence`, is on its way to a replica that shall become the backup. */
  admit(replica: string, sequence: number): void {
    this.#events.post({ kind: 'admit', replica, sequence })
  }

  operation(operation: 'stop' | 'failover' | 'unprotect'): void {
    this.#events.post({ kind: 'operation', operation })
  }

  control(change: Partial<ControlState>): void {
    this.#events.post({ kind: 'control', change })
  }

  status(): ShellStatus {
    const { state, generation, backup, lagMs, share, control } = this.#primary.status(monotonicMs())
    const phases = {
      new: 'starting',
      claiming: 'starting',
      waiting: 'starting',
      protected: 'running',
      closing: 'running',
      arbitrating: 'contending',
      alone: 'running',
      ended: 'ended',
    } as const
    const phase = phases[state]
    const protection = state === 'protected' ? 'protected' : phase === 'starting' ? 'starting' : 'unprotected'
    return { role: 'primary', phase, generation, protection, peer: backup, lagMs, share, ...control }
  }

  gauges(): ShellGauges {
    const nowMs = monotonicMs()
    const { lagMs, share, heartbeatAtMs } = this.#primary.status(nowMs)
    return { lagMs, cpuShare: share, heartbeatAgeMs: heartbeatAtMs === null ? null : nowMs - heartbeatAtMs }
  }

  /** Lets the outputs up to this frame go. */
  #release(throughSequence: number): void {
    const { held, outside, metrics } = this.#parts
    const nowMs = monotonicMs()
    const outputs = held.take(throughSequence, (frame) => {
      if (frame.sequence !== this.#recording) {
        metrics.outputsReleased(nowMs - frame.sinceMs, frame.outputs.length)
      }
    })
    outside.release(outputs)
  }

  #handle(event: PrimaryEvent): void {
    for (const effect of this.#primary.handle(event, monotonicMs())) this.#perform(effect)
  }

  #perform(effect: PrimaryEffect): void {
    const { channels, heartbeats, outside, held, cpu, metrics, end } = this.#parts
    switch (effect.kind) {
      case 'send':
        return channels.send(effect.connection, effect.message)
      case 'keep-frames':
        this.#keepsFrames = effect.keep
        if (!effect.keep) this.#recorded.clear()
        return
      case 'send-frame': {
        const { sequence, releasedSequence, powerOff } = effect
        const payload = this.#recorded.get(sequence)
        if (payload === undefined) throw new Error(`frame ${sequence} is sent without having been recorded`)
        return channels.send(effect.connection, {
          kind: 'frame',
          sequence,
          releasedSequence,
          powerOff,
          payload,
        })
      }
      case 'close-channel':
        return channels.close(effect.connection)
      case 'send-heartbeat':
        return heartbeats.send(effect.heartbeat)
      case 'heartbeat-refused':
        return heartbeats.refused()
      case 'release-outputs':
        return this.#release(effect.throughSequence)
      case 'test-and-set': {
        const { generation } = effect
        void this.#parts.testAndSet(generation, effect.winner).then((outcome) => {
          this.#events.post({ kind: 'test-and-set-result', generation, outcome })
        })
        return
      }
      case 'go-live':
        return outside.goLive(effect.generation)
      case 'run':
        metrics.mayRun(effect.run, monotonicMs())
        return cpu.send({ kind: 'run', run: effect.run })
      case 'throttle':
        return cpu.send({ kind: 'throttle', share: effect.share })
      case 'end':
        held.clear()
        return end(effect.reason)
      case 'report':
        return this.#report(effect.report)
    }
  }

  #report(report: PrimaryReport): void {
    const { type, ...details } = report
    if (type === 'protected' || type === 'not-admitted') this.#parts.admitted(type === 'protected')
    if (report.type === 'halted' && (report.reason === 'stopped' || report.reason === 'power-off')) {
      this.#parts.event('stopped', details)
    } else {
      this.#parts.event(type, { ...details, pid: process.pid })
    }
  }
}
