/**
 * One replica of a virtual machine, put together: CPU thread, logging channel, heartbeats, store, network,
 * console and control socket around the shell that drives them. Everything here runs on the I/O thread.
 */
import type { Logger } from 'pino'
import { ControlServer } from '../control/server.ts'
import { type ControlState, UNCONTROLLED } from '../ft/control.ts'
import { rarpAnnouncement } from '../net/announce.ts'
import { loadIdentity } from '../security/identity.ts'
import { checkReach } from '../security/links.ts'
import { Refusals, STDERR_LOG } from '../security/refusals.ts'
import { openStore } from '../store/open.ts'
import type { Store } from '../store/store.ts'
import { testAndSet } from './arbiter.ts'
import { BackupShell } from './backup-shell.ts'
import { ChannelSockets, type LinkAccess } from './channel.ts'
import { CloneReceiver } from './clone-receiver.ts'
import type { CloneOrder, ReplicaConfig } from './config.ts'
import { ConsoleHub } from './console-hub.ts'
import { replicaRoutes } from './control-routes.ts'
import { Cpu } from './cpu.ts'
import { ReplicaError } from './errors.ts'
import { type EventDetails, EventLog, type EventType } from './event-log.ts'
import { roundedFigure, roundedFigures } from './figures.ts'
import { HeartbeatSocket } from './heartbeat-socket.ts'
import { HeldOutputs } from './held-outputs.ts'
import { LogKeeper } from './log-keeper.ts'
import { MachineCopies } from './machine-copies.ts'
import { firstInputs, loadMachine } from './machine-source.ts'
import { ReplicaMetrics, type ReplicaMetricsAnswer } from './metrics.ts'
import { connectNetwork } from './network.ts'
import { Outside } from './outside.ts'
import { PrimaryShell } from './primary-shell.ts'
import { raiseThread, unraiseThread } from './priority.ts'
import { logError } from './process-log.ts'
import type { ReplicaParts, Shell, ShellStatus } from './shell.ts'
import { PRODUCT_MACHINE, type Standby } from './standby.ts'
import type { SavedState } from './state-saver.ts'
import type { ReplicaStatus } from './status.ts'
import type { CpuReport } from './thread-messages.ts'
import { monotonicMs } from './thread-messages.ts'

/** A guest that is asked to shut down gets this long to act on a piece of the input before the next. */
const POWER_OFF_PIECE_MS = 2_000

/** What is queued for terminals and the event log gets this long to leave before the process exits. */
const EXIT_GRACE_MS = 500

export class Replica {
  readonly #config: ReplicaConfig
  readonly #diagnostics: Logger
  readonly #eventLog: EventLog
  readonly #console: ConsoleHub
  readonly #refusals = new Refusals(STDERR_LOG)
  #access: LinkAccess = { identity: null, refusals: this.#refusals }
  #store: Store | null = null
  #parts: ReplicaParts | null = null
  #shell: Shell | null = null
  #log: LogKeeper | null = null
  #copies: MachineCopies | null = null
  /** While this replica is being made a clone. */
  #receiver: CloneReceiver | null = null
  #control: ControlServer | null = null
  #tickTimer: NodeJS.Timeout | null = null
  #tickMs = 0
  #channelPort = 0
  #ended = false
  /** The report of going live, which is complete once the machine runs. */
  #goingLive: { readonly details: EventDetails; readonly sinceMs: number } | null = null

  private constructor(config: ReplicaConfig, diagnostics: Logger) {
    this.#config = config
    this.#diagnostics = diagnostics
    this.#eventLog = new EventLog(config.eventsFile, config.vm, config.host)
    this.#console = new ConsoleHub((data) => this.#parts?.outside.typed(data))
  }

  /** Starts everything; when it resolves, the control socket answers and the protocol has begun. */
  static async start(
    config: ReplicaConfig,
    diagnostics: Logger,
    standby: Standby | null = null,
  ): Promise<Replica> {
    const replica = new Replica(config, diagnostics)
    await replica.#start(standby)
    return replica
  }

