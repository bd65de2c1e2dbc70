import { expect, test } from 'vitest'
import { COMPRESSED_TARGETS, expandCompressed } from './compressed.ts'
import { decode } from './instruction-set.ts'

test('the names of what 16-bit instructions stand for are those of all expansions', () => {
  const names = new Set<string>()
  for (let half = 0; half < 65536; half++) {
    if ((half & 3) === 3) continue
    const one = decode(expandCompressed(half) | 0)
    if (one !== null && !one.uses.includes('float') && !one.uses.includes('system')) names.add(one.name)
  }
  expect(names).toEqual(COMPRESSED_TARGETS)
})
