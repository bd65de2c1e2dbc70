/**
 * The CPU thread of a replica: owns the machine and does no I/O. It takes commands from one ring, puts reports
 * into another, and sleeps in between; a guest that idles costs nothing.
 */
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { UnderstudyError } from '../errors.ts'
import type { BootConfig, MachineConfig } from '../machine/config.ts'
import type { MachineInput } from '../machine/io.ts'
import { isSavable, type Machine } from '../machine/machine.ts'
import { DivergenceError } from '../replay/errors.ts'
import { CURSOR_AT_START, type FrameCursor, inputBytesMax, SLICE_INPUT_BYTES_MAX } from '../replay/frame.ts'
import { ClockFollower } from './clock-follower.ts'
import { CloneProducer } from './clone-producer.ts'
import { type ClonedMachine, cloneFrom } from './clone-source.ts'
import { ringDoorbell } from './doorbell.ts'
import { ReplicaError } from './errors.ts'
import { LiveCpu } from './live-cpu.ts'
import { releaseImages, reloadBoot } from './machine-source.ts'
import { Pacer } from './pacer.ts'
import { PendingRequests } from './pending-requests.ts'
import { lowerThisThread, restoreThisThread, yieldThisThread } from './priority.ts'
import { ReplayCpu } from './replay-cpu.ts'
import { RingReader, RingWriter } from './ring.ts'
import { SlicePolicy } from './slice-policy.ts'
import {
  CpuControls,
  CpuCounters,
  type CpuReport,
  type CpuThreadData,
  monotonicMs,
  type PreparedThreadData,
  threadCpuMs,
} from './thread-messages.ts'
import { decodeCommand, reportParts } from './thread-records.ts'

class CpuThread {
  readonly #machine: Machine
  readonly #commands: RingReader
  readonly #reports: RingWriter
  readonly #counters: CpuCounters
  readonly #firstInputs: readonly MachineInput[]
  readonly #pending = new PendingRequests()
  readonly #clock = new ClockFollower()
  readonly #controls: CpuControls
  readonly #livePacer = new Pacer()
  readonly #replayPacer = new Pacer()
  #inputs: MachineInput[] = []
  #inputBytes = 0
  #live: LiveCpu | null = null
  #replay: ReplayCpu | null = null
  #policy: SlicePolicy | null = null
  #running = false
  /** A clone is wanted as soon as the log has begun. */
  #cloneWanted = false
  #clone: CloneProducer | null = null

  /** `cursor` is where the log goes on. */
  constructor(machine: Machine, cursor: FrameCursor, data: CpuThreadData, reports: RingWriter) {
    this.#machine = machine
    this.#commands = new RingReader(data.commands)
    this.#reports = reports
    this.#counters = new CpuCounters(data.counters)
    this.#controls = new CpuControls(data.controls)
    this.#firstInputs = data.firstInputs
    if (isSavable(machine)) for (const request of machine.pendingRequests()) this.#pending.output(request)
    if (data.live) this.#goLive(cursor, machine.guestClock())
    else this.#replay = new ReplayCpu(machine, cursor)
  }

