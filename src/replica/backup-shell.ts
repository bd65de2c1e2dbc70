/** Carries out what the protocol decides for the replica whose machine replays. */
import { Backup } from '../ft/backup.ts'
import type { BackupEffect, BackupEvent, BackupReport } from '../ft/backup-events.ts'
import type { ChannelMessage, Heartbeat } from '../ft/messages.ts'
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

export class BackupShell implements Shell {
  readonly #parts: ReplicaParts
  readonly #backup: Backup
  readonly #events = new EventQueue<BackupEvent>((event) => this.#handle(event))
  /** Frames whose `frame-received` event is being handled. */
  readonly #received = new Map<number, Uint8Array>()

  /** `sequence` is the last frame that is in the machine already. */
  constructor(parts: ReplicaParts, sequence: number) {
    this.#parts = parts
    const { vm, replica, generation } = parts.config
    this.#backup = new Backup({ vm, replica, generation, sequence })
  }

  start(): void {
    this.#events.post({ kind: 'start' })
  }

  tick(): void {
    this.#events.post({ kind: 'tick' })
  }

  get tickMs(): number {
    return this.#backup.tickMs
  }

  cpuReported(report: CpuReport): void {
    if (report.kind === 'diverged') {
      const sequence = protocolSequence(report.sequence)
      const { logFile, cloned } = this.#parts.config
      // The log of a clone begins at a state that is kept nowhere.
      const log = cloned ? null : logFile
      this.#parts.event('diverged', { frame: report.sequence, detail: report.message, log })
      this.#events.post({ kind: 'diverged', sequence })
    }
    if (report.kind !== 'replayed') return
    const sequence = protocolSequence(report.sequence)
    const outputs = report.outputs.filter(isVisible)
    this.#parts.held.hold(sequence, outputs, monotonicMs())
    this.#events.post({ kind: 'frame-executed', frame: frameInfo(sequence, report.byteLength, outputs, 0) })
  }

  channelOpened(connection: number): void {
    this.#events.post({ kind: 'channel-opened', connection })
  }

  channelMessage(connection: number, message: ChannelMessage): void {
    if (message.kind !== 'frame') {
      this.#events.post({ kind: 'channel-message', connection, message })
      return
    }
    const { sequence, releasedSequence, powerOff, payload } = message
    this.#received.set(sequence, payload)
    this.#events.post({
      kind: 'frame-received',
      connection,
      sequence,
      byteLength: payload.length,
      releasedSequence,
      powerOff,
    })
    this.#received.delete(sequence)
  }

  channelClosed(connection: number): void {
    this.#events.post({ kind: 'channel-closed', connection })
  }

  heartbeat(heartbeat: Heartbeat): void {
    this.#events.post({ kind: 'heartbeat', heartbeat })
  }

  operation(operation: 'stop' | 'failover' | 'unprotect'): void {
    if (operation === 'stop') this.#events.post({ kind: 'operation', operation })
  }

  control(): void {
    // It is the primary's to pause and to limit; this replica learns of it in the stream.
  }

  status(): ShellStatus {
    const { state, generation, primary, control } = this.#backup.status()
    const phases = {
      new: 'starting',
      joining: 'starting',
      following: 'replaying',
      severed: 'contending',
      arbitrating: 'contending',
      draining: 'contending',
      ending: 'replaying',
      live: 'running',
      ended: 'ended',
    } as const
    const phase = phases[state]
    // Before it is bound it follows, but may not take over.
    const isStarting = phase === 'starting' || (state === 'following' && primary === null)
    const protection = isStarting ? 'starting' : phase === 'replaying' ? 'protected' : 'unprotected'
    return { role: 'backup', phase, generation, protection, peer: primary, lagMs: null, share: 1, ...control }
  }

  gauges(): ShellGauges {
    const { heartbeatAtMs } = this.#backup.status()
    const heartbeatAgeMs = heartbeatAtMs === null ? null : monotonicMs() - heartbeatAtMs
    return { lagMs: null, cpuShare: null, heartbeatAgeMs }
  }

  #handle(event: BackupEvent): void {
    for (const effect of this.#backup.handle(event, monotonicMs())) this.#perform(effect)
  }

  #perform(effect: BackupEffect): void {
    const { channels, heartbeats, outside, held, cpu, logVolume, metrics, end, wentLive } = this.#parts
    switch (effect.kind) {
      case 'send':
        return channels.send(effect.connection, effect.message)
      case 'close-channel':
        return channels.close(effect.connection)
      case 'send-heartbeat':
        return heartbeats.send(effect.heartbeat)
      case 'heartbeat-refused':
        return heartbeats.refused()
      case 'accept-frame': {
        const bytes = this.#received.get(effect.sequence)
        if (bytes === undefined) throw new Error(`frame ${effect.sequence} is accepted but was not received`)
        logVolume.frames += 1
        logVolume.bytes += bytes.length
        return cpu.send({ kind: 'frame', bytes, arrivedMs: monotonicMs() })
      }
      case 'forget-outputs':
        return outside.remember(held.take(effect.throughSequence))
      case 'test-and-set': {
        const { generation } = effect
        void this.#parts.testAndSet(generation, effect.winner).then((outcome) => {
          this.#events.post({ kind: 'test-and-set-result', generation, outcome })
        })
        return
      }
      case 'go-live':
        outside.goLive(effect.generation)
        metrics.tookOver()
        cpu.send({ kind: 'go-live' })
        return wentLive(effect.generation, effect.sequence, effect.control)
      case 'reissue-disk-io':
        // The CPU thread answers `go-live` with what is pending; that is asked for again then.
        return
      case 'announce-mac':
        return outside.announce()
      case 'release-outputs':
        outside.remember(held.take(effect.fromSequence - 1))
        return outside.release(held.take(effect.throughSequence))
      case 'run':
        return cpu.send({ kind: 'run', run: true })
      case 'end':
        held.clear()
        return end(effect.reason)
      case 'report':
        return this.#report(effect.report)
    }
  }

  #report(report: BackupReport): void {
    const { type, ...details } = report
    const byWish = report.type === 'halted' && (report.reason === 'stopped' || report.reason === 'power-off')
    this.#parts.event(byWish ? 'stopped' : type, { ...details, pid: process.pid })
  }
}
