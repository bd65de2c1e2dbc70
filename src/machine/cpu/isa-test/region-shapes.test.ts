/**
 * Programs whose regions have shapes of their own: switches, inlined calls, returns to elsewhere. Both engines must
 * agree at every count, wherever runs are divided.
 */
import { describe, expect, test } from 'vitest'
import { Assembler } from './assembler.ts'
import { writeElf } from './elf.ts'
import { compareEngines } from './engine-pair.ts'
import { encode } from './instructions.ts'
import { Random } from './random.ts'

const BASE = 0x8000_0000
const PAGE_BYTES = 4096
const STACK_TOP = 0x8010_0000
const SEED = Math.floor(Math.random() * 2 ** 31)

/** A program that runs `emit` some times and ends. */
function program(emit: (asm: Assembler) => void): Uint8Array {
  const asm = new Assembler(BASE)
  const tohost = asm.label('tohost')
  const again = asm.label('again')
  const work = asm.label('work')
  asm.li(2, STACK_TOP)
  asm.li(27, 20)
  asm.bind(again)
  asm.emitTo(work, 'jal', 1)
  asm.emit('addi', 27, 27, -1)
  asm.emitTo(again, 'bne', 27, 0)
  asm.loadAddress(5, tohost)
  asm.emit('addi', 6, 0, 1)
  asm.emit('sd', 6, 5, 0)
  asm.emit('jal', 0, 0)
  asm.align(64)
  asm.bind(work)
  emit(asm)
  // On a page of its own: a store to the page's watched line drops the code beside it.
  asm.align(PAGE_BYTES)
  asm.bind(tohost)
  asm.advanceTo(asm.address + 64)
  return writeElf({ base: BASE, bytes: asm.finish(), symbols: { tohost: asm.addressOf(tohost) } })
}

/** Handlers that each jump on by the next byte of a program, as interpreters with computed goto do; x31 is the way back. */
function threaded(link: number) {
  return (asm: Assembler): void => {
    const [table, code, end] = [asm.label('table'), asm.label('code'), asm.label('end')]
    const next = (): void => {
      asm.emit('lbu', link, 10, 0)
      asm.emit('addi', 10, 10, 1)
      asm.emit('slli', link, link, 3)
      asm.emit('add', link, link, 11)
      asm.emit('ld', link, link, 0)
      asm.emit('jalr', 0, link, 0)
    }
    asm.emit('addi', 31, 1, 0)
    asm.loadAddress(10, code)
    asm.loadAddress(11, table)
    next()
    const handlers = [0, 1, 2, 3, 4].map((n) => {
      const handler = asm.here()
      asm.emit('addi', 12, 12, n + 1)
      asm.emit('mul', 12, 12, 12)
      if (n === 3) asm.emitTo(end, 'beq', 0, 0)
      next()
      return handler
    })
    asm.bind(end)
    asm.emit('jalr', 0, 31, 0)
    asm.align(8)
    asm.bind(table)
    for (const handler of handlers) asm.double(BigInt(asm.addressOf(handler)))
    asm.bind(code)
    asm.bytes(
      Uint8Array.from({ length: 200 }, (_, i) => (i === 199 ? 3 : [0, 1, 2, 4, 4, 1, 0][(i * i) % 7])),
    )
  }
}

/** fib(x10), which calls itself twice; `elsewhere`: returns behind the instruction at the return address when odd. */
function recursive(elsewhere: boolean) {
  return (asm: Assembler): void => {
    const [fib, small, over] = [asm.label('fib'), asm.label('small'), asm.label('over')]
    asm.emit('addi', 31, 1, 0)
    asm.li(10, 11)
    asm.emitTo(fib, 'jal', 1)
    asm.emitTo(over, 'jal', 0)
    asm.emitTo(over, 'jal', 0)
    asm.bind(fib)
    asm.li(5, 2)
    asm.emitTo(small, 'blt', 10, 5)
    asm.emit('addi', 2, 2, -32)
    asm.emit('sd', 1, 2, 0)
    asm.emit('sd', 10, 2, 8)
    asm.emit('addi', 10, 10, -1)
    asm.emitTo(fib, 'jal', 1)
    // Skipped by every other return.
    asm.emit('xori', 10, 10, 1)
    asm.emit('sd', 10, 2, 16)
    asm.emit('ld', 10, 2, 8)
    asm.emit('addi', 10, 10, -2)
    asm.emitTo(fib, 'jal', 1)
    asm.emit('xori', 10, 10, 2)
    asm.emit('ld', 11, 2, 16)
    asm.emit('add', 10, 10, 11)
    asm.emit('ld', 1, 2, 0)
    asm.emit('addi', 2, 2, 32)
    asm.bind(small)
    if (elsewhere) {
      asm.emit('andi', 6, 10, 1)
      asm.emit('slli', 6, 6, 2)
      asm.emit('add', 1, 1, 6)
    }
    asm.emit('jalr', 0, 1, 0)
    asm.bind(over)
    asm.emit('jalr', 0, 31, 0)
  }
}

