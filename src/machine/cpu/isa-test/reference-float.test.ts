/** The reference against the host's own arithmetic, where the host has it: double precision, to nearest. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { nastyDouble, Random } from './random.ts'
import * as reference from './reference-float.ts'

const { DOUBLE, SINGLE, RNE } = reference
const RUNS = 5_000

const view = new DataView(new ArrayBuffer(8))
function toNumber(bits: bigint): number {
  view.setBigUint64(0, bits)
  return view.getFloat64(0)
}
function toBits(value: number): bigint {
  view.setFloat64(0, value)
  return Number.isNaN(value) ? reference.canonicalNaN(DOUBLE) : view.getBigUint64(0)
}
function singleBits(value: number): bigint {
  view.setFloat32(0, value)
  return Number.isNaN(value) ? reference.canonicalNaN(SINGLE) : BigInt(view.getUint32(0))
}

/** Patterns at the edges more often than fast-check would find them. */
const double = fc.integer().map((seed) => nastyDouble(new Random(seed)))

test.each([
  ['add', reference.add, (a: number, b: number) => a + b],
  ['subtract', reference.subtract, (a: number, b: number) => a - b],
  ['multiply', reference.multiply, (a: number, b: number) => a * b],
  ['divide', reference.divide, (a: number, b: number) => a / b],
] as const)('%s rounds as the host does', (_, exact, host) => {
  fc.assert(
    fc.property(double, double, (a, b) => {
      expect(exact(a, b, DOUBLE, RNE).bits).toBe(toBits(host(toNumber(a), toNumber(b))))
    }),
    { numRuns: RUNS },
  )
})

test('square roots and conversions round as the host does', () => {
  fc.assert(
    fc.property(double, (a) => {
      expect(reference.squareRoot(a, DOUBLE, RNE).bits).toBe(toBits(Math.sqrt(toNumber(a))))
      expect(reference.convertFormat(a, DOUBLE, SINGLE, RNE).bits).toBe(singleBits(toNumber(a)))
    }),
    { numRuns: RUNS },
  )
})

test('directed roundings enclose the exact result, and agree when it is exact', () => {
  fc.assert(
    fc.property(double, double, (a, b) => {
      const at = (mode: number) => reference.multiply(a, b, DOUBLE, mode)
      const [down, up, zero, near] = [at(reference.RDN), at(reference.RUP), at(reference.RTZ), at(RNE)]
      if (Number.isNaN(toNumber(near.bits))) return
      expect(toNumber(down.bits)).toBeLessThanOrEqual(toNumber(up.bits))
      expect([down.bits, up.bits]).toContain(zero.bits)
      expect([down.bits, up.bits]).toContain(near.bits)
      expect(down.bits === up.bits).toBe((near.flags & reference.NX) === 0)
    }),
    { numRuns: RUNS },
  )
})
