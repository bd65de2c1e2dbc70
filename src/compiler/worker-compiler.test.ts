/** A machine whose code is compiled by a thread of its own comes to the same state as one that compiles nothing. */
import { expect, test } from 'vitest'
import type { Computer } from '../machine/computer.ts'
import { Assembler } from '../machine/cpu/isa-test/assembler.ts'
import { writeElf } from '../machine/cpu/isa-test/elf.ts'
import { CLOCK_RATE } from '../machine/cpu/isa-test/engine.ts'
import { encode } from '../machine/cpu/isa-test/instructions.ts'
import { layoutFor, MODE } from '../machine/cpu/layout.ts'
import { createMachine as createWaitingMachine } from '../machine/create.ts'
import { createMachine } from './create.ts'
import { CompilerError } from './errors.ts'
import { WorkerCompiler } from './worker-compiler.ts'

const MEMORY_BYTES = 16 * 1024 * 1024
const BASE = 0x8000_0000
const FIRST_FUNCTION = BASE + 0x10_0000
const PAGE_BYTES = 4096
const FUNCTIONS = 40
const HOT_THRESHOLD = 3
/** Rounds between two rewritings: a place is hot by then, and compiled now and then before it is overwritten. */
const REWRITE_ROUNDS = 256
const STEP_INSTRUCTIONS = 5_000
/** Modules the guest got installed, seen as rises of the number of compiled places, before it is compared. */
const RISES_MIN = 8

/**
 * Calls functions on pages of their own, round after round for ever. In every 256th round it first writes each anew:
 * ADDI x10, x10, round / 256 modulo 64; RET.
 */
function rewritingProgram(): Uint8Array {
  const asm = new Assembler(BASE)
  const [round, at, left, step, word, ret, turn] = [21, 23, 24, 25, 26, 28, 29]
  asm.li(step, PAGE_BYTES)
  asm.li(ret, encode('jalr', 0, 1, 0))
  const again = asm.here('again')
  asm.li(at, FIRST_FUNCTION)
  asm.li(left, FUNCTIONS)
  const next = asm.here('next')
  const call = asm.label('call')
  asm.emit('andi', turn, round, REWRITE_ROUNDS - 1)
  asm.emitTo(call, 'bne', turn, 0)
  asm.emit('srli', turn, round, 8)
  asm.emit('andi', turn, turn, 63)
  asm.emit('slli', turn, turn, 20)
  asm.li(word, encode('addi', 10, 10, 0))
  asm.emit('add', word, word, turn)
  asm.emit('sw', word, at, 0)
  asm.emit('sw', ret, at, 4)
  asm.bind(call)
  asm.emit('jalr', 1, at, 0)
  asm.emit('add', at, at, step)
  asm.emit('addi', left, left, -1)
  asm.emitTo(next, 'bne', left, 0)
  asm.emit('addi', round, round, 1)
  asm.emitTo(again, 'jal', 0)
  return writeElf({ base: BASE, bytes: asm.finish(), symbols: {} })
}

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
