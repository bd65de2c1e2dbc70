/** A guest that resets itself boots again, in the same log, on every engine and however its run is divided. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Computer } from './computer.ts'
import type { BootConfig, MachineConfig } from './config.ts'
import { Assembler } from './cpu/isa-test/assembler.ts'
import { writeElf } from './cpu/isa-test/elf.ts'
import { createMachine } from './create.ts'
import { RAM_BASE, SYSCON_BASE } from './devices/memory-map.ts'
import type { MachineOutput } from './io.ts'
import { nextSeed } from './reset.ts'

const MEMORY_BYTES = 16 * 1024 * 1024
const RESET = 0x7777
const LATER_RAM = RAM_BASE + 8 * 1024 * 1024
const WORK_TIMES = 300
const CLOCK_RATE = 2 ** 26

/**
 * Finds RAM as at power-on or hangs, fills registers, RAM, control registers, a timer and its own loop's code, then
 * resets the machine by the power switch.
 */
function program(): Uint8Array {
  const asm = new Assembler(RAM_BASE)
  const stuck = asm.label()
  asm.li(5, LATER_RAM)
  asm.emit('ld', 6, 5, 0)
  asm.emitTo(stuck, 'bne', 6, 0)
  asm.emit('csrrs', 7, 0x340, 0)
  asm.emitTo(stuck, 'bne', 7, 0)
  asm.emitTo(stuck, 'bne', 20, 0)
  const patched = asm.label()
  asm.li(8, WORK_TIMES)
  const loop = asm.here()
  asm.bind(patched)
  asm.emit('addi', 20, 20, 1)
  asm.emit('sd', 20, 5, 0)
  asm.emit('addi', 5, 5, 256)
  asm.emit('addi', 8, 8, -1)
  asm.emitTo(loop, 'bne', 8, 0)
  // Changed code must be gone after the reset too: a second boot would count by two.
  asm.loadAddress(9, patched)
  asm.li(10, 0x002a0a13)
  asm.emit('sw', 10, 9, 0)
  asm.emit('addi', 8, 0, 1)
  asm.loadAddress(11, loop)
  const twice = asm.label()
  asm.li(12, WORK_TIMES)
  asm.emitTo(twice, 'bne', 20, 12)
  asm.emit('jalr', 0, 11, 0)
  asm.bind(twice)
  asm.li(12, WORK_TIMES + 2)
  asm.emitTo(stuck, 'bne', 20, 12)
  asm.li(13, -1)
  asm.emit('csrrw', 0, 0x340, 13)
  asm.emit('csrrw', 0, 0x304, 13)
  asm.emit('csrrw', 0, 0x30a, 13)
  asm.li(14, SYSCON_BASE)
  asm.li(15, RESET)
  asm.emit('sw', 15, 14, 0)
  asm.bind(stuck)
  asm.emitTo(stuck, 'jal', 0)
  return writeElf({ base: RAM_BASE, bytes: asm.finish(), symbols: {} })
}

const ELF = program()

function machine(engine: 'interpreter' | 'regions', config: Partial<MachineConfig> = {}): Computer {
  return createMachine(
    {
      memoryBytes: MEMORY_BYTES,
      boot: { kind: 'bare', elf: ELF },
      nics: [{ mac: Uint8Array.of(2, 0, 0, 0, 0, 1) }],
      disks: [],
      rngSeed: new Uint8Array(32),
      ...config,
    },
    { engine, hotThreshold: 1 },
  )
}

/** Runs to a count of retired instructions in pieces, and gives what came out. */
function runTo(subject: Computer, count: number, pieces: readonly number[]): MachineOutput[] {
  subject.beginSlice({ clock: subject.guestClock(), clockRate: CLOCK_RATE, inputs: [] })
  const from = subject.retired
  for (let n = 0; subject.retired - from < BigInt(count); n++) {
    subject.run(Math.min(pieces[n % pieces.length], count - Number(subject.retired - from)))
  }
  return subject.takeOutputs()
}

