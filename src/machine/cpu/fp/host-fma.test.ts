import { describe, expect, it } from 'vitest'
import { roundsOnce } from './host-fma.ts'

describe.each([
  ['f64', (exact: number) => exact, 27],
  ['f32', Math.fround, 12],
] as const)('%s', (format, round, half) => {
  it('tells a fused multiply-add from one that rounds the product', () => {
    expect(roundsOnce((a, b, c) => round(round(a * b) + c), format)).toBe(false)
  })

  it('tells it from one whose sum alone is wrong', () => {
    // Exact on cancellation, rounds the product otherwise.
    const cancels = (a: number, b: number, c: number) => round(round(a * b) + c) === 0
    const low = (a: number, b: number) => {
      const splitter = 2 ** half + 1
      const split = (x: number) => {
        const high = round(round(x * splitter) - round(round(x * splitter) - x))
        return [high, x - high]
      }
      const [ah, al] = split(a)
      const [bh, bl] = split(b)
      return al * bl - (round(a * b) - ah * bh - al * bh - ah * bl)
    }
    const cheat = (a: number, b: number, c: number) =>
      cancels(a, b, c) ? low(a, b) : round(round(a * b) + c)
    expect(roundsOnce(cheat, format)).toBe(false)
  })
})

it('tells a fused multiply-add of singles from one that computes with doubles', () => {
  expect(roundsOnce((a, b, c) => Math.fround(a * b + c), 'f32')).toBe(false)
})
