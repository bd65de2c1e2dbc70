import fc from 'fast-check'
import { expect, it } from 'vitest'
import type { DeviceState } from '../machine/devices/device.ts'
import { decodeState, encodeState } from './state-text.ts'

const { state } = fc.letrec<{ state: DeviceState }>((tie) => ({
  state: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom(null, true, false),
    fc.integer(),
    fc.bigInt({ min: -(1n << 63n), max: (1n << 64n) - 1n }),
    fc.string({ maxLength: 20 }),
    fc.uint8Array({ maxLength: 40 }),
    fc.array(tie('state'), { maxLength: 4 }),
    fc.dictionary(fc.stringMatching(/^[a-z]{2,6}$/), tie('state'), { maxKeys: 4, noNullPrototype: true }),
  ),
}))

it('comes back as it was', () => {
  fc.assert(fc.property(state, (value) => void expect(decodeState(encodeState(value))).toEqual(value)))
})

it('is refused when it is no text, no JSON, or nested without end', () => {
  for (const bytes of [
    Uint8Array.of(0xff),
    Buffer.from('{"a":'),
    Buffer.from('['.repeat(99) + ']'.repeat(99)),
  ]) {
    expect(() => decodeState(bytes)).toThrowError(expect.objectContaining({ code: 'SNAPSHOT_MALFORMED' }))
  }
})
