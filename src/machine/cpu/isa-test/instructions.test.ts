/** Encodings and the assembler. The words were checked against GNU binutils 2.40. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Assembler } from './assembler.ts'
import { encode, listing, type Mnemonic } from './instructions.ts'

const WORDS: readonly (readonly [word: string, mnemonic: Mnemonic, operands: number[]])[] = [
  ['0x555b2737', 'lui', [14, 0x555b2]],
  ['0x2fcef9ef', 'jal', [19, 979708]],
  ['0x0a0501e3', 'beq', [10, 0, 2210]],
  ['0xe7e3dee3', 'bge', [7, 30, -388]],
  ['0x097cb8a3', 'sd', [23, 25, 145]],
  ['0x424bdd93', 'srai', [27, 23, 36]],
  ['0x2379d3f3', 'csrrwi', [7, 0x237, 19]],
  ['0xe77634af', 'amomaxu.d', [9, 23, 12, 3]],
  ['0x203130c3', 'fmadd.s', [1, 2, 3, 4, 3]],
  ['0xc2354753', 'fcvt.lu.d', [14, 10, 4]],
  ['0x13778073', 'sfence.vma', [15, 23]],
  ['0x218b6bbb', 'sh3add.uw', [23, 22, 24]],
  ['0x6b8b5c13', 'rev8', [24, 22]],
  ['0x4acd5413', 'bexti', [8, 26, 44]],
  ['0x0ec5d533', 'czero.eqz', [10, 11, 12]],
  ['0x0ec5f533', 'czero.nez', [10, 11, 12]],
  ['0x0045200f', 'cbo.zero', [10]],
  ['0x0015200f', 'cbo.clean', [10]],
  ['0x0025200f', 'cbo.flush', [10]],
  ['0x0005200f', 'cbo.inval', [10]],
  ['0x00d00073', 'wrs.nto', []],
  ['0x01d00073', 'wrs.sto', []],
  ['0x0100000f', 'pause', []],
  ['0x06b0', 'c.addi4spn', [12, 840]],
  ['0x249c', 'c.fld', [15, 9, 8]],
  ['0x7131', 'c.addi16sp', [-192]],
  ['0x7599', 'c.lui', [11, -26]],
  ['0xb0d5', 'c.j', [-1820]],
  ['0xcf6d', 'c.beqz', [14, 250]],
  ['0x654e', 'c.ldsp', [10, 208]],
  ['0xf7d2', 'c.sdsp', [20, 488]],
]

test.each(WORDS)('%s is %s %j', (word, mnemonic, operands) => {
  expect(encode(mnemonic, ...operands)).toBe(Number(word))
})

test('operands out of range are refused, with the instruction named', () => {
  expect(() => encode('addi', 1, 2, 2048)).toThrow(/addi/)
  expect(() => encode('beq', 1, 2, 3)).toThrow(/beq/)
  expect(() => encode('c.lw', 7, 8, 0)).toThrow(/c\.lw/)
  expect(() => encode('c.lui', 2, 1)).toThrow(/c\.lui/)
  expect(() => encode('add', 1, 2)).toThrow(/3 operands/)
})

test('a listing names registers, targets and rounding modes', () => {
  expect(listing('fmadd.d', [1, 2, 3, 4, 1])).toBe('fmadd.d f1, f2, f3, f4, rtz')
  expect(listing('beq', [5, 0, -8])).toBe('beq x5, x0, .-8')
})

/** Just what `li` emits, run in BigInts. */
function evaluate(image: Uint8Array): bigint {
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength)
  let x = 0n
  for (let at = 0; at < image.length; at += 4) {
    const word = view.getUint32(at, true)
    const immediate = BigInt(view.getInt32(at, true) >> 20)
    const rs1 = ((word >>> 15) & 31) === 0 ? 0n : x
    switch (word & 0x707f) {
      case 0x0013:
        x = BigInt.asIntN(64, rs1 + immediate)
        break
      case 0x001b:
        x = BigInt.asIntN(32, rs1 + immediate)
        break
      case 0x1013:
        x = BigInt.asIntN(64, rs1 << (immediate & 63n))
        break
      default:
        if ((word & 0x7f) !== 0x37) throw new RangeError(`li does not emit 0x${word.toString(16)}`)
        x = BigInt(view.getInt32(at, true) & ~0xfff)
    }
  }
  return x
}

test('li makes any 64-bit constant in at most eight instructions', () => {
  const edges = fc.constantFrom(
    0n,
    -1n,
    2047n,
    2048n,
    -2048n,
    -2049n,
    0x7fff_f7ffn,
    0x7fff_ffffn,
    0x8000_0000n,
    -0x8000_0000n,
    1n << 63n,
    0x8000_0000_0000_0800n,
  )
  fc.assert(
    fc.property(fc.oneof(edges, fc.bigInt({ min: -(1n << 63n), max: (1n << 64n) - 1n })), (value) => {
      const asm = new Assembler(0)
      asm.li(5, value)
      const image = asm.finish()
      expect(image.length).toBeLessThanOrEqual(32)
      expect(evaluate(image)).toBe(BigInt.asIntN(64, value))
    }),
    { numRuns: 5000 },
  )
})

test('labels resolve forwards and backwards, and unbound ones are refused', () => {
  const asm = new Assembler(0x8000_0000)
  const back = asm.here('back')
  const forward = asm.label('forward')
  asm.emitTo(forward, 'beq', 1, 2)
  asm.emitTo(back, 'jal', 0)
  asm.bind(forward)
  const view = new DataView(asm.finish().buffer)
  expect(view.getUint32(0, true)).toBe(encode('beq', 1, 2, 8))
  expect(view.getUint32(4, true)).toBe(encode('jal', 0, -4))
  const open = new Assembler(0)
  open.emitTo(open.label('nowhere'), 'jal', 0)
  expect(() => open.finish()).toThrow(/nowhere/)
})