  /** Returns when the command ring is closed, or after an error was reported. */
  run(): void {
    this.#report({ kind: 'ready' })
    const pending = this.#pending.list()
    if (this.#live !== null && pending.length > 0) this.#report({ kind: 'live', pending })
    while (!this.#commands.closed) {
      this.#takeCommands()
      const gave = this.#givePiece()
      if (this.#live === null || !this.#running || this.#clone?.mustWait) {
        if (!gave) this.#commands.wait()
        continue
      }
      const napMs = this.#livePacer.waitMs(monotonicMs(), this.#inputs.length > 0)
      if (napMs > 0) {
        if (!gave) this.#commands.wait(napMs)
        continue
      }
      if (this.#inputs.length === 0) {
        const sleepMs = this.#live.sleepMs()
        // While the guest sleeps, pieces follow one another.
        if (sleepMs > 0 && gave) continue
        if (sleepMs > 0) {
          this.#commands.wait(sleepMs)
          // Whatever ended the sleep is looked at first; a timer that is not due yet is slept on again.
          if (!this.#commands.empty || this.#live.sleepMs() > 0) continue
        }
      }
      this.#runSlice(this.#live)
    }
  }

  /** Goes on with the clone, if there is one to be made; true when that may go on at once. */
  #givePiece(): boolean {
    if (this.#cloneWanted && this.#live !== null && this.#live.cursor.sequence > 0) {
      this.#cloneWanted = false
      this.#beginClone(this.#live.cursor)
    }
    const piece = this.#clone?.next() ?? null
    if (piece === null) return false
    this.#report(piece)
    if (this.#clone?.isDone) this.#clone = null
    return true
  }

  #beginClone(cursor: FrameCursor): void {
    if (!isSavable(this.#machine)) {
      this.#report({ kind: 'clone-refused', message: 'this machine knows no snapshots' })
      return
    }
    this.#clone?.cancel()
    this.#clone = new CloneProducer(this.#machine, cursor)
    this.#report(this.#clone.begun)
  }

  #cancelClone(): void {
    this.#cloneWanted = false
    this.#clone?.cancel()
    this.#clone = null
  }

  #runSlice(live: LiveCpu): void {
    if (live.halted) {
      this.#dropInputs()
      return
    }
    const inputs = this.#inputs
    this.#dropInputs()
    const cpuMs = threadCpuMs()
    const slice = live.slice(inputs, () => !this.#commands.empty)
    const workMs = threadCpuMs() - cpuMs
    for (const input of inputs) this.#pending.input(input)
    for (const output of slice.outputs) this.#pending.output(output)
    this.#count()
    this.#report({
      kind: 'recorded',
      sequence: slice.sequence,
      bytes: slice.bytes,
      outputs: slice.outputs,
      workMs,
      framesTaken: inputs.filter((input) => input.kind === 'net-rx').length,
    })
    this.#livePacer.worked(workMs, monotonicMs())
  }

  #dropInputs(): void {
    this.#inputs = []
    this.#inputBytes = 0
  }

  /** Takes what waits in the ring; stops early when a slice could not hold more. */
  #takeCommands(): void {
    while (this.#inputBytes < SLICE_INPUT_BYTES_MAX) {
      const record = this.#commands.tryRead()
      if (record === null) return
      const command = decodeCommand(record)
      switch (command.kind) {
        case 'input':
          this.#takeInput(command.input)
          break
        case 'frame':
          this.#replayFrame(command.bytes, command.arrivedMs)
          break
        case 'go-live':
          this.#takeOver()
          break
        case 'run':
          this.#running = command.run
          if (!command.run) return
          break
        case 'throttle':
          this.#livePacer.share = command.share
          break
        case 'clone':
          this.#cloneWanted = true
          break
        case 'clone-credit':
          this.#clone?.allow(command.pages)
          break
        case 'clone-cancel':
          this.#cancelClone()
          break
        default:
          throw new ReplicaError('CLONE_NONSENSE', `A machine that is whole was sent ${command.kind}.`)
      }
    }
  }

  #takeInput(input: MachineInput): void {
    this.#inputs.push(input)
    this.#inputBytes += inputBytesMax(input)
  }

  #replayFrame(bytes: Uint8Array, arrivedMs: number): void {
    if (this.#replay === null)
      throw new ReplicaError('MACHINE_FAILED', 'A live machine was sent a log frame.')
    const cpuMs = threadCpuMs()
    const slice = this.#replay.replay(bytes)
    this.#slowDown(threadCpuMs() - cpuMs)
    this.#clock.frameArrived(slice.clock, arrivedMs)
    for (const input of slice.inputs) this.#pending.input(input)
    for (const output of slice.outputs) this.#pending.output(output)
    this.#count()
    this.#report({
      kind: 'replayed',
      sequence: slice.sequence,
      byteLength: bytes.length,
      outputs: slice.outputs,
    })
  }

  /** Makes this backup as slow as a measurement wants it to be. */
  #slowDown(workMs: number): void {
    const share = this.#controls.replayShare
    const nowMs = monotonicMs()
    this.#replayPacer.share = share
    this.#replayPacer.worked(workMs, nowMs)
    const napMs = this.#replayPacer.waitMs(nowMs)
    if (napMs > 0) this.#controls.waitForChange(share, napMs)
  }

  #takeOver(): void {
    if (this.#replay === null) throw new ReplicaError('MACHINE_FAILED', 'A live machine was told to go live.')
    const ticks = this.#clock.guestTicks(monotonicMs(), this.#machine.guestClock())
    this.#goLive(this.#replay.cursor, ticks)
    this.#replay = null
    this.#report({ kind: 'live', pending: this.#pending.list() })
  }

  #goLive(cursor: FrameCursor, ticks: bigint): void {
    // A primary that died before its first frame has not told the machine which one it is.
    if (cursor.sequence === 0) for (const input of this.#firstInputs) this.#takeInput(input)
    this.#policy = new SlicePolicy(monotonicMs(), ticks)
    this.#live = new LiveCpu(this.#machine, this.#policy, cursor, monotonicMs)
  }

  #count(): void {
    this.#counters.set(
      this.#machine.retired,
      this.#machine.guestClock(),
      this.#policy?.instructionsPerMs ?? 0,
    )
  }

  #report(report: CpuReport): void {
    this.#reports.writeParts(reportParts(report))
  }
}

