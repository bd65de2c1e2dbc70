/** The code cache stays within its bound, and what it lets go is given back. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import type { Computer, EngineOptions } from '../computer.ts'
import { createMachine } from '../create.ts'
import { CLOCK_RATE } from './isa-test/engine.ts'
import { FUNCTIONS, rewritingProgram } from './isa-test/rewriting-program.ts'
import { type StartCompiler, SynchronousCompiler } from './region-compiler.ts'

const RUN_INSTRUCTIONS = 20_000
const RUNS = 150
/** Room for a few of the program's regions. */
const SMALL_BYTES = 4_000

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

function runRewriting(options: EngineOptions, look: (machine: Computer) => void = () => undefined): Computer {
  const machine = createMachine(
    {
      memoryBytes: 16 * 1024 * 1024,
      boot: { kind: 'bare', elf: rewritingProgram() },
      nics: [],
      disks: [],
      rngSeed: new Uint8Array(32),
    },
    options,
  )
  machine.beginSlice({ clock: 0n, clockRate: CLOCK_RATE, inputs: [] })
  for (let run = 0; run < RUNS; run++) {
    machine.run(RUN_INSTRUCTIONS)
    look(machine)
  }
  return machine
}

/** Counts the bytes of all modules, and keeps weak references to them. */
function counted(): { compiler: StartCompiler; modules: WeakRef<WebAssembly.Module>[]; bytes: () => number } {
  const modules: WeakRef<WebAssembly.Module>[] = []
  let bytes = 0
  const compiler: StartCompiler = (setup) => {
    const inner = new SynchronousCompiler(setup)
    return {
      request: (places) => inner.request(places),
      take: () => {
        const taken = inner.take()
        if (taken === null) return null
        modules.push(new WeakRef(taken.module))
        bytes += taken.bytes
        return taken
      },
    }
  }
  return { compiler, modules, bytes: () => bytes }
}

test('beyond its bound code is forgotten, which changes nothing', () => {
  const { compiler, bytes } = counted()
  let most = 0
  const small = runRewriting({ compiler, hotThreshold: 50, codeBytesMax: SMALL_BYTES }, (machine) => {
    most = Math.max(most, machine.debug.compiledEntries())
  })
  expect(bytes()).toBeGreaterThan(3 * SMALL_BYTES)
  expect(most).toBeGreaterThan(0)
  expect(most).toBeLessThan(FUNCTIONS)
  expect(small.fullDigest()).toBe(runRewriting({ engine: 'interpreter' }).fullDigest())
})

test('code that was overwritten or forgotten is collected', async () => {
  const { compiler, modules } = counted()
  const machine = runRewriting({ compiler, hotThreshold: 2 })
  // What a weak reference was made of lives to the end of the turn.
  await new Promise(setImmediate)
  collectGarbage()
  const alive = modules.filter((module) => module.deref() !== undefined).length
  expect(modules.length).toBeGreaterThan(3 * FUNCTIONS)
  expect(alive).toBeLessThanOrEqual(machine.debug.compiledEntries() + 1)
})
