import fc from 'fast-check'
import { expect, test } from 'vitest'
import { HeldOutputs, isVisible, type VisibleOutput } from './held-outputs.ts'

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
          held.hold(i + 1, outputs)
          for (const output of outputs) all.push({ sequence: i + 1, output })
        })
        let through = 0
        for (const ask of asks) {
          const expected = all.filter((entry) => entry.sequence > through && entry.sequence <= ask)
          expect(held.take(ask)).toEqual(expected.map((entry) => entry.output))
          through = Math.max(through, ask)
        }
      },
    ),
  )
})

test('an entropy request is not for the outside to see', () => {
  expect(isVisible({ kind: 'entropy-request', bytes: 3 })).toBe(false)
  expect(isVisible({ kind: 'disk-flush', disk: 0, id: 1 })).toBe(true)
})
