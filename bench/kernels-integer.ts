/** Integer kernels, written as a compiler would write them. Each expected result is computed here independently. */
import { crc32 } from 'node:zlib'
import type { Assembler } from '../src/machine/cpu/isa-test/assembler.ts'
import { type Kernel, reg, ret, room, withFrame } from './bare-program.ts'

const { a0, a1, a2, a3, a4, s0, s1, t0, t1, t2, t3, t4, t5, t6, ra } = reg

/** Numbers that look random and are the same everywhere (the multiplier of Knuth's MMIX). */
function numbers(count: number): BigUint64Array {
  let state = 1n
  return BigUint64Array.from({ length: count }, () => {
    state = BigInt.asUintN(64, state * 6364136223846793005n + 1442695040888963407n)
    return state
  })
}

const BUFFER_BYTES = 64 * 1024
const CRC_POLYNOMIAL = 0xedb88320
const buffer = new Uint8Array(numbers(BUFFER_BYTES / 8).buffer)

const crc: Kernel = {
  name: 'crc32',
  isInteger: true,
  work: 'CRC-32 of 64 KiB, one table look-up a byte',
  expected: BigInt(crc32(buffer)),
  emit(asm) {
    const [data, table] = [asm.label('data'), asm.label('table')]
    asm.loadAddress(a1, data)
    asm.li(a2, BUFFER_BYTES)
    asm.emit('add', a2, a2, a1)
    asm.loadAddress(a3, table)
    asm.li(a0, 0xffffffff)
    const next = asm.here()
    asm.emit('lbu', t0, a1, 0)
    asm.emit('xor', t0, t0, a0)
    asm.emit('andi', t0, t0, 0xff)
    asm.emit('slli', t0, t0, 2)
    asm.emit('add', t0, t0, a3)
    asm.emit('lwu', t0, t0, 0)
    asm.emit('srli', a0, a0, 8)
    asm.emit('xor', a0, a0, t0)
    asm.emit('addi', a1, a1, 1)
    asm.emitTo(next, 'bne', a1, a2)
    asm.emit('xori', a0, a0, -1)
    asm.emit('slli', a0, a0, 32)
    asm.emit('srli', a0, a0, 32)
    ret(asm)
    asm.align(64)
    asm.bind(table)
    for (let byte = 0; byte < 256; byte++) {
      let value = byte
      for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? CRC_POLYNOMIAL : 0)
      asm.word(value >>> 0)
    }
    asm.bind(data)
    asm.bytes(buffer)
  },
}

const FIBONACCI = 24

const fib: Kernel = {
  name: 'fib',
  isInteger: true,
  work: `the ${FIBONACCI}th Fibonacci number by recursion: calls and returns`,
  expected: BigInt(fibonacci(FIBONACCI)),
  emit(asm) {
    asm.li(a0, FIBONACCI)
    const self = asm.here('fib')
    const small = asm.label('small')
    asm.li(t0, 2)
    asm.emitTo(small, 'blt', a0, t0)
    withFrame(asm, [ra, s0, s1], () => {
      asm.emit('addi', s0, a0, 0)
      asm.emit('addi', a0, s0, -1)
      asm.emitTo(self, 'jal', ra)
      asm.emit('addi', s1, a0, 0)
      asm.emit('addi', a0, s0, -2)
      asm.emitTo(self, 'jal', ra)
      asm.emit('add', a0, a0, s1)
    })
    asm.bind(small)
    ret(asm)
  },
}

function fibonacci(n: number): number {
  let [current, next] = [0, 1]
  for (let i = 0; i < n; i++) [current, next] = [next, current + next]
  return current
}

const SORTED_WORDS = 4096
const unsorted = new Int32Array(numbers(SORTED_WORDS / 2).buffer)

const quicksort: Kernel = {
  name: 'quicksort',
  isInteger: true,
  work: `copies and sorts ${SORTED_WORDS} words: unpredictable branches, recursion`,
  expected: BigInt.asIntN(
    64,
    [...unsorted].sort((a, b) => a - b).reduce((sum, value) => sum * 31n + BigInt(value), 0n),
  ),
  emit(asm) {
    const [given, work, sort] = [asm.label('given'), asm.label('work'), asm.label('sort')]
    const lastOffset = (SORTED_WORDS - 1) * 4
    withFrame(asm, [ra], () => {
      copyWords(asm, given, work)
      asm.loadAddress(a0, work)
      asm.li(a1, lastOffset)
      asm.emit('add', a1, a1, a0)
      asm.emitTo(sort, 'jal', ra)
      // Horner's sum shows both which values there are and in which order they stand.
      asm.loadAddress(a1, work)
      asm.li(a2, lastOffset + 4)
      asm.emit('add', a2, a2, a1)
      asm.li(a0, 0)
      asm.li(t1, 31)
      const next = asm.here()
      asm.emit('lw', t0, a1, 0)
      asm.emit('mul', a0, a0, t1)
      asm.emit('add', a0, a0, t0)
      asm.emit('addi', a1, a1, 4)
      asm.emitTo(next, 'bne', a1, a2)
    })
    ret(asm)
    asm.bind(sort)
    emitSort(asm)
    asm.align(64)
    asm.bind(given)
    asm.bytes(new Uint8Array(unsorted.buffer))
    room(asm, work, SORTED_WORDS * 4)
  },
}