/** A loop over two leaf functions, one of which loops itself; one is reached by a tail call as well. */
function leaves(asm: Assembler): void {
  const [first, second, next, done] = [asm.label(), asm.label(), asm.label(), asm.label()]
  asm.emit('addi', 31, 1, 0)
  asm.li(20, 40)
  asm.bind(next)
  asm.emitTo(first, 'jal', 1)
  asm.emitTo(second, 'jal', 1)
  asm.emit('addi', 20, 20, -1)
  asm.emitTo(next, 'bne', 20, 0)
  asm.emitTo(done, 'jal', 0)
  asm.bind(first)
  asm.emit('andi', 6, 20, 7)
  const loop = asm.here()
  asm.emit('addi', 12, 12, 3)
  asm.emit('addi', 6, 6, -1)
  asm.emitTo(loop, 'blt', 0, 6)
  asm.emitTo(second, 'jal', 0)
  asm.bind(second)
  asm.emit('xor', 12, 12, 20)
  asm.emit('sd', 12, 2, -8)
  asm.emit('lw', 13, 2, -8)
  asm.emit('add', 12, 12, 13)
  asm.emit('jalr', 0, 1, 0)
  asm.bind(done)
  asm.emit('jalr', 0, 31, 0)
}

/**
 * A loop across the end of a page that calls a function on the next one. `rewrites`: now and then it changes the
 * function's first instruction, which the loop's own page holds nothing of.
 */
function acrossPages(rewrites: boolean) {
  return (asm: Assembler): void => {
    const [loop, leaf, skip, done] = [asm.label(), asm.label(), asm.label(), asm.label()]
    asm.emit('addi', 31, 1, 0)
    asm.li(20, 200)
    asm.loadAddress(21, leaf)
    asm.li(22, encode('addi', 12, 12, 0))
    asm.emitTo(loop, 'jal', 0)
    asm.align(PAGE_BYTES)
    asm.advanceTo(asm.address + PAGE_BYTES - 24)
    asm.bind(loop)
    asm.emit('xori', 12, 12, 5)
    asm.emitTo(leaf, 'jal', 1)
    asm.emit('andi', 6, 20, rewrites ? 15 : 0)
    asm.emitTo(skip, rewrites ? 'bne' : 'beq', 6, 0)
    asm.emit('slli', 7, 20, 18)
    asm.emit('or', 7, 7, 22)
    // From here on it is the next page.
    asm.emit('sw', 7, 21, 0)
    asm.bind(skip)
    asm.emit('addi', 20, 20, -1)
    asm.emitTo(loop, 'bne', 20, 0)
    asm.emitTo(done, 'jal', 0)
    asm.advanceTo(asm.address + 64)
    asm.bind(leaf)
    asm.emit('addi', 12, 12, 3)
    asm.emit('slli', 13, 12, 1)
    asm.emit('xor', 12, 12, 13)
    asm.emit('jalr', 0, 1, 0)
    asm.bind(done)
    asm.emit('jalr', 0, 31, 0)
  }
}

describe.each([
  ['handlers that each jump on', threaded(13)],
  ['handlers that jump on through a link register', threaded(5)],
  ['recursion', recursive(false)],
  ['recursion with returns to elsewhere', recursive(true)],
  ['leaf functions in a loop', leaves],
  ['a loop across two pages', acrossPages(false)],
  ['a loop across two pages that rewrites the second', acrossPages(true)],
])('%s', (_name, emit) => {
  const elf = program(emit)
  // With 1 the callees and targets of a region are not known when it is compiled, with 40 they are.
  test.each([1, 40])(
    `regions and interpreter agree, compiled after %i visits (seed ${SEED})`,
    (hotThreshold) => {
      const random = new Random(SEED)
      let compiled = 0
      for (let time = 0; time < 8; time++) {
        const { divergence, halted, compiledEntries } = compareEngines(elf, random, { hotThreshold })
        expect(divergence).toBeNull()
        expect(halted).toBe(true)
        compiled += compiledEntries
      }
      // In some runs what is compiled comes too late to be used.
      expect(compiled).toBeGreaterThan(0)
    },
  )
})
