/** The I/O thread's handle on the CPU thread: starts it, sends it commands, hands on its reports. */
import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { MachineConfig } from '../machine/config.ts'
import type { MachineInput } from '../machine/io.ts'
import type { Boot } from './config.ts'
import { Doorbell } from './doorbell.ts'
import { ReplicaError } from './errors.ts'
import { imageBuffers } from './machine-source.ts'
import { createRing, RingReader, RingWriter } from './ring.ts'
import {
  COMMAND_RING_BYTES,
  type CpuCommand,
  CpuControls,
  CpuCounters,
  type CpuReport,
  type CpuThreadData,
  type PreparedThreadData,
  REPORT_RING_BYTES,
} from './thread-messages.ts'
import { commandParts, decodeReport } from './thread-records.ts'

/** The thread's module has the ending of this one: .ts from source, .js when packed. */
const THREAD_URL = new URL(`./cpu-thread${extname(import.meta.url)}`, import.meta.url)

/** Reports handled before sockets get their turn again. */
const REPORT_BATCH_MAX = 64

export interface CpuOptions {
  /** URL of the module that exports `createMachine`. */
  readonly machineModule: string
  /** Null for a clone, which gets it with its state. */
  readonly machine: MachineConfig | null
  /** Path of the snapshot that `machine` goes on from; null from power-on. */
  readonly snapshot?: string | null
  /** What the machine takes in when it is live and the log is still empty. */
  readonly firstInputs?: readonly MachineInput[]
  /** Where its images came from, or null when it boots none. */
  readonly boot?: Boot | null
  /** Live from the start, or replaying from there. */
  readonly live: boolean
  /** Whether the thread shall make way for other threads by itself. */
  readonly yielding?: boolean
  readonly onReport: (report: CpuReport) => void
  /** A thread that `prepareThread` started for the same module. */
  readonly thread?: Worker | null
}

/** Starts a thread that has everything ready but the machine. */
export function prepareThread(machineModule: string): Worker {
  const data: PreparedThreadData = { prepare: machineModule }
  return new Worker(THREAD_URL, { workerData: data, name: 'understudy-cpu' })
}

export class Cpu {
  readonly counters: CpuCounters
  readonly controls: CpuControls
  readonly #worker: Worker
  readonly #commands: RingWriter
  readonly #reports: RingReader
  readonly #doorbell: Doorbell
  readonly #onReport: (report: CpuReport) => void
  /** Commands the ring has no room for, oldest first. */
  #backlog: Uint8Array[] = []
  #backlogBytes = 0
  #flushing: Promise<void> | null = null
  #drainsLater = false
  #ended = false

  private constructor(options: CpuOptions) {
    this.#onReport = options.onReport
    this.#doorbell = new Doorbell(() => this.#drain())
    const data: CpuThreadData = {
      machineModule: options.machineModule,
      machine: options.machine,
      snapshot: options.snapshot ?? null,
      firstInputs: options.firstInputs ?? [],
      boot: options.boot ?? null,
      live: options.live,
      yielding: options.yielding ?? false,
      commands: createRing(COMMAND_RING_BYTES),
      reports: createRing(REPORT_RING_BYTES),
      doorbellFd: this.#doorbell.writeFd,
      counters: CpuCounters.create(),
      controls: CpuControls.create(),
    }
    this.#commands = new RingWriter(data.commands)
    this.#reports = new RingReader(data.reports)
    this.counters = new CpuCounters(data.counters)
    this.controls = new CpuControls(data.controls)
    this.#drain()
    const transferList = options.machine === null ? [] : imageBuffers(options.machine)
    if (options.thread != null) {
      this.#worker = options.thread
      this.#worker.postMessage(data, transferList)
    } else {
      this.#worker = new Worker(THREAD_URL, { workerData: data, transferList, name: 'understudy-cpu' })
    }
    this.#worker.on('error', (error) =>
      this.#failed(error instanceof Error ? (error.stack ?? error.message) : String(error)),
    )
    this.#worker.on('exit', (code) => {
      while (!this.#ended && !this.#reports.empty) this.#drain()
      this.#failed(`The CPU thread ended with ${code}.`)
    })
  }

  /** Starts the thread. Its first report is `ready`. The images in `machine` move to it and are gone here. */
  static start(options: CpuOptions): Cpu {
    return new Cpu(options)
  }

  /** Bytes of commands that wait for the CPU thread. */
  get waitingBytes(): number {
    return this.#commands.usedBytes + this.#backlogBytes
  }

  send(command: CpuCommand): void {
    if (this.#ended) return
    const parts = commandParts(command)
    if (this.#backlog.length === 0 && this.#commands.tryWriteParts(parts)) return
    const record = Buffer.concat(parts)
    this.#backlog.push(record)
    this.#backlogBytes += record.length
    this.#flushing ??= this.#flush()
  }

  /** The bytes of a `clone-piece` have been dealt with. */
  recycle(bytes: Uint8Array): void {
    this.#reports.recycle(bytes)
  }

  /** Resolves when everything that was sent is in the ring, which bounds what waits for the CPU thread. */
  async flushed(): Promise<void> {
    while (this.#flushing !== null && !this.#ended) await this.#flushing
  }

  /** Ends the thread wherever it is. Nothing is reported any more. */
  async end(): Promise<void> {
    this.#ended = true
    this.#commands.close()
    await this.#worker.terminate()
    this.#doorbell.close()
  }

  async #flush(): Promise<void> {
    while (this.#backlog.length > 0 && !this.#ended) {
      const record = this.#backlog[0]
      await this.#commands.writeWhenRoom(record)
      this.#backlog.shift()
      this.#backlogBytes -= record.length
    }
    this.#flushing = null
  }

  /** Hands on what the CPU thread reported. Called when the doorbell rang, and once at the end. */
  #drain(): void {
    for (let taken = 0; taken < REPORT_BATCH_MAX; taken++) {
      const record = this.#ended ? null : this.#reports.tryRead()
      if (record === null) break
      this.#onReport(decodeReport(record))
    }
    if (this.#ended || this.#drainsLater || this.#reports.sleep()) return
    // More is there: sockets get their turn first.
    this.#drainsLater = true
    setImmediate(() => {
      this.#drainsLater = false
      this.#drain()
    })
  }

  #failed(message: string): void {
    if (this.#ended) return
    this.#ended = true
    const { code, next } = new ReplicaError('MACHINE_FAILED', message)
    this.#onReport({ kind: 'failed', code, message, next })
  }
}
