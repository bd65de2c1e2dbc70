import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isAuthorized, newSecret } from './tokens.ts'

test('only the very token authorizes', () => {
  const token = newSecret()
  expect(isAuthorized(`Bearer ${token}`, token)).toBe(true)
  for (const header of [undefined, '', 'Bearer', 'Bearer ', token, `Basic ${token}`, `Bearer ${token} `]) {
    expect(isAuthorized(header, token)).toBe(false)
  }
  fc.assert(
    fc.property(fc.nat(token.length - 1), fc.constantFrom(...'abcXYZ019-_'), (at, character) => {
      const other = token.slice(0, at) + character + token.slice(at + 1)
      expect(isAuthorized(`Bearer ${other}`, token)).toBe(other === token)
    }),
  )
})

test('a token that is empty by mistake authorizes nobody', () => {
  expect(isAuthorized(undefined, '')).toBe(false)
  expect(isAuthorized('Bearer ', '')).toBe(false)
})
