/** A program with code on more pages than the code cache has tables: it forgets all and goes on, and nobody can tell. */
import { expect, test } from 'vitest'
import { CODE_TABLES_MAX } from '../layout.ts'
import { Assembler } from './assembler.ts'
import { writeElf } from './elf.ts'
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

/** Fills each page with a function, then calls them all, several times over. */
function programElf(): Uint8Array {
  const asm = new Assembler(0x8000_0000)
  const tohost = asm.label('tohost')
  asm.li(5, FIRST_PAGE)
  asm.li(6, encode('addi', 10, 10, 1))
  asm.li(7, RETURN)
  asm.li(8, PAGES)
  asm.li(11, PAGE_BYTES)
  const fill = asm.here()
  asm.emit('sw', 6, 5, 0)
  asm.emit('sh', 7, 5, 4)
  asm.emit('add', 5, 5, 11)
  asm.emit('addi', 8, 8, -1)
  asm.emitTo(fill, 'bne', 8, 0)
  asm.li(10, 0)
  asm.li(12, PASSES)
  const pass = asm.here()
  asm.li(5, FIRST_PAGE)
  asm.li(8, PAGES)
  const loop = asm.here()
  asm.emit('jalr', 1, 5, 0)
  asm.emit('add', 5, 5, 11)
  asm.emit('addi', 8, 8, -1)
  asm.emitTo(loop, 'bne', 8, 0)
  asm.emit('addi', 12, 12, -1)
  asm.emitTo(pass, 'bne', 12, 0)
  asm.loadAddress(5, tohost)
  asm.emit('addi', 6, 0, 1)
  asm.emit('sd', 6, 5, 0)
  asm.emit('jal', 0, 0)
  asm.align(64)
  asm.bind(tohost)
  asm.double(0n)
  return writeElf({ base: 0x8000_0000, bytes: asm.finish(), symbols: { tohost: asm.addressOf(tohost) } })
}

test(`${PAGES} pages of code, called ${PASSES} times`, () => {
  const { divergence, halted, retired } = compareEngines(programElf(), new Random(1), HOT_THRESHOLD)
  expect(divergence).toBeNull()
  expect(halted).toBe(true)
  expect(retired).toBeGreaterThan(BigInt(PAGES * (5 + 6 * PASSES)))
})