  async #start(standby: Standby | null): Promise<void> {
    const config = this.#config
    const identity = config.identityDirectory === null ? null : loadIdentity(config.identityDirectory)
    // Heartbeats go in the clear: they are authenticated, and tell nothing. But where they go, the log goes, too.
    checkReach(config.address, identity)
    const access = { identity, refusals: this.#refusals }
    this.#access = access
    this.#store = await openStore(config.store)
    // What a clone is comes with its state.
    const machine = config.cloned ? null : await loadMachine(config)
    const snapshot = config.start?.snapshot ?? null
    if (config.role === 'backup' && machine !== null) {
      this.#log = await LogKeeper.begin(config.logFile, machine, snapshot)
    }
    const network = await connectNetwork(config, access, {
      frameArrived: (frame) => this.#parts?.outside.frameArrived(frame),
      fenced: (reason) => this.#fenced(reason),
    })
    const channels = new ChannelSockets(
      {
        opened: (connection) => this.#drive((shell) => shell.channelOpened(connection)),
        message: (connection, message) => {
          if (message.kind === 'frame') this.#log?.append(message.payload)
          this.#drive((shell) => shell.channelMessage(connection, message))
        },
        closed: (connection) => this.#drive((shell) => shell.channelClosed(connection)),
      },
      access,
    )
    const metrics = new ReplicaMetrics()
    const heartbeats = await HeartbeatSocket.open(config.address, {
      vm: config.vm,
      key: Buffer.from(config.pairKey, 'hex'),
      refusals: this.#refusals,
      onHeartbeat: (heartbeat) => this.#drive((shell) => shell.heartbeat(heartbeat)),
      onRefused: (reason) => metrics.heartbeatRefused(reason),
    })
    if (config.role === 'backup') this.#channelPort = await channels.listen(config.address)
    if (config.cloned) this.#receiver = await this.#awaitClone()
    const outside = new Outside(network, this.#console, rarpAnnouncement(Buffer.from(config.mac, 'hex')))
    const raised = standby?.raised ?? (await raiseThread(process.pid, { inherited: false }))
    // Until it has its state it has nothing to say that somebody waits for.
    if (config.cloned && raised) await unraiseThread(process.pid)
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
    this.#receiver?.attach(cpu)
    this.#parts = {
      config,
      cpu,
      channels,
      heartbeats,
      outside,
      held: new HeldOutputs(),
      logVolume: { frames: 0, bytes: 0 },
      metrics,
      testAndSet: (generation, winner) => testAndSet(this.#store!, config.vm, generation, winner),
      event: (type, details) => this.#event(type, details),
      admitted: (isBackup) => this.#copies?.admitted(isBackup),
      wentLive: (generation, sequence, control) => this.#wentLive(generation, sequence, control),
      end: (reason) => void this.#end(reason, 0),
    }
    this.#copies = new MachineCopies(this.#parts, access)
    if (!config.cloned) this.#shell = this.#firstShell(this.#parts)
    this.#control = await ControlServer.listen(config.controlSocket, ...replicaRoutes(this))
    this.#diagnostics.info({ role: config.role, generation: config.generation }, `started: ${config.role}`)
    this.#event('started', { role: config.role, generation: config.generation, pid: process.pid })
    this.#drive((shell) => shell.start())
    if (config.peer !== null) {
      heartbeats.sendTo({ address: config.peer.address, port: config.peer.heartbeatPort })
      channels.call(config.peer.address, config.peer.channelPort)
    }
  }

  #firstShell(parts: ReplicaParts): Shell {
    const { role, peer, generation } = this.#config
    if (role === 'backup') return new BackupShell(parts, 0)
    return new PrimaryShell(parts, peer === null ? 'alone' : 'protected', generation, 0)
  }

