import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { RAM_BASE } from '../devices/memory-map.ts'
import { TestRam } from '../devices/testing/test-ram.ts'
import { loadElf, readElf } from './elf.ts'

interface ElfOptions {
  machine?: number
  type?: number
  entry?: bigint
  address?: bigint
  data?: Uint8Array
  fileBytes?: bigint
  memoryBytes?: bigint
  symbols?: readonly (readonly [string, bigint])[]
}

/** A small executable: header, one program header, data, symbols, names, three section headers. */
function elf(options: ElfOptions = {}): Uint8Array {
  const data = options.data ?? Uint8Array.of(1, 2, 3, 4)
  const symbols = options.symbols ?? [
    ['main', 1n],
    ['tohost', BigInt(RAM_BASE) + 0x1000n],
  ]
  const names = Buffer.from(`\0${symbols.map(([name]) => `${name}\0`).join('')}`)
  const dataAt = 64 + 56
  const symbolsAt = dataAt + data.length
  const namesAt = symbolsAt + 24 * symbols.length
  const sectionsAt = namesAt + names.length
  const bytes = new Uint8Array(sectionsAt + 3 * 64)
  const view = new DataView(bytes.buffer)
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1])
  view.setUint16(16, options.type ?? 2, true)
  view.setUint16(18, options.machine ?? 243, true)
  view.setBigUint64(24, options.entry ?? BigInt(RAM_BASE), true)
  view.setBigUint64(32, 64n, true)
  view.setBigUint64(40, BigInt(sectionsAt), true)
  view.setUint16(54, 56, true)
  view.setUint16(56, 1, true)
  view.setUint16(58, 64, true)
  view.setUint16(60, 3, true)
  view.setUint32(64, 1, true)
  view.setBigUint64(64 + 8, BigInt(dataAt), true)
  view.setBigUint64(64 + 16, 0xffff_ffff_8000_0000n, true)
  view.setBigUint64(64 + 24, options.address ?? BigInt(RAM_BASE), true)
  view.setBigUint64(64 + 32, options.fileBytes ?? BigInt(data.length), true)
  view.setBigUint64(64 + 40, options.memoryBytes ?? 64n, true)
  bytes.set(data, dataAt)
  let nameAt = 1
  for (const [index, [name, value]] of symbols.entries()) {
    view.setUint32(symbolsAt + 24 * index, nameAt, true)
    view.setBigUint64(symbolsAt + 24 * index + 8, value, true)
    nameAt += name.length + 1
  }
  bytes.set(names, namesAt)
  const section = (index: number, type: number, at: number, length: number, link: number): void => {
    const base = sectionsAt + 64 * index
    view.setUint32(base + 4, type, true)
    view.setBigUint64(base + 24, BigInt(at), true)
    view.setBigUint64(base + 32, BigInt(length), true)
    view.setUint32(base + 40, link, true)
  }
  section(1, 2, symbolsAt, 24 * symbols.length, 2)
  section(2, 3, namesAt, names.length, 0)
  return bytes
}

describe('reading', () => {
  test('entry, segments by physical address, and tohost', () => {
    const program = readElf(elf())
    expect(program.entry).toBe(BigInt(RAM_BASE))
    expect(program.segments).toEqual([
      { address: BigInt(RAM_BASE), data: Uint8Array.of(1, 2, 3, 4), memoryBytes: 64n },
    ])
    expect(program.tohost).toBe(BigInt(RAM_BASE) + 0x1000n)
  })

  test('names are compared whole', () => {
    const symbols = [
      ['tohost_', 1n],
      ['xtohost', 2n],
      ['fromhost', 3n],
    ] as const
    expect(readElf(elf({ symbols })).tohost).toBeNull()
  })

  const refused: readonly [string, string, Uint8Array][] = [
    ['an empty file', 'ELF_NOT_RISCV', new Uint8Array(0)],
    ['a script', 'ELF_NOT_RISCV', new TextEncoder().encode(`#!/bin/sh${' '.repeat(100)}`)],
    ['another machine', 'ELF_NOT_RISCV', elf({ machine: 62 })],
    ['a shared object', 'ELF_NOT_RISCV', elf({ type: 3 })],
    ['nothing to load', 'ELF_NOT_RISCV', elf({ memoryBytes: 0n, fileBytes: 0n })],
    ['a segment longer than its memory', 'ELF_TRUNCATED', elf({ memoryBytes: 3n })],
    [
      'a segment past the end of the file',
      'ELF_TRUNCATED',
      elf({ fileBytes: 1n << 63n, memoryBytes: 1n << 63n }),
    ],
  ]
  for (const [what, code, file] of refused)
    test(`refuses ${what} with ${code}`, () => {
      expect(() => readElf(file)).toThrow(expect.objectContaining({ code }))
    })

  test('a file cut anywhere is refused', () => {
    const file = elf()
    for (let length = 0; length < file.length; length++)
      expect(() => readElf(file.subarray(0, length))).toThrow(
        expect.objectContaining({ code: expect.stringMatching(/^ELF_/) }),
      )
  })

  test('a damaged file is refused or read, never worse', () => {
    const file = elf()
    fc.assert(
      fc.property(
        fc.nat(file.length - 1),
        fc.nat(255),
        fc.nat(file.length - 1),
        fc.nat(255),
        (first, one, second, other) => {
          const damaged = file.slice()
          damaged[first] = one
          damaged[second] = other
          try {
            loadElf(new TestRam(64 * 1024), readElf(damaged))
          } catch (error) {
            expect(error).toMatchObject({ code: expect.stringMatching(/^ELF_/) })
          }
        },
      ),
      { numRuns: 2000 },
    )
  })
})

describe('loading', () => {
  test('puts the data where it belongs', () => {
    const ram = new TestRam(64 * 1024)
    loadElf(ram, readElf(elf({ address: BigInt(RAM_BASE) + 8n })))
    expect([...ram.view(RAM_BASE, 14)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0])
  })

  const outside: readonly [string, ElfOptions][] = [
    ['a segment below RAM', { address: BigInt(RAM_BASE) - 1n }],
    ['a segment past its end', { address: BigInt(RAM_BASE) + 0xfff0n }],
    ['zeroed memory past its end', { memoryBytes: 1n << 40n }],
    ['a segment near 2^64', { address: (1n << 64n) - 4n }],
    ['an entry outside', { entry: 0n }],
    ['tohost outside', { symbols: [['tohost', 0x1000n]] }],
  ]
  for (const [what, options] of outside)
    test(`refuses ${what}`, () => {
      const ram = new TestRam(64 * 1024)
      expect(() => loadElf(ram, readElf(elf(options)))).toThrow(
        expect.objectContaining({ code: 'ELF_OUTSIDE_MEMORY' }),
      )
      expect(ram.bytes.some((byte) => byte !== 0)).toBe(false)
    })
})
