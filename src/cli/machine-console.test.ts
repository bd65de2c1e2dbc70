import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ConsoleEscape } from './machine-console.ts'

const CTRL_A = 0x01
const bytes = (text: string) => [...text].map((letter) => (letter === '^' ? CTRL_A : letter.charCodeAt(0)))

function type(...chunks: string[]): { forGuest: number[]; quit: boolean } {
  const escapes = new ConsoleEscape()
  const results = chunks.map((chunk) => escapes.typed(Uint8Array.from(bytes(chunk))))
  return {
    forGuest: results.flatMap(({ forGuest }) => [...forGuest]),
    quit: results.some(({ quit }) => quit),
  }
}

describe('the escape of the console', () => {
  it('is Ctrl-A x, also when it comes in two pieces', () => {
    expect(type('ls^x')).toEqual({ forGuest: bytes('ls'), quit: true })
    expect(type('ls^', 'x')).toEqual({ forGuest: bytes('ls'), quit: true })
  })

  it('typed twice sends one Ctrl-A, and before another key both', () => {
    expect(type('^^x')).toEqual({ forGuest: [CTRL_A, 0x78], quit: false })
    expect(type('^b')).toEqual({ forGuest: [CTRL_A, 0x62], quit: false })
  })

  it('leaves everything else alone', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (data) => {
        const typed = data.filter((byte) => byte !== CTRL_A)
        expect(new ConsoleEscape().typed(typed)).toEqual({ forGuest: typed, quit: false })
      }),
    )
  })
})
