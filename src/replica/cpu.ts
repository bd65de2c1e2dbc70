/** The I/O thread's handle on the CPU thread: starts it, sends it commands, hands on its reports. */
import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { MachineConfig } from '../machine/config.ts'
import { ReplicaError } from './errors.ts'
import { createRing, RingReader, RingWriter } from './ring.ts'
import {
  COMMAND_RING_BYTES,
  type CpuCommand,
  CpuCounters,
  type CpuReport,
  type CpuThreadData,
  decodeReport,
  encodeCommand,
  REPORT_RING_BYTES,
} from './thread-messages.ts'

/** The thread's module has the ending of this one: .ts from source, .js when packed. */
const THREAD_URL = new URL(`./cpu-thread${extname(import.meta.url)}`, import.meta.url)

/** Reports handled before sockets get their turn again. */
const REPORT_BATCH_MAX = 64

export interface CpuOptions {
  /** URL of the module that exports `createMachine`. */
  readonly machineModule: string
  readonly machine: MachineConfig
  /** Live from power-on, or replaying from power-on. */
  readonly live: boolean
  /** Whether the thread shall make way for other threads by itself. */
  readonly yielding?: boolean
  readonly onReport: (report: CpuReport) => void
}

export class Cpu {
  readonly counters: CpuCounters
  readonly #worker: Worker
  readonly #commands: RingWriter
  readonly #onReport: (report: CpuReport) => void
  /** Commands the ring has no room for, oldest first. */
  #backlog: Uint8Array[] = []
  #backlogBytes = 0
  #ended = false

  private constructor(worker: Worker, data: CpuThreadData, onReport: (report: CpuReport) => void) {
    this.#worker = worker
    this.#commands = new RingWriter(data.commands)
    this.#onReport = onReport
    this.counters = new CpuCounters(data.counters)
    worker.on('error', (error) =>
      this.#failed(error instanceof Error ? (error.stack ?? error.message) : String(error)),
    )
    worker.on('exit', (code) => this.#failed(`The CPU thread ended with ${code}.`))
    void this.#drain(new RingReader(data.reports))
  }

  /** Starts the thread. Its first report is `ready`. The images in `machine` move to it and are gone here. */
  static start(options: CpuOptions): Cpu {
    const data: CpuThreadData = {
      machineModule: options.machineModule,
      machine: options.machine,
      live: options.live,
      yielding: options.yielding ?? false,
      commands: createRing(COMMAND_RING_BYTES),
      reports: createRing(REPORT_RING_BYTES),
      counters: CpuCounters.create(),
    }
    const worker = new Worker(THREAD_URL, {
      workerData: data,
      name: 'understudy-cpu',
    })
    return new Cpu(worker, data, options.onReport)
  }

  /** Bytes of commands that wait for the CPU thread. */
  get waitingBytes(): number {
    return this.#commands.usedBytes + this.#backlogBytes
  }

  send(command: CpuCommand): void {
    if (this.#ended) return
    const record = encodeCommand(command)
    if (this.#backlog.length === 0 && this.#commands.tryWrite(record)) return
    this.#backlog.push(record)
    this.#backlogBytes += record.length
    if (this.#backlog.length === 1) void this.#flush()
  }

  /** Ends the thread wherever it is. Nothing is reported any more. */
  async end(): Promise<void> {
    this.#ended = true
    this.#commands.close()
    await this.#worker.terminate()
  }

  async #flush(): Promise<void> {
    while (this.#backlog.length > 0 && !this.#ended) {
      const record = this.#backlog[0]
      await this.#commands.writeWhenRoom(record)
      this.#backlog.shift()
      this.#backlogBytes -= record.length
    }
  }

  async #drain(reports: RingReader): Promise<void> {
    while (await reports.ready()) {
      for (let taken = 0; taken < REPORT_BATCH_MAX && !this.#ended; taken++) {
        const record = reports.tryRead()
        if (record === null) break
        this.#onReport(decodeReport(record))
      }
      if (this.#ended) return
      if (!reports.empty) await new Promise((resolve) => setImmediate(resolve))
    }
  }

  #failed(message: string): void {
    if (this.#ended) return
    this.#ended = true
    const { code, next } = new ReplicaError('MACHINE_FAILED', message)
    this.#onReport({ kind: 'failed', code, message, next })
  }
}
