/**
 * The thread that compiles for one machine. It takes requests as they come, several into one module while more wait,
 * and posts each module as soon as it is compiled.
 */
import { receiveMessageOnPort, workerData } from 'node:worker_threads'
import { control } from '../machine/cpu/layout.ts'
import { compileRegions, type RegionRequest } from '../machine/cpu/region-module.ts'
import type { CompileReport, CompileThreadData } from './worker-compiler.ts'

/** Entry points compiled as one module: they share its fixed cost, and none waits long for the others. */
const BATCH_MAX = 8

class CompileThread {
  readonly #data: CompileThreadData
  readonly #words: Int32Array
  #waiting: RegionRequest[] = []

  constructor(data: CompileThreadData) {
    this.#data = data
    this.#words = new Int32Array(data.setup.memory.buffer)
  }

  start(): void {
    this.#data.port.on('message', (requests: RegionRequest[]) => {
      this.#waiting.push(...requests)
      try {
        this.#compileAll()
      } catch (error) {
        // The machine's thread may have no event loop that would tell it of a thread that ended.
        const detail = error instanceof Error ? (error.stack ?? error.message) : String(error)
        this.#post({ kind: 'failed', detail })
      }
    })
  }

  #compileAll(): void {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.slice(0, BATCH_MAX)
      this.#waiting = this.#waiting.slice(BATCH_MAX)
      const compiled = compileRegions(this.#data.setup, batch)
      if (compiled !== null) this.#post({ kind: 'compiled', compiled })
      this.#receive()
    }
  }

  #receive(): void {
    for (;;) {
      const received = receiveMessageOnPort(this.#data.port)
      if (received === undefined) return
      this.#waiting.push(...(received.message as RegionRequest[]))
    }
  }

  #post(report: CompileReport): void {
    const { port, posted } = this.#data
    const regions = report.kind === 'compiled' ? report.compiled.regions : []
    port.postMessage(
      report,
      regions.map(({ code }) => code.buffer),
    )
    Atomics.add(posted, 0, 1)
    // A running machine looks up: ready first, so that whoever saw the call for attention sees the reason.
    Atomics.store(this.#words, control.compiledReady / 4, 1)
    Atomics.store(this.#words, control.attention / 4, 1)
  }
}

new CompileThread(workerData as CompileThreadData).start()
