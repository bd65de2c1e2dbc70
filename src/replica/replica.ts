/**
 * One replica of a virtual machine, put together: CPU thread, logging channel, heartbeats, store, network,
 * console and control socket around the shell that drives them. Everything here runs on the I/O thread.
 */
import { ControlServer } from '../control/server.ts'
import type { ControlState } from '../ft/control.ts'
import { rarpAnnouncement } from '../net/announce.ts'
import { openDirectoryStore } from '../store/directory.ts'
import type { Store } from '../store/store.ts'
import { testAndSet } from './arbiter.ts'
import { BackupShell } from './backup-shell.ts'
import { ChannelSockets } from './channel.ts'
import type { ReplicaConfig } from './config.ts'
import { ConsoleHub } from './console-hub.ts'
import { replicaRoutes } from './control-routes.ts'
import { Cpu } from './cpu.ts'
import { ReplicaError } from './errors.ts'
import { type EventDetails, EventLog, type EventType } from './event-log.ts'
import { HeartbeatSocket } from './heartbeat-socket.ts'
import { HeldOutputs } from './held-outputs.ts'
import { LogKeeper } from './log-keeper.ts'
import { firstInputs, loadMachine } from './machine-source.ts'
import { connectNetwork } from './network.ts'
import { Outside } from './outside.ts'
import { PrimaryShell } from './primary-shell.ts'
import { raiseThread } from './priority.ts'
import type { ReplicaParts, Shell } from './shell.ts'
import { PRODUCT_MACHINE, type Standby } from './standby.ts'
import type { ReplicaStatus } from './status.ts'
import type { CpuReport } from './thread-messages.ts'
import { monotonicMs } from './thread-messages.ts'

/** A guest that is asked to shut down gets this long to act on a piece of the input before the next. */
const POWER_OFF_PIECE_MS = 2_000

/** What is queued for terminals and the event log gets this long to leave before the process exits. */
const EXIT_GRACE_MS = 500

export class Replica {
  readonly #config: ReplicaConfig
  readonly #eventLog: EventLog
  readonly #console: ConsoleHub
  #store: Store | null = null
  #parts: ReplicaParts | null = null
  #shell: Shell | null = null
  #log: LogKeeper | null = null
  #control: ControlServer | null = null
  #tickTimer: NodeJS.Timeout | null = null
  #tickMs = 0
  #channelPort = 0
  #ended = false
  /** The report of going live, which is complete once the machine runs. */
  #goingLive: { readonly details: EventDetails; readonly sinceMs: number } | null = null

  private constructor(config: ReplicaConfig) {
    this.#config = config
    this.#eventLog = new EventLog(config.eventsFile, config.vm, config.host)
    this.#console = new ConsoleHub((data) => this.#parts?.outside.typed(data))
  }

  /** Starts everything; when it resolves, the control socket answers and the protocol has begun. */
  static async start(config: ReplicaConfig, standby: Standby | null = null): Promise<Replica> {
    const replica = new Replica(config)
    await replica.#start(standby)
    return replica
  }

