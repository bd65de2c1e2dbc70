import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ByteQueue } from './byte-queue.ts'

test('behaves as a bounded list', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('push' as const), data: fc.uint8Array({ maxLength: 9 }) }),
    fc.record({ kind: fc.constant('shift' as const) }),
    fc.record({ kind: fc.constant('take' as const), length: fc.nat(9) }),
    fc.record({ kind: fc.constant('clear' as const) }),
  )
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 12 }), fc.array(step), (capacity, steps) => {
      const queue = new ByteQueue(capacity)
      const model: number[] = []
      for (const each of steps) {
        if (each.kind === 'push') {
          const room = capacity - model.length
          expect(queue.push(each.data)).toBe(Math.min(room, each.data.length))
          model.push(...each.data.subarray(0, room))
        } else if (each.kind === 'shift') expect(queue.shift()).toBe(model.shift() ?? -1)
        else if (each.kind === 'take')
          expect([...queue.take(each.length)]).toEqual(model.splice(0, each.length))
        else {
          queue.clear()
          model.length = 0
        }
        expect([queue.length, queue.free]).toEqual([model.length, capacity - model.length])
        expect([...queue.peek(capacity)]).toEqual(model)
      }
    }),
  )
})