  #awaitClone(): Promise<CloneReceiver> {
    const { address, vm, replica, generation } = this.#config
    return CloneReceiver.listen(address, this.#access, {
      vm,
      replica,
      generation,
      begun: ({ sequence }) => {
        this.#shell = new BackupShell(this.#parts!, sequence)
        this.#shell.start()
      },
      failed: ({ message }) => {
        // Its state has come, and the log: what becomes of the connection that brought it is all the same.
        if (this.#isBound()) return
        this.#event('halted', { reason: 'clone-broken', detail: message, pid: process.pid })
        void this.#end('clone-broken', 0)
      },
    })
  }

  /** It may take over, or has done so. */
  #isBound(): boolean {
    const status = this.#shell?.status()
    return status !== undefined && (status.role === 'primary' || status.peer !== null)
  }

  get console(): ConsoleHub {
    return this.#console
  }

  status(): ReplicaStatus {
    const { vm, host, replica } = this.#config
    const { cpu, heartbeats, logVolume } = this.#parts!
    const shell = this.#shell?.status() ?? this.#awaitingStatus()
    return {
      vm,
      host,
      pid: process.pid,
      replica,
      ...shell,
      phase: this.#ended ? 'ended' : shell.phase,
      memoryBytes: this.#config.memoryBytes,
      retired: Number(cpu.counters.retired),
      guestSeconds: Number(cpu.counters.guestClock) / 1e7,
      mips: cpu.counters.instructionsPerMs / 1000,
      logFrames: logVolume.frames,
      logBytes: logVolume.bytes,
      channelPort: this.#channelPort,
      clonePort: this.#receiver?.port ?? 0,
      clone: this.#copies?.progress ?? null,
      heartbeatPort: heartbeats.port,
      refusals: this.#refusals.counts(),
    }
  }

  /** Of a clone that has not heard from its source yet. */
  #awaitingStatus(): ShellStatus {
    const { role, generation } = this.#config
    return {
      role,
      phase: 'starting',
      generation,
      protection: 'starting',
      peer: null,
      lagMs: null,
      share: 1,
      ...UNCONTROLLED,
    }
  }

  metrics(): ReplicaMetricsAnswer {
    const { vm, host, role, protection, retired, logFrames, logBytes } = this.status()
    const { metrics, held, outside, config } = this.#parts!
    const samples = metrics.samples(
      {
        ...(this.#shell?.gauges() ?? { lagMs: null, cpuShare: null, heartbeatAgeMs: null }),
        protected: protection === 'protected',
        heldBytes: held.bytes,
        logFrames,
        logBytes,
        droppedFrames: outside.droppedFrames,
        retired,
        memoryBytes: config.memoryBytes,
        refusals: this.#refusals.counts(),
      },
      monotonicMs(),
    )
    return { vm, host, role, samples }
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

  /** Clones the machine, which runs alone, onto another host (`machine-copies.ts`). Throws CLONE_NOT_POSSIBLE. */
  clone(order: CloneOrder): void {
    const shell = this.#shell
    if (!(shell instanceof PrimaryShell)) {
      throw new ReplicaError('CLONE_NOT_POSSIBLE', `${this.#config.vm} is not live here.`)
    }
    this.#copies!.clone(order, shell, (turn) => this.#drive(turn))
  }

  /** Ends this replica if it is that one and waits for a clone that has not begun to come; else nothing happens. */
  abandon(replica: string): void {
    if (replica === this.#config.replica) this.#receiver?.abandon()
  }

  /** Writes the machine as of now into a snapshot file, while it goes on. Throws CLONE_NOT_POSSIBLE; rejects when it fails. */
  save(path: string): Promise<SavedState> {
    if (this.#shell?.status().phase !== 'running') {
      throw new ReplicaError('CLONE_NOT_POSSIBLE', `${this.#config.vm} is not live here.`)
    }
    return this.#copies!.save(path)
  }

  /** Lets the backup go, or gives up a clone that is being made. Resolves at once. */
  unprotect(): void {
    if (!this.#copies!.cancelClone()) this.#drive((shell) => shell.operation('unprotect'))
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

  /** Resets the machine that is live here; it boots again, and its backup with it. Throws NOT_LIVE. */
  restart(): void {
    if (this.#shell?.status().phase !== 'running') {
      throw new ReplicaError('NOT_LIVE', 'The machine is not live in this replica.')
    }
    this.#parts!.outside.reset()
    this.#event('restarted', { pid: process.pid })
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
      case 'ready':
        void this.#restored()
        return
      case 'clone-refused':
      case 'clone-begun':
      case 'clone-piece':
        this.#copies?.reported(report)
        return
      case 'live':
        for (const request of report.pending) this.#parts?.outside.answer(request)
        this.#reportLive()
        return
      case 'failed':
        this.#event('failed', { code: report.code, detail: report.message })
        this.#receiver?.fail(new ReplicaError('CLONE_BROKEN', `${report.code}: ${report.message}`))
        this.#diagnostics.fatal({ code: report.code, next: report.next }, report.message)
        // Like any crash, this is for the other replica to survive; an orderly end would take it along.
        void this.#exit(1)
        return
      case 'diverged':
        this.#log?.keep()
    }
    this.#drive((shell) => shell.cpuReported(report))
  }

  /** From here on somebody waits for what this clone has to say. */
  async #restored(): Promise<void> {
    if (this.#receiver === null) return
    await raiseThread(process.pid, { inherited: false })
    this.#receiver.restored()
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
    this.#append(type, details)
  }

  /** An event that cannot be written is no reason to end the machine. */
  #append(type: EventType, details: EventDetails): void {
    this.#eventLog.append(type, details).catch((error: Error) => {
      const message = `The event ${type} could not be written: ${error.message}.`
      logError(this.#diagnostics, 'error', new ReplicaError('EVENT_LOST', message, { cause: error }))
    })
  }

  /** The machine runs again: now it is known how long going live took. */
  #reportLive(): void {
    if (this.#goingLive === null) return
    const { details, sinceMs } = this.#goingLive
    const { drainMs, ...rest } = details
    const goLiveMs = Number(drainMs) + monotonicMs() - sinceMs
    this.#goingLive = null
    this.#append('went-live', { ...roundedFigures(rest), goLiveMs: roundedFigure(goLiveMs) })
  }

  async #end(reason: string, code: number): Promise<void> {
    if (this.#ended) return
    this.#diagnostics.info({ reason }, `ended: ${reason}`)
    this.#ended = true
    if (reason !== 'diverged') this.#log?.discard()
    this.#copies?.end()
    this.#receiver?.close()
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
