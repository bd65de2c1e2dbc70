import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { PLIC_SOURCES, Plic } from './plic.ts'

const PENDING = 0x1000
const ENABLE = 0x2000
const CONTEXT = 0x20_0000

/** One hart: context 0 is its M-mode, context 1 its S-mode. */
function bench(harts = 1) {
  const wires = new Map<string, boolean>()
  const plic = new Plic(harts, (hart, mode, level) => wires.set(`${hart}${mode}`, level))
  return {
    plic,
    wires,
    priority: (source: number, value: number) => plic.write(4 * source, 4, value),
    enable: (context: number, word: number, bits: number) =>
      plic.write(ENABLE + 0x80 * context + 4 * word, 4, bits),
    threshold: (context: number, value: number) => plic.write(CONTEXT + 0x1000 * context, 4, value),
    claim: (context: number) => plic.read(CONTEXT + 0x1000 * context + 4, 4),
    complete: (context: number, source: number) => plic.write(CONTEXT + 0x1000 * context + 4, 4, source),
    pending: (source: number) => ((plic.read(PENDING + 4 * (source >>> 5), 4) >>> (source & 31)) & 1) === 1,
  }
}

describe('one source', () => {
  test('is claimed, is shut while claimed, and comes back on completion as long as its line is up', () => {
    const { plic, wires, priority, enable, claim, complete, pending } = bench()
    const line = plic.line(10)
    priority(10, 1)
    enable(1, 0, 1 << 10)
    line.set(true)
    expect(wires.get('0S')).toBe(true)
    expect(wires.has('0M')).toBe(false)
    expect(claim(1)).toBe(10)
    expect(wires.get('0S')).toBe(false)
    expect(pending(10)).toBe(false)
    expect(claim(1)).toBe(0)
    complete(1, 10)
    expect(wires.get('0S')).toBe(true)
    expect(claim(1)).toBe(10)
    line.set(false)
    complete(1, 10)
    expect(wires.get('0S')).toBe(false)
    expect(claim(1)).toBe(0)
  })

  test('a request that got through the gateway stays pending when its line falls', () => {
    const { plic, wires, priority, enable, claim } = bench()
    priority(3, 1)
    enable(0, 0, 1 << 3)
    plic.line(3).set(true)
    plic.line(3).set(false)
    expect(wires.get('0M')).toBe(true)
    expect(claim(0)).toBe(3)
  })

  test('a line that rises while its source is claimed is seen on completion', () => {
    const { plic, priority, enable, claim, complete, pending } = bench()
    priority(3, 1)
    enable(0, 0, 1 << 3)
    plic.line(3).set(true)
    claim(0)
    plic.line(3).set(false)
    plic.line(3).set(true)
    expect(pending(3)).toBe(false)
    complete(0, 3)
    expect(pending(3)).toBe(true)
  })

  test('priority 0 never interrupts and cannot be claimed, but is pending', () => {
    const { plic, wires, enable, claim, pending } = bench()
    enable(0, 0, 1 << 3)
    plic.line(3).set(true)
    expect(pending(3)).toBe(true)
    expect(wires.has('0M')).toBe(false)
    expect(claim(0)).toBe(0)
  })

  test('a completion by a context that has not enabled the source, or of one not claimed, is ignored', () => {
    const { plic, priority, enable, claim, complete, pending } = bench()
    priority(3, 1)
    enable(0, 0, 1 << 3)
    plic.line(3).set(true)
    claim(0)
    for (const [context, source] of [
      [1, 3],
      [0, 0],
      [0, 4],
      [0, PLIC_SOURCES],
      [0, 0xffff_ffff],
    ]) {
      complete(context, source)
      expect(pending(3)).toBe(false)
    }
    complete(0, 3)
    expect(pending(3)).toBe(true)
  })

  test('the threshold holds the interrupt back but not the claim', () => {
    const { plic, wires, priority, enable, threshold, claim } = bench()
    priority(40, 5)
    enable(0, 1, 1 << 8)
    threshold(0, 5)
    plic.line(40).set(true)
    expect(wires.has('0M')).toBe(false)
    threshold(0, 4)
    expect(wires.get('0M')).toBe(true)
    threshold(0, 7)
    expect(wires.get('0M')).toBe(false)
    expect(claim(0)).toBe(40)
  })
})

describe('registers', () => {
  test('priorities and thresholds keep three bits; source 0 has neither priority nor enable', () => {
    const { plic, priority, threshold, enable } = bench()
    priority(5, 0xff)
    threshold(1, 0x1_00fb)
    priority(0, 7)
    enable(0, 0, 0xffff_ffff)
    expect(plic.read(20, 4)).toBe(7)
    expect(plic.read(CONTEXT + 0x1000, 4)).toBe(3)
    expect(plic.read(0, 4)).toBe(0)
    expect(plic.read(ENABLE, 4)).toBe(0xffff_fffe)
  })

  test('random accesses anywhere never throw, and pending bits cannot be written', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.tuple(
            fc.nat(0x5f_ffff),
            fc.constantFrom(1 as const, 2 as const, 4 as const),
            fc.nat(0xffff_ffff),
          ),
          { maxLength: 100 },
        ),
        (accesses) => {
          const { plic } = bench(2)
          for (const [offset, width, value] of accesses) {
            plic.write(offset - (offset % width), width, value)
            plic.write(PENDING + (offset % 12), width, value)
            expect(plic.read(offset - (offset % width), width)).toBeGreaterThanOrEqual(0)
          }
          expect([0, 1, 2].map((word) => plic.read(PENDING + 4 * word, 4))).toEqual([0, 0, 0])
        },
      ),
    )
  })
})

