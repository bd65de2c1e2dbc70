/**
 * The thread that compiles for one machine. It sleeps until entry points are asked for, compiles those that wait
 * together, and posts each module as soon as it is there. It has no event loop.
 */
import { workerData } from 'node:worker_threads'
import { control } from '../machine/cpu/layout.ts'
import { RequestReader } from '../machine/cpu/region-compiler.ts'
import { compileRegions } from '../machine/cpu/region-module.ts'
import { readRequests } from './request-ring.ts'
import type { CompileReport, CompileThreadData } from './worker-compiler.ts'

/** Entry points compiled as one module: they share its fixed cost, and none waits long for the others. */
const BATCH_MAX = 8

function compileForever(data: CompileThreadData): never {
  const reader = new RequestReader(data.setup)
  for (;;) {
    const compiled = compileRegions(data.setup, reader.read(readRequests(data.requests, BATCH_MAX)))
    if (compiled !== null) post(data, { kind: 'compiled', compiled })
  }
}

function post({ port, posted, setup }: CompileThreadData, report: CompileReport): void {
  const regions = report.kind === 'compiled' ? report.compiled.regions : []
  port.postMessage(
    report,
    regions.flatMap(({ pages }) => pages.map(({ code }) => code.buffer)),
  )
  Atomics.add(posted, 0, 1)
  // A running machine looks up: ready first, so that whoever saw the call for attention sees the reason.
  const words = new Int32Array(setup.memory.buffer)
  Atomics.store(words, control.compiledReady / 4, 1)
  Atomics.store(words, control.attention / 4, 1)
}

const data = workerData as CompileThreadData
try {
  compileForever(data)
} catch (error) {
  // The machine's thread may have no event loop that would tell it of a thread that ended.
  post(data, {
    kind: 'failed',
    detail: error instanceof Error ? (error.stack ?? error.message) : String(error),
  })
}