  async #start(standby: Standby | null): Promise<void> {
    const config = this.#config
    this.#store = await openDirectoryStore(config.storeDirectory)
    const machine = await loadMachine(config)
    const snapshot = config.start?.snapshot ?? null
    if (config.role === 'backup') this.#log = await LogKeeper.begin(config.logFile, machine, snapshot)
    const network = await connectNetwork(config, {
      frameArrived: (frame) => this.#parts?.outside.frameArrived(frame),
      fenced: (reason) => this.#fenced(reason),
    })
    const channels = new ChannelSockets({
      opened: (connection) => this.#drive((shell) => shell.channelOpened(connection)),
      message: (connection, message) => {
        if (message.kind === 'frame') this.#log?.append(message.payload)
        this.#drive((shell) => shell.channelMessage(connection, message))
      },
      closed: (connection) => this.#drive((shell) => shell.channelClosed(connection)),
    })
    const heartbeats = await HeartbeatSocket.open(config.address, config.vm, (heartbeat) =>
      this.#drive((shell) => shell.heartbeat(heartbeat)),
    )
    if (config.role === 'backup') this.#channelPort = await channels.listen(config.address)
    const outside = new Outside(network, this.#console, rarpAnnouncement(machine.nics[0].mac))
    const raised = standby?.raised ?? (await raiseThread(process.pid, { inherited: false }))
    const cpu = Cpu.start({
      machineModule: config.machineModule ?? PRODUCT_MACHINE.href,
      thread: config.machineModule === null ? (standby?.thread ?? null) : null,
      machine,
      snapshot,
      firstInputs: firstInputs(config),
      boot: config.boot,
      live: config.role === 'primary',
      yielding: !raised,
      onReport: (report) => this.#cpuReported(report),
    })
    outside.attach(cpu)
    this.#parts = {
      config,
      cpu,
      channels,
      heartbeats,
      outside,
      held: new HeldOutputs(),
      logVolume: { frames: 0, bytes: 0 },
      testAndSet: (generation, winner) => testAndSet(this.#store!, config.vm, generation, winner),
      event: (type, details) => this.#event(type, details),
      wentLive: (generation, sequence, control) => this.#wentLive(generation, sequence, control),
      end: (reason) => void this.#end(reason, 0),
    }
    this.#shell = this.#firstShell(this.#parts)
    this.#control = await ControlServer.listen(config.controlSocket, ...replicaRoutes(this))
    this.#event('started', { role: config.role, generation: config.generation, pid: process.pid })
    this.#drive((shell) => shell.start())
    if (config.peer !== null) {
      heartbeats.sendTo({ address: config.peer.address, port: config.peer.heartbeatPort })
      channels.call(config.peer.address, config.peer.channelPort)
    }
  }

