/** The running thread's side of the thread that compiles: sends requests, takes modules, waits for neither. */
import { extname } from 'node:path'
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads'
import type { CompilerSetup, RegionCompiler } from '../machine/cpu/region-compiler.ts'
import type { CompiledModule, RegionPlace } from '../machine/cpu/region-module.ts'
import { setCompileFlags } from './compile-flags.ts'
import { CompilerError } from './errors.ts'
import { createRequestRing, type RequestRing, writeRequests } from './request-ring.ts'
import { lowerPoolThreads } from './thread-priority.ts'

/** The thread's module has the ending of this one: .ts from source, .js when packed. */
const THREAD_URL = new URL(`./compile-thread${extname(import.meta.url)}`, import.meta.url)

export interface CompileThreadData {
  readonly setup: CompilerSetup
  readonly requests: RequestRing
  readonly port: MessagePort
  /** How many modules were posted, so that taking none costs a look at one word. */
  readonly posted: Int32Array<SharedArrayBuffer>
}

export type CompileReport =
  | { readonly kind: 'compiled'; readonly compiled: CompiledModule }
  | { readonly kind: 'failed'; readonly detail: string }

export class WorkerCompiler implements RegionCompiler {
  readonly #port: MessagePort
  readonly #requests = createRequestRing()
  /** What the ring had no room for. */
  #backlog: RegionPlace[] = []
  readonly #posted = new Int32Array(new SharedArrayBuffer(4))
  #taken = 0

  constructor(setup: CompilerSetup) {
    setCompileFlags()
    lowerPoolThreads()
    const { port1, port2 } = new MessageChannel()
    this.#port = port1
    const data: CompileThreadData = { setup, requests: this.#requests, port: port2, posted: this.#posted }
    const worker = new Worker(THREAD_URL, {
      workerData: data,
      transferList: [port2],
      name: 'understudy-compile',
    })
    // It ends with the machine's thread; nobody waits for it.
    worker.unref()
    port1.unref()
  }

  request(places: readonly RegionPlace[]): void {
    this.#backlog.push(...places)
    this.#backlog = this.#backlog.slice(writeRequests(this.#requests, this.#backlog))
  }

  /** Throws a CompilerError when the thread has failed. */
  take(): CompiledModule | null {
    if (Atomics.load(this.#posted, 0) === this.#taken) return null
    const received = receiveMessageOnPort(this.#port)
    if (received === undefined) return null
    this.#taken = (this.#taken + 1) | 0
    // What it compiled made room.
    if (this.#backlog.length > 0) this.request([])
    const report = received.message as CompileReport
    if (report.kind === 'failed') throw new CompilerError(report.detail)
    return report.compiled
  }
}
