/** Guest RAM as devices see it, against plain bytes. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createCore } from './cpu/core.ts'
import { RAM_BASE } from './devices/memory-map.ts'
import { TestRam } from './devices/testing/test-ram.ts'
import { Ram } from './memory.ts'

const MEMORY_BYTES = 16 * 1024 * 1024

test('the checksum of any stretch of RAM is that of its bytes', () => {
  const core = createCore(
    { memoryBytes: MEMORY_BYTES, servesSbi: false, hotThreshold: 1, watch: null },
    { deviceRead: () => 0n, deviceWrite: () => undefined, keepPage: () => undefined },
  )
  const ram = new Ram(core.memory, core.layout, core.exports.checksum, () => undefined)
  const plain = new TestRam(MEMORY_BYTES)
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 300 }),
      fc.oneof(
        fc.uint8Array({ maxLength: 200 }),
        fc.integer({ min: 0, max: 70_000 }).map((length) => new Uint8Array(length).fill(0xff)),
      ),
      (offset, data) => {
        const address = RAM_BASE + 4096 + offset
        ram.write(address, data)
        plain.write(address, data)
        expect(ram.checksum(address, data.length)).toBe(plain.checksum(address, data.length))
      },
    ),
    { numRuns: 500 },
  )
})