  #firstShell(parts: ReplicaParts): Shell {
    const { role, peer, generation } = this.#config
    if (role === 'backup') return new BackupShell(parts)
    return new PrimaryShell(parts, peer === null ? 'alone' : 'protected', generation, 0)
  }

  get console(): ConsoleHub {
    return this.#console
  }

  status(): ReplicaStatus {
    const { vm, host, replica } = this.#config
    const { cpu, heartbeats, logVolume } = this.#parts!
    const shell = this.#shell!.status()
    return {
      vm,
      host,
      pid: process.pid,
      replica,
      ...shell,
      phase: this.#ended ? 'ended' : shell.phase,
      retired: Number(cpu.counters.retired),
      guestSeconds: Number(cpu.counters.guestClock) / 1e7,
      mips: cpu.counters.instructionsPerMs / 1000,
      logFrames: logVolume.frames,
      logBytes: logVolume.bytes,
      channelPort: this.#channelPort,
      heartbeatPort: heartbeats.port,
    }
  }

  /** Lets the guest shut down by itself if it can within `graceMs`; else, or with 0, its power is cut. */
  stop(graceMs: number): void {
    const pieces = this.#config.powerOffInput
    const status = this.#shell?.status()
    // A guest that is paused cannot shut down by itself.
    const live = status?.phase === 'running' && !status.paused
    if (graceMs > 0 && pieces !== null && live) {
      this.#typePowerOff(pieces, 0)
      setTimeout(() => this.#drive((shell) => shell.operation('stop')), graceMs)
    } else {
      this.#drive((shell) => shell.operation('stop'))
    }
  }

  #typePowerOff(pieces: readonly string[], index: number): void {
    if (this.#ended) return
    this.#parts?.outside.typed(Buffer.from(pieces[index]))
    const next = (index + 1) % pieces.length
    setTimeout(() => this.#typePowerOff(pieces, next), POWER_OFF_PIECE_MS)
  }

  /**
   * Pauses, resumes or limits the machine that is live here; it is done when the status says so. Throws NOT_LIVE.
   */
  control(change: Partial<ControlState>): void {
    if (this.#shell?.status().phase !== 'running') {
      throw new ReplicaError('NOT_LIVE', 'The machine is not live in this replica.')
    }
    this.#drive((shell) => shell.control(change))
  }

  /**
   * Makes a backup replay at this share of its speed, above 0 up to 1: for tests and measurements of a slow one. Throws NOT_A_BACKUP.
   */
  slowDown(share: number): void {
    if (this.#shell?.status().role !== 'backup') {
      throw new ReplicaError('NOT_A_BACKUP', 'This replica does not replay a log.')
    }
    this.#parts!.cpu.controls.replayShare = share
  }

  failover(): void {
    this.#drive((shell) => shell.operation('failover'))
  }

  /** Gives the shell its turn; afterwards its next tick may be due earlier. */
  #drive(turn: (shell: Shell) => void): void {
    if (this.#shell === null || this.#ended) return
    turn(this.#shell)
    const { tickMs } = this.#shell
    if (this.#tickTimer !== null && tickMs === this.#tickMs) return
    if (this.#tickTimer !== null) clearInterval(this.#tickTimer)
    this.#tickMs = tickMs
    this.#tickTimer = setInterval(() => this.#drive((shell) => shell.tick()), tickMs)
  }

  #cpuReported(report: CpuReport): void {
    switch (report.kind) {
      case 'live':
        for (const request of report.pending) this.#parts?.outside.answer(request)
        this.#reportLive()
        return
      case 'failed':
        this.#event('failed', { code: report.code, detail: report.message })
        process.stderr.write(`error ${report.code}: ${report.message}\nnext: ${report.next}\n`)
        // Like any crash, this is for the other replica to survive; an orderly end would take it along.
        void this.#exit(1)
        return
      case 'diverged':
        this.#log?.keep()
    }
    this.#drive((shell) => shell.cpuReported(report))
  }

  #wentLive(generation: number, sequence: number, control: ControlState): void {
    this.#shell = new PrimaryShell(this.#parts!, 'live', generation, sequence, control)
    this.#shell.start()
    this.#log?.discard()
    this.#log = null
  }

  /** The gateway says that another replica is live, which the arbitration will say as well: nothing may leave here. */
  #fenced(detail: string): void {
    this.#event('halted', { reason: 'fenced', detail, pid: process.pid })
    void this.#end('fenced', 0)
  }

  #event(type: EventType, details: EventDetails): void {
    if (this.#ended) return
    if (type === 'went-live') {
      this.#goingLive = { details, sinceMs: monotonicMs() }
      return
    }
    this.#eventLog.append(type, details).catch((error: Error) => {
      process.stderr.write(`an event could not be written: ${error.message}\n`)
    })
  }

  /** The machine runs again: now it is known how long going live took. */
  #reportLive(): void {
    if (this.#goingLive === null) return
    const { details, sinceMs } = this.#goingLive
    const { drainMs, ...rest } = details
    const goLiveMs = Number(drainMs) + monotonicMs() - sinceMs
    this.#goingLive = null
    void this.#eventLog.append('went-live', { ...rounded(rest), goLiveMs: round(goLiveMs) })
  }

  async #end(reason: string, code: number): Promise<void> {
    if (this.#ended) return
    process.stderr.write(`ended: ${reason}\n`)
    this.#ended = true
    if (reason !== 'diverged') this.#log?.discard()
    this.#parts?.channels.end()
    this.#parts?.outside.close()
    await this.#exit(code)
  }

  async #exit(code: number): Promise<void> {
    this.#ended = true
    if (this.#tickTimer !== null) clearInterval(this.#tickTimer)
    setTimeout(() => process.exit(code), EXIT_GRACE_MS)
    await Promise.allSettled([
      this.#parts?.cpu.end(),
      this.#eventLog.close(),
      this.#log?.close(),
      new Promise((resolve) => setTimeout(resolve, FLUSH_MS)),
    ])
    await this.#control?.close()
    process.exit(code)
  }
}

/** The last messages on channel and terminals get into the kernel's buffers in this time. */
const FLUSH_MS = 50

function round(ms: number): number {
  return Math.round(ms * 100) / 100
}

function rounded(details: EventDetails): EventDetails {
  return Object.fromEntries(
    Object.entries(details).map(([name, value]) => [name, typeof value === 'number' ? round(value) : value]),
  )
}
