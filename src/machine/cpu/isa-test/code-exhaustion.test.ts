/** Programs that use up what the code cache has: it forgets what it must and goes on, and nobody can tell. */
import { expect, test } from 'vitest'
import { createMachine } from '../../create.ts'
import { CODE_TABLES_MAX, INVALIDATED_MAX } from '../layout.ts'
import { type StartCompiler, SynchronousCompiler } from '../region-compiler.ts'
import type { RegionPlace } from '../region-module.ts'
import { Assembler } from './assembler.ts'
import { writeElf } from './elf.ts'
import { CLOCK_RATE, ENGINES, runEngine } from './engine.ts'
import { compareEngines } from './engine-pair.ts'
import { encode } from './instructions.ts'
import { Random } from './random.ts'

const PAGES = CODE_TABLES_MAX + 100
const FIRST_PAGE = 0x8010_0000
const PAGE_BYTES = 4096
const PASSES = 3
const RETURN = 0x8082
/** Not at the first visit: compiling each page by itself would take seconds. */
const HOT_THRESHOLD = 2

/** Writes ADDI x10, x10, `immediate` and RET to the start of each of so many pages. */
function emitFill(asm: Assembler, pages: number, immediate: number): void {
  asm.li(5, FIRST_PAGE)
  asm.li(6, encode('addi', 10, 10, immediate))
  asm.li(7, RETURN)
  asm.li(8, pages)
  asm.li(11, PAGE_BYTES)
  const fill = asm.here()
  asm.emit('sw', 6, 5, 0)
  asm.emit('sh', 7, 5, 4)
  asm.emit('add', 5, 5, 11)
  asm.emit('addi', 8, 8, -1)
  asm.emitTo(fill, 'bne', 8, 0)
}

/** Calls all pages, `passes` times over. */
function emitCalls(asm: Assembler, pages: number, passes: number): void {
  asm.li(12, passes)
  const pass = asm.here()
  asm.li(5, FIRST_PAGE)
  asm.li(8, pages)
  const loop = asm.here()
  asm.emit('jalr', 1, 5, 0)
  asm.emit('add', 5, 5, 11)
  asm.emit('addi', 8, 8, -1)
  asm.emitTo(loop, 'bne', 8, 0)
  asm.emit('addi', 12, 12, -1)
  asm.emitTo(pass, 'bne', 12, 0)
}

/** Stores x10 behind tohost and ends. */
function finish(asm: Assembler): { elf: Uint8Array; result: number } {
  const tohost = asm.label('tohost')
  asm.loadAddress(5, tohost)
  asm.emit('sd', 10, 5, 64)
  asm.emit('addi', 6, 0, 1)
  asm.emit('sd', 6, 5, 0)
  asm.emit('jal', 0, 0)
  asm.align(64)
  asm.bind(tohost)
  asm.advanceTo(asm.address + 128)
  const symbols = { tohost: asm.addressOf(tohost) }
  return { elf: writeElf({ base: 0x8000_0000, bytes: asm.finish(), symbols }), result: symbols.tohost + 64 }
}

test(`${PAGES} pages of code, called ${PASSES} times`, () => {
  const asm = new Assembler(0x8000_0000)
  emitFill(asm, PAGES, 1)
  asm.li(10, 0)
  emitCalls(asm, PAGES, PASSES)
  const { divergence, halted, retired } = compareEngines(finish(asm).elf, new Random(1), {
    hotThreshold: HOT_THRESHOLD,
  })
  expect(divergence).toBeNull()
  expect(halted).toBe(true)
  expect(retired).toBeGreaterThan(BigInt(PAGES * (5 + 6 * PASSES)))
})

test('pages that are not compiled give their code tables back, and compiled code stays', () => {
  const asm = new Assembler(0x8000_0000)
  emitFill(asm, PAGES, 1)
  asm.li(10, 0)
  emitCalls(asm, PAGES, 2 * PASSES)
  const requested: RegionPlace[] = []
  const compiler: StartCompiler = (setup) => {
    const inner = new SynchronousCompiler(setup)
    return {
      request: (places) => {
        requested.push(...places)
        inner.request(places)
      },
      take: () => inner.take(),
    }
  }
  const machine = createMachine(
    {
      memoryBytes: 64 * 1024 * 1024,
      boot: { kind: 'bare', elf: finish(asm).elf },
      nics: [],
      disks: [],
      rngSeed: new Uint8Array(32),
    },
    { compiler, hotThreshold: 10 * PASSES },
  )
  machine.beginSlice({ clock: 0n, clockRate: CLOCK_RATE, inputs: [] })
  // Into the last turn: at its end the program writes beside its own code.
  const retired = BigInt(PAGES * (5 + 6 * (2 * PASSES - 1)))
  while (machine.retired < retired) machine.run(20_000)
  // The loops that fill and call; a place that was forgotten would be asked for again.
  const names = requested.map(({ page, offset, mode }) => `${page} ${offset} ${mode}`)
  expect(names.length).toBeGreaterThan(0)
  expect(new Set(names).size).toBe(names.length)
  expect(machine.debug.compiledEntries()).toBe(names.length)
})

test.each(ENGINES)('%s: more pages of code rewritten in one run than the list of them holds', (engine) => {
  const pages = INVALIDATED_MAX + 100
  const asm = new Assembler(0x8000_0000)
  emitFill(asm, pages, 1)
  asm.li(10, 0)
  emitCalls(asm, pages, 2)
  emitFill(asm, pages, 100)
  emitCalls(asm, pages, 2)
  const { elf, result } = finish(asm)
  const { results } = runEngine(engine, elf, result, 8)
  expect(new DataView(results.buffer).getBigUint64(0, true)).toBe(BigInt(pages * 202))
})
