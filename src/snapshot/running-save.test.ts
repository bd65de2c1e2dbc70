/**
 * Pages that are captured while the machine goes on are those of the moment at which the capture began, whoever writes
 * to them meanwhile; and the machine does not notice. The programs are those of restore.test.ts, and one that writes
 * in every way there is.
 */
import { describe, expect, it } from 'vitest'
import type { Computer } from '../machine/computer.ts'
import { Assembler } from '../machine/cpu/isa-test/assembler.ts'
import { writeElf } from '../machine/cpu/isa-test/elf.ts'
import { ENGINES, HOT_THRESHOLD } from '../machine/cpu/isa-test/engine.ts'
import { Random } from '../machine/cpu/isa-test/random.ts'
import { buildScenario } from '../machine/cpu/isa-test/scenario.ts'
import { SCENARIOS } from '../machine/cpu/isa-test/scenarios.ts'
import { RunningSave } from './running-save.ts'
import { restored, runTo, started } from './testing/saved.ts'

const SEED = 20_261_128
const RETIRED_MAX = 2_000_000n
const BASE = 0x8000_0000
const DATA = BASE + 0x10_0000
/** Pages of data: a power of two. */
const DATA_PAGES = 64
const WRITER_ROUNDS = 40_000

/** Writes all over its data: stores of each width, aligned and across pages, atomics, blocks of zeros. */
function writingProgram(): Uint8Array {
  const asm = new Assembler(BASE)
  const [state, base, mask, at, value, left] = [20, 21, 22, 23, 24, 25]
  asm.li(state, 12_345)
  asm.li(base, DATA)
  asm.li(mask, DATA_PAGES * 4096 - 64)
  asm.li(left, WRITER_ROUNDS)
  const again = asm.here('again')
  const anywhere = () => {
    // A linear congruence modulo 2^64; its upper bits choose the place.
    asm.li(value, 1_664_525)
    asm.emit('mul', state, state, value)
    asm.emit('addi', state, state, 1013)
    asm.emit('srli', at, state, 12)
    asm.emit('and', at, at, mask)
    asm.emit('add', at, at, base)
  }
  for (const store of ['sd', 'sw', 'sh', 'sb'] as const) {
    anywhere()
    // Across the end of the block, now and then of the page; first, for then neither page was written lately.
    asm.emit(store, state, at, 63)
    anywhere()
    asm.emit(store, state, at, 0)
  }
  anywhere()
  asm.emit('amoadd.d', value, state, at, 0)
  anywhere()
  asm.emit('lr.w', value, at, 0)
  asm.emit('sc.w', value, state, at, 0)
  anywhere()
  asm.emit('cbo.zero', at)
  asm.emit('addi', left, left, -1)
  asm.emitTo(again, 'bne', left, 0)
  const end = asm.here('end')
  asm.emitTo(end, 'jal', 0)
  return writeElf({ base: BASE, bytes: asm.finish(), symbols: {} })
}

/** Saves the machine as of `at` in pieces while it runs on to `end`. */
function saveWhileRunning(machine: Computer, at: bigint, end: bigint, random: Random) {
  runTo(machine, at)
  machine.takeOutputs()
  const save = new RunningSave(machine, { program: 'test', compress: random.chance(50) })
  const pieces: Uint8Array[] = []
  let keptBytes = 0
  while (save.pagesLeft > 0) {
    const step = machine.retired + BigInt(1 + random.below(3000))
    runTo(machine, step < end ? step : end)
    keptBytes = Math.max(keptBytes, save.keptBytes)
    pieces.push(...save.next(1 + random.below(8)).map((piece) => piece.slice()))
  }
  runTo(machine, end)
  return { bytes: Buffer.concat(pieces), keptBytes }
}

/** Returns the most bytes of copies that were waiting. */
function check(elf: Uint8Array, random: Random): number {
  const whole = started(elf, 'regions')
  runTo(whole, RETIRED_MAX)
  const at = BigInt(random.below(Number(whole.retired)))
  const engines = { original: random.pick(ENGINES), copy: random.pick(ENGINES) }
  const where = `saved at ${at} of ${whole.retired}, ${JSON.stringify(engines)}`
  const original = started(elf, engines.original)
  const { bytes, keptBytes } = saveWhileRunning(original, at, RETIRED_MAX, random)
  expect(original.retired, where).toBe(whole.retired)
  expect(original.fullDigest(), where).toBe(whole.fullDigest())
  const copy = restored(bytes, { engine: engines.copy, hotThreshold: HOT_THRESHOLD })
  const then = started(elf, 'interpreter')
  runTo(then, at)
  then.takeOutputs()
  expect(copy.fullDigest(), where).toBe(then.fullDigest())
  runTo(copy, RETIRED_MAX)
  expect(copy.fullDigest(), where).toBe(whole.fullDigest())
  return keptBytes
}

describe(`machines captured at random while they run, seed ${SEED}`, () => {
  const random = new Random(SEED)

  it.each(SCENARIOS)('$name', (scenario) => {
    check(buildScenario(scenario, 'tohost').elf, random)
  })

  it('a program that writes in every way', () => {
    const elf = writingProgram()
    for (let i = 0; i < 10; i++) expect(check(elf, random)).toBeGreaterThan(0)
  })
})

it('what is given up leaves no marks, and another capture may follow', () => {
  const machine = started(writingProgram(), 'regions')
  runTo(machine, 100_000n)
  const pages = machine.pages.nonZero()
  const first = machine.pages.capture(pages)
  expect(() => machine.pages.capture(pages)).toThrow()
  runTo(machine, 150_000n)
  expect(first.keptBytes).toBeGreaterThan(0)
  first.cancel()
  expect(first.left).toBe(0)
  const before = machine.pages.view(DATA_PAGES * 4, 4).slice()
  const second = machine.pages.capture(Uint32Array.of(DATA_PAGES * 4))
  second.take(10, (page, bytes) => {
    expect(page).toBe(DATA_PAGES * 4)
    expect(bytes).toEqual(before.subarray(0, 4096))
  })
  expect(second.left).toBe(0)
})
