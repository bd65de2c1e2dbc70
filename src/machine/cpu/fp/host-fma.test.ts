import { expect, it } from 'vitest'
import { roundsOnce } from './host-fma.ts'

it('tells a fused multiply-add from one that rounds the product', () => {
  expect(roundsOnce((a, b, c) => a * b + c)).toBe(false)
})

it('tells it from one whose sum alone is wrong', () => {
  // Exact on cancellation, rounds the product otherwise.
  const cancels = (a: number, b: number, c: number) => a * b + c === 0
  const low = (a: number, b: number) => {
    const split = (x: number) => {
      const high = x * 134217729 - (x * 134217729 - x)
      return [high, x - high]
    }
    const [ah, al] = split(a)
    const [bh, bl] = split(b)
    return al * bl - (a * b - ah * bh - al * bh - ah * bl)
  }
  expect(roundsOnce((a, b, c) => (cancels(a, b, c) ? low(a, b) : a * b + c))).toBe(false)
})