/** The specification said once more, as slowly as possible. */
class PlicModel {
  readonly priority: number[] = Array(PLIC_SOURCES).fill(0)
  readonly level = new Set<number>()
  readonly pending = new Set<number>()
  readonly claimed = new Set<number>()
  readonly enabled: Set<number>[]
  readonly threshold: number[]

  constructor(contexts: number) {
    this.enabled = Array.from({ length: contexts }, () => new Set())
    this.threshold = Array(contexts).fill(0)
  }

  candidates(context: number): number[] {
    return [...this.pending]
      .filter((source) => this.enabled[context].has(source) && this.priority[source] > 0)
      .sort((a, b) => this.priority[b] - this.priority[a] || a - b)
  }

  interrupts(context: number): boolean {
    return this.candidates(context).some((source) => this.priority[source] > this.threshold[context])
  }

  set(source: number, level: boolean): void {
    if (level) this.level.add(source)
    else this.level.delete(source)
    if (level && !this.claimed.has(source)) this.pending.add(source)
  }

  claim(context: number): number {
    const [source] = this.candidates(context)
    if (source === undefined) return 0
    this.pending.delete(source)
    this.claimed.add(source)
    return source
  }

  complete(context: number, source: number): void {
    if (!this.enabled[context].has(source) || !this.claimed.delete(source)) return
    if (this.level.has(source)) this.pending.add(source)
  }
}

test('random histories agree with a plain model, through save and restore too', () => {
  const source = fc.constantFrom(1, 2, 10, 31, 32, 63, 64, 95)
  const context = fc.nat(3)
  const step = fc.oneof(
    fc.record({ kind: fc.constant('level' as const), source, level: fc.boolean() }),
    fc.record({ kind: fc.constant('priority' as const), source, value: fc.nat(7) }),
    fc.record({ kind: fc.constant('enable' as const), source, context, on: fc.boolean() }),
    fc.record({ kind: fc.constant('threshold' as const), context, value: fc.nat(7) }),
    fc.record({ kind: fc.constant('claim' as const), context }),
    fc.record({ kind: fc.constant('complete' as const), source, context }),
    fc.record({ kind: fc.constant('clone' as const) }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 150 }), (steps) => {
      let b = bench(2)
      const model = new PlicModel(4)
      for (const each of steps) {
        if (each.kind === 'level') {
          b.plic.line(each.source).set(each.level)
          model.set(each.source, each.level)
        } else if (each.kind === 'priority') {
          b.priority(each.source, each.value)
          model.priority[each.source] = each.value
        } else if (each.kind === 'enable') {
          const register = ENABLE + 0x80 * each.context + 4 * (each.source >>> 5)
          const bit = 1 << (each.source & 31)
          const before = b.plic.read(register, 4)
          b.plic.write(register, 4, (each.on ? before | bit : before & ~bit) >>> 0)
          if (each.on) model.enabled[each.context].add(each.source)
          else model.enabled[each.context].delete(each.source)
        } else if (each.kind === 'threshold') {
          b.threshold(each.context, each.value)
          model.threshold[each.context] = each.value
        } else if (each.kind === 'claim') expect(b.claim(each.context)).toBe(model.claim(each.context))
        else if (each.kind === 'complete') {
          b.complete(each.context, each.source)
          model.complete(each.context, each.source)
        } else {
          const twin = bench(2)
          twin.plic.restore(structuredClone(b.plic.save()))
          expect(twin.plic.save()).toEqual(b.plic.save())
          // A restored controller drives every wire, so that harts need not remember them.
          expect(twin.wires.size).toBe(4)
          b = twin
        }
        for (let index = 0; index < 4; index++) {
          const wire = `${index >>> 1}${(index & 1) === 0 ? 'M' : 'S'}`
          expect(b.wires.get(wire) ?? false).toBe(model.interrupts(index))
        }
      }
    }),
  )
})

test('a state that does not fit is refused', () => {
  const { plic, priority, enable, claim } = bench()
  priority(3, 1)
  enable(0, 0, 1 << 3)
  plic.line(3).set(true)
  claim(0)
  const state = plic.save() as Record<string, unknown>
  for (const broken of [
    { ...state, version: 2 },
    { ...state, pending: [8, 0, 0] },
    { ...state, claimed: [0, 0, 0] },
    { ...state, level: [1, 0, 0] },
    { ...state, priority: new Uint8Array(PLIC_SOURCES).fill(8) },
    { ...state, threshold: Uint8Array.of(8, 0) },
    { ...state, enable: [1, 0, 0, 0, 0, 0] },
    { ...state, enable: [0, 0, 0] },
    { ...state, level: [-1, 0, 0] },
  ])
    expect(() => bench().plic.restore(broken as never)).toThrow(
      expect.objectContaining({ code: 'DEVICE_STATE_INVALID' }),
    )
  expect(() => bench(2).plic.restore(state as never)).toThrow(
    expect.objectContaining({ code: 'DEVICE_STATE_INVALID' }),
  )
})
