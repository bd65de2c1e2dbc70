import fc from 'fast-check'
import { expect, test } from 'vitest'
import { MEMORY_BYTES_MAX } from '../machine/config.ts'
import {
  formatBytes,
  MEMORY_BYTES_MIN,
  parseCloneRate,
  parseCpuShare,
  parseMemory,
  parsePublish,
} from './sizes.ts'

const MIB = 1024 * 1024

test.each([
  ['512M', 512 * MIB],
  ['1G', 1024 * MIB],
  ['1.5g', 1536 * MIB],
  ['256', 256 * MIB],
  ['256MiB', 256 * MIB],
  ['131072K', 128 * MIB],
])('%s is %d bytes', (text, bytes) => {
  expect(parseMemory(text)).toBe(bytes)
})

test.each(['', 'x', '-1G', '63M', '4G', '0', '1e3M', '100.5M', '1T', '512 M B', '99999999999'])(
  '%j is refused',
  (text) => {
    expect(() => parseMemory(text)).toThrow(expect.objectContaining({ code: 'MEMORY_INVALID' }))
  },
)

test('every size that is written is read as it was', () => {
  fc.assert(
    fc.property(fc.integer({ min: MEMORY_BYTES_MIN / MIB, max: MEMORY_BYTES_MAX / MIB }), (mib) => {
      expect(parseMemory(formatBytes(mib * MIB))).toBe(mib * MIB)
    }),
  )
})

test('ports are pairs in range', () => {
  expect(parsePublish('8080:80')).toEqual({ hostPort: 8080, guestPort: 80 })
  for (const text of ['80', '0:80', '80:0', '65536:1', '1:65536', 'a:b', '1:2:3', ' : ', '127.0.0.1:80:80']) {
    expect(() => parsePublish(text)).toThrow(expect.objectContaining({ code: 'PUBLISH_INVALID' }))
  }
})

test('a share of a core is a percentage from 5 to 100', () => {
  expect(['5%', '50%', '99.25%', '100%'].map(parseCpuShare)).toEqual([0.05, 0.5, 0.9925, 1])
  for (const text of ['', '50', '4.99%', '101%', '0%', '-5%', '1e1%', '50 %', '%']) {
    expect(() => parseCpuShare(text), text).toThrow(expect.objectContaining({ code: 'CPU_LIMIT_INVALID' }))
  }
})

test('rates of cloning are megabytes a second, or unlimited', () => {
  expect(parseCloneRate('50M')).toBe(50 * 1024 * 1024)
  expect(parseCloneRate('1g')).toBe(1024 ** 3)
  expect(parseCloneRate('unlimited')).toBe(null)
  for (const text of ['', '0M', '50', '1.5M', '-1M', 'fast']) {
    expect(() => parseCloneRate(text)).toThrow(expect.objectContaining({ code: 'CLONE_RATE_INVALID' }))
  }
})
