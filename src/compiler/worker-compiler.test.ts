/** A machine whose code is compiled by a thread of its own comes to the same state as one that compiles nothing. */
import { expect, test } from 'vitest'
import type { Computer } from '../machine/computer.ts'
import { CLOCK_RATE } from '../machine/cpu/isa-test/engine.ts'
import { encode } from '../machine/cpu/isa-test/instructions.ts'
import { rewritingProgram } from '../machine/cpu/isa-test/rewriting-program.ts'
import { layoutFor, MODE } from '../machine/cpu/layout.ts'
import { createMachine as createWaitingMachine } from '../machine/create.ts'
import { createMachine } from './create.ts'
import { CompilerError } from './errors.ts'
import { WorkerCompiler } from './worker-compiler.ts'

const MEMORY_BYTES = 16 * 1024 * 1024
const HOT_THRESHOLD = 3
const STEP_INSTRUCTIONS = 5_000
/** Modules the guest got installed, seen as rises of the number of compiled places, before it is compared. */
const RISES_MIN = 8

function started(create: typeof createMachine, options: Parameters<typeof createMachine>[1]): Computer {
  const machine = create(
    {
      memoryBytes: MEMORY_BYTES,
      boot: { kind: 'bare', elf: rewritingProgram() },
      nics: [],
      disks: [],
      rngSeed: new Uint8Array(32),
    },
    options,
  )
  machine.beginSlice({ clock: 0n, clockRate: CLOCK_RATE, inputs: [] })
  return machine
}

test('code that is compiled by another thread, and overwritten meanwhile, changes nothing', async () => {
  const machine = started(createMachine, { hotThreshold: HOT_THRESHOLD })
  let entries = 0
  for (let rises = 0; rises < RISES_MIN; ) {
    machine.run(STEP_INSTRUCTIONS)
    const now = machine.debug.compiledEntries()
    if (now > entries) rises++
    entries = now
    await new Promise(setImmediate)
  }
  const oracle = started(createWaitingMachine, { engine: 'interpreter' })
  while (oracle.retired < machine.retired) oracle.run(Number(machine.retired - oracle.retired))
  expect(machine.digest()).toBe(oracle.digest())
  expect(machine.fullDigest()).toBe(oracle.fullDigest())
}, 60_000)

test('a thread that fails says so where its work is taken', async () => {
  const layout = layoutFor(MEMORY_BYTES)
  const memory = new WebAssembly.Memory({
    initial: layout.wasmPages,
    maximum: layout.wasmPages,
    shared: true,
  })
  const compiler = new WorkerCompiler({ layout, memory, floatFunctions: [] })
  const view = new DataView(memory.buffer)
  // A floating-point addition, whose library the thread has not been told of.
  view.setUint32(layout.ram, encode('fadd.d', 1, 2, 3, 0), true)
  view.setUint32(layout.pageCode + MODE.machine * layout.pageCount * 4, layout.codeTables, true)
  compiler.request([{ page: 0, offset: 0, mode: MODE.machine }])
  const taken = async (): Promise<unknown> => {
    for (;;) {
      const compiled = compiler.take()
      if (compiled !== null) return compiled
      await new Promise(setImmediate)
    }
  }
  await expect(taken()).rejects.toThrow(CompilerError)
}, 60_000)