/** The shape of the module that makes machines; tests name another module than the product's. */
interface MachineModule {
  createMachine(
    config: MachineConfig,
    options?: { readonly reloadBoot?: () => BootConfig },
  ): Machine | Promise<Machine>
}

async function main(data: CpuThreadData): Promise<void> {
  const reports = new RingWriter(data.reports, () => ringDoorbell(data.doorbellFd))
  if (data.yielding) lowerThisThread()
  try {
    const module = (await import(data.machineModule)) as MachineModule
    const images = data.boot
    const options = images === null ? {} : { reloadBoot: () => reloadBoot(images) }
    const create = (config: MachineConfig) => module.createMachine(config, options)
    const { machine, cursor } =
      data.machine === null
        ? await becomeClone(data, create)
        : { machine: await begin(data.machine, data.snapshot, create), cursor: CURSOR_AT_START }
    const thread = new CpuThread(machine, cursor, data, reports)
    thread.run()
  } catch (error) {
    if (error instanceof ReplicaError && error.code === 'RING_CLOSED') return
    if (error instanceof DivergenceError) {
      reports.writeParts(reportParts({ kind: 'diverged', sequence: error.sequence, message: error.message }))
    } else {
      reports.writeParts(reportParts({ kind: 'failed', ...describe(error) }))
    }
  } finally {
    reports.close()
  }
}

async function becomeClone(
  { commands, yielding }: CpuThreadData,
  create: (config: MachineConfig) => Machine | Promise<Machine>,
): Promise<ClonedMachine> {
  if (!yielding) yieldThisThread()
  const cloned = await cloneFrom(new RingReader(commands), create)
  if (!yielding) restoreThisThread()
  return cloned
}

/** A machine at power-on, or as it was saved in the file `snapshot`. */
async function begin(
  config: MachineConfig,
  snapshot: string | null,
  create: (config: MachineConfig) => Machine | Promise<Machine>,
): Promise<Machine> {
  const machine = await create(config)
  releaseImages(config)
  if (snapshot !== null && config.boot.kind === 'snapshot') {
    // Imported when it is needed: a machine that boots does without.
    const { restoreFromFile } = await import('../snapshot/file.ts')
    restoreFromFile(snapshot, machine, config.boot)
  }
  return machine
}

function describe(error: unknown): { code: string; message: string; next: string } {
  if (error instanceof UnderstudyError) return { code: error.code, message: error.message, next: error.next }
  const detail = error instanceof Error ? (error.stack ?? error.message) : String(error)
  const failed = new ReplicaError('MACHINE_FAILED', detail)
  return { code: failed.code, message: failed.message, next: failed.next }
}

/** Gets everything ready that needs no machine, so that it starts sooner when it comes. */
async function prepared(port: MessagePort, { prepare }: PreparedThreadData): Promise<CpuThreadData> {
  const told = new Promise<CpuThreadData>((resolve) => port.once('message', resolve))
  await Promise.all([import(prepare), import('../snapshot/file.ts')])
  return told
}

if (parentPort !== null) {
  const data = workerData as CpuThreadData | PreparedThreadData
  await main('prepare' in data ? await prepared(parentPort, data) : data)
}
