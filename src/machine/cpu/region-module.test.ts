import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { GuestCode } from './guest-code.ts'
import { Assembler } from './isa-test/assembler.ts'
import { encode, formOf } from './isa-test/instructions.ts'
import { layoutFor, MODE, PAGE_BYTES } from './layout.ts'
import { compileRegions } from './region-module.ts'

const TARGET = { layout: layoutFor(16 * 1024 * 1024), floatFunctions: [] }
/** Visits that make a place usual, and hot. */
const HOT = 2000

function compile(code: Uint8Array<ArrayBuffer>, entry: number, visits: ReadonlyMap<number, number>) {
  const heat = new Int32Array(PAGE_BYTES / 2)
  heat[entry / 2] = -HOT
  for (const [offset, times] of visits) heat[offset / 2] = -times
  const guest = new GuestCode({ page: 0, code, heat }, entry, () => null)
  return compileRegions(TARGET, [{ page: 0, offset: entry, mode: MODE.user, code: guest }])
}

function pageOf(asm: Assembler): Uint8Array<ArrayBuffer> {
  const page = new Uint8Array(PAGE_BYTES)
  page.set(asm.finish())
  return page
}

/** Control flow with little in between; targets near enough to be hit. */
const instruction = fc.oneof(
  { weight: 4, arbitrary: fc.nat(31).map((rd) => encode('addi', rd, rd, 1)) },
  {
    weight: 3,
    arbitrary: fc
      .tuple(fc.constantFrom('beq', 'bne', 'bltu'), fc.nat(31), fc.nat(31), fc.integer({ min: -15, max: 15 }))
      .map(([mnemonic, a, b, words]) => encode(mnemonic as 'beq', a, b, 4 * words)),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.constantFrom(0, 0, 1, 5, 6), fc.integer({ min: -15, max: 15 }))
      .map(([link, words]) => encode('jal', link, 4 * words)),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.constantFrom(0, 0, 0, 1, 5), fc.constantFrom(1, 5, 10, 11))
      .map(([link, from]) => encode('jalr', link, from, 0)),
  },
  { weight: 1, arbitrary: fc.nat(31).map((rd) => encode('ld', rd, 8, 16)) },
  { weight: 1, arbitrary: fc.constantFrom(encode('ecall'), encode('ebreak'), encode('fence.i'), 0) },
  { weight: 1, arbitrary: fc.nat(31).map((rd) => encode('csrrs', rd, 0x100, 0)) },
)
const WORD_BYTES = formOf('addi').bytes

describe('a region', () => {
  it('whose switch leads nowhere that can be compiled leaves by it', () => {
    const asm = new Assembler(0)
    const before = asm.here()
    // The entry lies behind a call, so that it is no target of the switch itself.
    asm.emitTo(before, 'jal', 1)
    const entry = asm.address
    asm.emit('addi', 12, 12, 1)
    asm.emit('jalr', 0, 11, 0)
    const target = asm.address
    asm.emit('ebreak')
    expect(compile(pageOf(asm), entry, new Map([[target, HOT]]))?.regions).toHaveLength(1)
  })

  it('compiles to valid WebAssembly, whatever jumps where and arrives where', () => {
    const words = fc.array(instruction, { minLength: 4, maxLength: 60 })
    fc.assert(
      fc.property(words, fc.array(fc.nat(59), { maxLength: 12 }), fc.nat(59), (code, hot, entry) => {
        const asm = new Assembler(0)
        for (const word of code) asm.word(word)
        const visits = new Map(hot.map((n) => [WORD_BYTES * n, HOT]))
        // Throws if the encoder or the engine's validation refuses it.
        compile(pageOf(asm), WORD_BYTES * (entry % code.length), visits)
      }),
      { numRuns: 1000 },
    )
  })
})
