import fc from 'fast-check'
import { expect, test } from 'vitest'
import { DetachKeys } from './console-verb.ts'

const bytes = (...values: number[]) => Uint8Array.from(values)

test.each([
  ['Ctrl-]', [bytes(0x61, 0x1d, 0x62)], [0x61]],
  ['Ctrl-P Ctrl-Q', [bytes(0x61, 0x10, 0x11)], [0x61]],
  ['Ctrl-P Ctrl-Q in two reads', [bytes(0x10), bytes(0x11)], []],
  ['Ctrl-P Ctrl-P Ctrl-Q', [bytes(0x10, 0x10, 0x11)], [0x10]],
])('%s detaches, and what came before is passed on', (_, reads, passed) => {
  const keys = new DetachKeys()
  const results = reads.map((read) => keys.push(read))
  expect(results.at(-1)!.detach).toBe(true)
  expect(results.flatMap((result) => [...result.pass])).toEqual(passed)
})

test('everything else reaches the guest as it was typed, however it is cut', () => {
  const typed = fc.array(fc.uint8Array({ maxLength: 8 }), { maxLength: 12 })
  fc.assert(
    fc.property(typed, (reads) => {
      const keys = new DetachKeys()
      const text = Buffer.concat(reads)
      const detaches = text.includes(0x1d) || text.includes(Buffer.of(0x10, 0x11))
      const results = reads.map((read) => keys.push(read))
      expect(results.some((result) => result.detach)).toBe(detaches)
      if (detaches) return
      const passed = Buffer.concat(results.map((result) => result.pass))
      // A Ctrl-P at the very end still waits for what follows it.
      expect(text.subarray(0, passed.length)).toEqual(passed)
      expect(text.length - passed.length).toBe(text.at(-1) === 0x10 ? 1 : 0)
    }),
  )
})
