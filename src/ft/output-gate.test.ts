import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { OutputGate } from './output-gate.ts'
import { ProtocolInvariantError } from './protocol-error.ts'

describe('the output gate', () => {
  test('frames leave in order, and only those with outputs make a release', () => {
    const gate = new OutputGate(10)
    gate.hold(11, 0, 0)
    gate.hold(12, 2, 100)
    gate.hold(13, 1, 50)
    expect(gate.release(11)).toBe(false)
    expect(gate.heldBytes).toBe(150)
    expect(gate.release(12)).toBe(true)
    expect(gate.heldBytes).toBe(50)
    expect(gate.release(12)).toBe(false)
    expect(gate.release(13)).toBe(true)
    expect(gate.releasedSequence).toBe(13)
    expect(gate.heldBytes).toBe(0)
  })

  test('a frame out of sequence, or released before it is held, stops the replica', () => {
    const gate = new OutputGate(0)
    expect(() => gate.hold(2, 1, 1)).toThrow(ProtocolInvariantError)
    expect(() => gate.release(1)).toThrow(ProtocolInvariantError)
  })

  test('what it holds is exactly what was not released, after any history', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(3), fc.nat(500), fc.nat(5)), { maxLength: 100 }), (script) => {
        const gate = new OutputGate(0)
        const bytesOf: number[] = [0]
        for (const [outputs, bytes, releases] of script) {
          const sequence = bytesOf.length
          bytesOf.push(outputs === 0 ? 0 : bytes)
          gate.hold(sequence, outputs, bytes)
          gate.release(Math.max(0, sequence - releases))
          const held = bytesOf.slice(gate.releasedSequence + 1).reduce((sum, size) => sum + size, 0)
          expect(gate.heldBytes).toBe(held)
        }
      }),
    )
  })
})
