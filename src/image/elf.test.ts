import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { elfNeeds, isElf, moduleInfo } from './elf.ts'
import { ImageError } from './errors.ts'
import { makeElf } from './testing/elf-file.ts'

const FILE = makeElf({
  interpreter: '/lib/ld.so.1',
  libraries: ['libone.so.1', 'libtwo.so.2'],
  modinfo: ['license=GPL', 'depends=one,two', 'parm=a=b', 'no assignment'],
})

describe('reading ELF files', () => {
  it('finds the interpreter and the libraries in order', () => {
    expect(elfNeeds(FILE, 'f')).toEqual({
      interpreter: '/lib/ld.so.1',
      libraries: ['libone.so.1', 'libtwo.so.2'],
    })
    expect(elfNeeds(makeElf({}), 'f')).toEqual({ interpreter: null, libraries: [] })
  })

  it('splits what a module says about itself at the first equals sign', () => {
    expect(moduleInfo(FILE, 'm')).toEqual([
      ['license', 'GPL'],
      ['depends', 'one,two'],
      ['parm', 'a=b'],
    ])
  })

  it('takes shell scripts and short files for no ELF', () => {
    expect(isElf(Buffer.from('#!/bin/sh\n'.padEnd(80)))).toBe(false)
    expect(isElf(FILE.subarray(0, 20))).toBe(false)
    expect(() => elfNeeds(Buffer.from('x'), 'f')).toThrow(ImageError)
  })

  it('answers or throws its own error, whatever bytes are damaged or missing', () => {
    const damage = fc.record({
      length: fc.integer({ min: 0, max: FILE.length }),
      changes: fc.array(fc.tuple(fc.nat(FILE.length - 1), fc.integer({ min: 0, max: 255 })), {
        maxLength: 6,
      }),
    })
    fc.assert(
      fc.property(damage, ({ length, changes }) => {
        const file = Buffer.from(FILE)
        for (const [at, value] of changes) file[at] = value
        for (const read of [elfNeeds, moduleInfo]) {
          try {
            read(file.subarray(0, length), 'f')
          } catch (error) {
            expect(error).toBeInstanceOf(ImageError)
          }
        }
      }),
      { numRuns: 2000 },
    )
  })
})
