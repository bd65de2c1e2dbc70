/**
 * Pages that are captured while the machine goes on are those of the moment at which the capture began, whoever writes
 * to them meanwhile; and the machine does not notice. The programs are those of restore.test.ts, and one that writes
 * in every way there is.
 */
import { describe, expect, it } from 'vitest'
import type { Computer } from '../machine/computer.ts'
import { Assembler } from '../machine/cpu/isa-test/assembler.ts'
import { writeElf } from '../machine/cpu/isa-test/elf.ts'
import { CLOCK_RATE, ENGINES, type Engine, HOT_THRESHOLD } from '../machine/cpu/isa-test/engine.ts'
import { Random } from '../machine/cpu/isa-test/random.ts'
import { buildScenario } from '../machine/cpu/isa-test/scenario.ts'
import { SCENARIOS } from '../machine/cpu/isa-test/scenarios.ts'
import { createMachine } from '../machine/create.ts'
import type { DeviceState } from '../machine/devices/device.ts'
import { bareConfig } from './testing/saved.ts'

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

/** Runs to a count, or to the end; a wait ends when the timer is due. */
function runTo(machine: Computer, count: bigint): void {
  while (!machine.halted && machine.retired < count) {
    const { reason } = machine.run(Number(count - machine.retired))
    if (reason !== 'idle') continue
    const deadline = machine.timerDeadline()
    if (deadline === null) return
    machine.beginSlice({ clock: deadline, clockRate: CLOCK_RATE, inputs: [] })
  }
}

function started(elf: Uint8Array, engine: Engine): Computer {
  const machine = createMachine(bareConfig(elf), { engine, hotThreshold: HOT_THRESHOLD })
  machine.beginSlice({ clock: 0n, clockRate: CLOCK_RATE, inputs: [] })
  return machine
}

interface Captured {
  /** The most bytes of copies that were waiting. */
  readonly keptBytes: number
  readonly pages: ReadonlyMap<number, Uint8Array>
  readonly state: DeviceState
  readonly config: ReturnType<Computer['savedConfig']>
}

/** Captures everything at `at` in pieces while the machine runs on to `end`. */
function captureWhileRunning(machine: Computer, at: bigint, end: bigint, random: Random): Captured {
  runTo(machine, at)
  machine.takeOutputs()
  const config = machine.savedConfig()
  const state = machine.saveState()
  const capture = machine.pages.capture(machine.pages.nonZero())
  const pages = new Map<number, Uint8Array>()
  const take = (max: number) =>
    capture.take(max, (page, bytes) => {
      expect(pages.has(page)).toBe(false)
      pages.set(page, bytes.slice())
    })
  let keptBytes = 0
  while (capture.left > 0) {
    const step = machine.retired + BigInt(1 + random.below(3000))
    runTo(machine, step < end ? step : end)
    keptBytes = Math.max(keptBytes, capture.keptBytes)
    take(1 + random.below(8))
  }
  runTo(machine, end)
  return { pages, state, config, keptBytes }
}

function restoredFrom({ pages, state, config }: Captured, engine: Engine): Computer {
  const machine = createMachine(config, { engine, hotThreshold: HOT_THRESHOLD })
  for (const [page, bytes] of pages) machine.pages.fill(page, 1).set(bytes)
  machine.restoreState(state)
  return machine
}

function check(elf: Uint8Array, random: Random): Captured {
  const whole = started(elf, 'regions')
  runTo(whole, RETIRED_MAX)
  const at = BigInt(random.below(Number(whole.retired)))
  const engine = random.pick(ENGINES)
  const where = `captured at ${at} of ${whole.retired}, ${engine}`
  const original = started(elf, engine)
  const captured = captureWhileRunning(original, at, RETIRED_MAX, random)
  expect(original.retired, where).toBe(whole.retired)
  expect(original.fullDigest(), where).toBe(whole.fullDigest())
  const copy = restoredFrom(captured, random.pick(ENGINES))
  const { boot } = captured.config
  expect(copy.fullDigest(), where).toBe(boot.kind === 'snapshot' ? boot.digest : null)
  runTo(copy, RETIRED_MAX)
  expect(copy.fullDigest(), where).toBe(whole.fullDigest())
  return captured
}

describe(`machines captured at random while they run, seed ${SEED}`, () => {
  const random = new Random(SEED)

  it.each(SCENARIOS)('$name', (scenario) => {
    check(buildScenario(scenario, 'tohost').elf, random)
  })

  it('a program that writes in every way', () => {
    const elf = writingProgram()
    for (let i = 0; i < 10; i++) expect(check(elf, random).keptBytes).toBeGreaterThan(0)
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

it('everybody who follows writes is told of each page once, and of nothing before', () => {
  const machine = started(writingProgram(), 'regions')
  runTo(machine, 50_000n)
  const first = machine.pages.follow()
  expect(first.take()).toEqual([])
  runTo(machine, 60_000n)
  machine.fullDigest()
  const second = machine.pages.follow()
  runTo(machine, 61_000n)
  const [one, other] = [first.take(), second.take()]
  expect(other.length).toBeGreaterThan(0)
  expect(one.length).toBeGreaterThan(other.length)
  expect(other.every((page) => one.includes(page))).toBe(true)
  expect([first.take(), second.take()]).toEqual([[], []])
})