function copyWords(asm: Assembler, from: ReturnType<Assembler['label']>, to: typeof from): void {
  asm.loadAddress(a1, from)
  asm.loadAddress(a2, to)
  asm.li(a3, SORTED_WORDS * 4)
  asm.emit('add', a3, a3, a1)
  const next = asm.here()
  asm.emit('lw', t0, a1, 0)
  asm.emit('sw', t0, a2, 0)
  asm.emit('addi', a1, a1, 4)
  asm.emit('addi', a2, a2, 4)
  asm.emitTo(next, 'bne', a1, a3)
}

/** sort(a0: first word, a1: last word), by Hoare's partition about the middle word. */
function emitSort(asm: Assembler): void {
  const self = asm.here('sort')
  const done = asm.label('sorted')
  asm.emitTo(done, 'bgeu', a0, a1)
  withFrame(asm, [ra, s0, s1], () => {
    asm.emit('addi', s1, a1, 0)
    asm.emit('sub', t2, a1, a0)
    asm.emit('srli', t2, t2, 3)
    asm.emit('slli', t2, t2, 2)
    asm.emit('add', t2, t2, a0)
    asm.emit('lw', t2, t2, 0)
    asm.emit('addi', t0, a0, -4)
    asm.emit('addi', t1, a1, 4)
    const [split, crossed] = [asm.here('split'), asm.label('crossed')]
    const up = asm.here()
    asm.emit('addi', t0, t0, 4)
    asm.emit('lw', t3, t0, 0)
    asm.emitTo(up, 'blt', t3, t2)
    const down = asm.here()
    asm.emit('addi', t1, t1, -4)
    asm.emit('lw', t4, t1, 0)
    asm.emitTo(down, 'blt', t2, t4)
    asm.emitTo(crossed, 'bgeu', t0, t1)
    asm.emit('sw', t4, t0, 0)
    asm.emit('sw', t3, t1, 0)
    asm.emitTo(split, 'jal', 0)
    asm.bind(crossed)
    asm.emit('addi', s0, t1, 4)
    asm.emit('addi', a1, t1, 0)
    asm.emitTo(self, 'jal', ra)
    asm.emit('addi', a0, s0, 0)
    asm.emit('addi', a1, s1, 0)
    asm.emitTo(self, 'jal', ra)
  })
  asm.bind(done)
  ret(asm)
}

/** A copy's result is the exclusive or of its last and first double word, so that both must have arrived. */
const memcpy: Kernel = {
  name: 'memcpy',
  isInteger: true,
  work: 'copies 64 KiB, eight double words a turn',
  expected: BigInt.asIntN(64, numbers(BUFFER_BYTES / 8)[0] ^ numbers(BUFFER_BYTES / 8)[BUFFER_BYTES / 8 - 1]),
  emit(asm) {
    const [from, to] = [asm.label('from'), asm.label('to')]
    const registers = [t0, t1, t2, t3, t4, t5, t6, a4]
    asm.loadAddress(a1, from)
    asm.loadAddress(a2, to)
    asm.li(a3, BUFFER_BYTES)
    asm.emit('add', a3, a3, a1)
    const next = asm.here()
    registers.forEach((register, n) => {
      asm.emit('ld', register, a1, n * 8)
    })
    registers.forEach((register, n) => {
      asm.emit('sd', register, a2, n * 8)
    })
    asm.emit('addi', a1, a1, 64)
    asm.emit('addi', a2, a2, 64)
    asm.emitTo(next, 'bne', a1, a3)
    asm.loadAddress(a1, to)
    asm.emit('ld', a0, a1, 0)
    asm.emit('ld', t0, a2, -8)
    asm.emit('xor', a0, a0, t0)
    ret(asm)
    asm.align(64)
    asm.bind(from)
    asm.bytes(buffer)
    room(asm, to, BUFFER_BYTES)
  },
}

export const INTEGER_KERNELS: readonly Kernel[] = [crc, fib, quicksort, memcpy]
