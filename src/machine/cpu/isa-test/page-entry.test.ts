/**
 * A run that ends just before control enters another page must leave the fetch TLB as it was: compiled code looks it up
 * itself, and whether the next step belongs to this run or to the next one may not show.
 */
import { expect, test } from 'vitest'
import { createMachine } from '../../create.ts'
import { Assembler } from './assembler.ts'
import { writeElf } from './elf.ts'
import { CLOCK_RATE, type Engine, HOT_THRESHOLD, MEMORY_BYTES } from './engine.ts'
import { encode } from './instructions.ts'

const BASE = 0x8000_0000
/** Two pages that share an entry of the TLB. */
const FUNCTIONS = [0x8020_0000, 0x8030_0000] as const
const RETURN = 0x8082
/** Once round the loop, and one more. */
const STEPS = 8

/** Calls the functions in turn for ever. */
function program(): Uint8Array {
  const asm = new Assembler(BASE)
  for (const [n, address] of FUNCTIONS.entries()) {
    asm.li(5 + n, address)
    asm.li(7, encode('addi', 10, 10, n))
    asm.emit('sw', 7, 5 + n, 0)
    asm.li(7, RETURN)
    asm.emit('sw', 7, 5 + n, 4)
  }
  const loop = asm.here()
  FUNCTIONS.forEach((_, n) => {
    asm.emit('jalr', 1, 5 + n, 0)
  })
  asm.emitTo(loop, 'jal', 0)
  return writeElf({ base: BASE, bytes: asm.finish() })
}

function run(
  engine: Engine,
  elf: Uint8Array,
  pieces: readonly number[],
): { translations: bigint; state: bigint } {
  const machine = createMachine(
    {
      memoryBytes: MEMORY_BYTES,
      boot: { kind: 'bare', elf },
      nics: [],
      disks: [],
      rngSeed: new Uint8Array(32),
    },
    { engine, hotThreshold: HOT_THRESHOLD },
  )
  machine.beginSlice({ clock: 0n, clockRate: CLOCK_RATE, inputs: [] })
  for (const piece of pieces) machine.run(piece)
  if (engine === 'regions') expect(machine.debug.compiledEntries()).toBeGreaterThan(0)
  return { translations: machine.debug.translationDigest(), state: machine.fullDigest() }
}

test('a run that ends at any step before and after a page is entered', () => {
  const elf = program()
  const warm = 2000
  for (let more = 0; more < STEPS; more++) {
    const regions = run('regions', elf, [warm, 400 + more])
    expect(regions, `after ${more} more steps`).toEqual(run('interpreter', elf, [warm + 400 + more]))
  }
})