describe('a reset', () => {
  test('begins another boot, again and again, while the count and the clock run on', () => {
    const subject = machine('regions')
    const outputs = runTo(subject, 50_000, [1_000_000])
    expect(outputs.length).toBeGreaterThan(10)
    expect(new Set(outputs.map((output) => JSON.stringify(output)))).toEqual(
      new Set([JSON.stringify({ kind: 'power', action: 'reset', exitStatus: 0 })]),
    )
    expect(subject.halted).toBe(false)
    expect(subject.retired).toBe(50_000n)
    expect(subject.guestClock()).toBe(BigInt(Math.floor((50_000 * CLOCK_RATE) / 2 ** 32)))
  })

  test('leaves the same state on every engine and however the run is divided', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 5_000 }), { minLength: 1, maxLength: 6 }),
        fc.array(fc.integer({ min: 1, max: 4_000 }), { minLength: 1, maxLength: 4 }),
        (pieces, slices) => {
          const [oracle, subject] = [machine('interpreter'), machine('regions')]
          for (const count of slices) {
            expect(runTo(subject, count, pieces)).toEqual(runTo(oracle, count, [1_000_000]))
            expect(subject.digest()).toBe(oracle.digest())
            expect(subject.fullDigest()).toBe(oracle.fullDigest())
          }
        },
      ),
      { numRuns: 8 },
    )
  })

  test('by the button leaves the same state on every engine, and what the guest has done is gone', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3_000 }), fc.integer({ min: 1, max: 3_000 }), (before, after) => {
        const [oracle, subject] = [machine('interpreter'), machine('regions')]
        for (const each of [oracle, subject]) {
          runTo(each, before, [1_000])
          each.beginSlice({ clock: each.guestClock(), clockRate: CLOCK_RATE, inputs: [{ kind: 'reset' }] })
          expect(each.debug.readRegister(0, 'pc')).toBe(BigInt(RAM_BASE))
          expect(each.takeOutputs().at(-1)).toEqual({ kind: 'power', action: 'reset', exitStatus: 0 })
          runTo(each, after, [700])
        }
        expect(subject.fullDigest()).toBe(oracle.fullDigest())
        expect(subject.retired).toBe(BigInt(before + after))
      }),
      { numRuns: 12 },
    )
  })

  test('ends a run call behind the instruction that asked', () => {
    const subject = machine('interpreter')
    subject.beginSlice({ clock: 0n, clockRate: CLOCK_RATE, inputs: [] })
    const { reason } = subject.run(100_000)
    expect(reason).toBe('output')
    expect(subject.debug.readRegister(0, 'pc')).toBe(BigInt(RAM_BASE))
    expect(subject.debug.readRegister(0, 'x20')).toBe(0n)
    expect(subject.debug.readPhysical(LATER_RAM, 8)).toEqual(new Uint8Array(8))
  })

  test('loads what is booted once more from whoever has it', () => {
    let asked = 0
    const reloadBoot = (): BootConfig => {
      asked++
      return { kind: 'bare', elf: ELF }
    }
    const subject = createMachine(
      {
        memoryBytes: MEMORY_BYTES,
        boot: { kind: 'bare', elf: ELF },
        nics: [],
        disks: [],
        rngSeed: new Uint8Array(32),
      },
      { reloadBoot },
    )
    const outputs = runTo(subject, 20_000, [1_000_000])
    expect(asked).toBe(outputs.length)
  })

  test('of a machine that started from a snapshot, without anything to boot, ends it', () => {
    const original = machine('interpreter')
    runTo(original, 100, [100])
    const config = original.savedConfig()
    const clone = createMachine(config)
    for (const page of original.pages.nonZero()) clone.pages.fill(page, 1).set(original.pages.view(page, 1))
    clone.restoreState(original.saveState())
    clone.beginSlice({ clock: 0n, clockRate: 0, inputs: [] })
    expect(clone.run(100_000).reason).toBe('halted')
    expect(clone.takeOutputs().at(-1)).toEqual({ kind: 'power', action: 'off', exitStatus: 0 })
  })
})

test('no two boots get the same seed', () => {
  const seed = Uint8Array.from({ length: 32 }, (_, n) => n)
  const seeds = [0n, 1n, 2n ** 40n].map((retired) => nextSeed(seed, retired).join())
  expect(new Set(seeds).size).toBe(3)
  expect(seed[0]).toBe(0)
})
