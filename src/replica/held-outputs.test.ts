import fc from 'fast-check'
import { expect, test } from 'vitest'
import { bytesOf, HeldOutputs, isVisible, type VisibleOutput } from './held-outputs.ts'

const numbered = (n: number): VisibleOutput => ({ kind: 'console-tx', port: 'uart', data: Uint8Array.of(n) })

test('outputs come out once, in order, and never beyond the frame asked for', () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(3), { maxLength: 40 }),
      fc.array(fc.nat(45), { maxLength: 20 }),
      (counts, asks) => {
        const held = new HeldOutputs()
        const all: { sequence: number; output: VisibleOutput }[] = []
        let next = 0
        counts.forEach((count, i) => {
          const outputs = Array.from({ length: count }, () => numbered(next++))
          held.hold(i + 1, outputs, i)
          for (const output of outputs) all.push({ sequence: i + 1, output })
        })
        let through = 0
        for (const ask of asks) {
          const expected = all.filter((entry) => entry.sequence > through && entry.sequence <= ask)
          expect(held.take(ask)).toEqual(expected.map((entry) => entry.output))
          through = Math.max(through, ask)
          const left = all.filter((entry) => entry.sequence > through)
          expect(held.bytes).toBe(bytesOf(left.map((entry) => entry.output)))
        }
      },
    ),
  )
})

test('tells of each frame taken since when it was held', () => {
  const held = new HeldOutputs()
  held.hold(1, [numbered(1)], 10)
  held.hold(2, [], 20)
  held.hold(3, [numbered(2), numbered(3)], 30)
  held.hold(4, [numbered(4)], 40)
  const taken: unknown[] = []
  held.take(3, ({ sequence, outputs, sinceMs }) => taken.push([sequence, outputs.length, sinceMs]))
  expect(taken).toEqual([
    [1, 1, 10],
    [3, 2, 30],
  ])
  held.clear()
  expect(held.bytes).toBe(0)
})

test('an entropy request is not for the outside to see', () => {
  expect(isVisible({ kind: 'entropy-request', bytes: 3 })).toBe(false)
  expect(isVisible({ kind: 'disk-flush', disk: 0, id: 1 })).toBe(true)
})
