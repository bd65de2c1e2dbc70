import { expect, test } from 'vitest'
import { Clint, type ClintHart } from './clint.ts'

function bench() {
  const harts: ClintHart[] = [
    { msip: false, mtimecmp: 0n },
    { msip: false, mtimecmp: 0n },
  ]
  const clock = { now: 0n }
  return { harts, clock, clint: new Clint(harts, () => clock.now) }
}

test('msip is one bit of each hart', () => {
  const { clint, harts } = bench()
  clint.write(4, 4, 0xffff_ffff)
  expect(harts.map((hart) => hart.msip)).toEqual([false, true])
  expect([clint.read(0, 4), clint.read(4, 4), clint.read(8, 4)]).toEqual([0, 1, 0])
  clint.write(4, 4, 0xffff_fffe)
  expect(harts[1].msip).toBe(false)
})

test('mtimecmp is written and read by halves', () => {
  const { clint, harts } = bench()
  clint.write(0x4008, 4, 0x8765_4321)
  clint.write(0x400c, 4, 0xfedc_ba98)
  expect(harts[1].mtimecmp).toBe(0xfedc_ba98_8765_4321n)
  expect(harts[0].mtimecmp).toBe(0n)
  expect([clint.read(0x4008, 4), clint.read(0x400c, 4)]).toEqual([0x8765_4321, 0xfedc_ba98])
  clint.write(0x4008, 4, 1)
  expect(harts[1].mtimecmp).toBe(0xfedc_ba98_0000_0001n)
})

test('mtime is guest time and cannot be set', () => {
  const { clint, clock } = bench()
  clock.now = 0x1_8000_0002n
  clint.write(0xbff8, 4, 7)
  clint.write(0xbffc, 4, 7)
  expect([clint.read(0xbff8, 4), clint.read(0xbffc, 4)]).toEqual([0x8000_0002, 1])
})

test('harts that do not exist read zero and take no writes; no offset throws', () => {
  const { clint, harts } = bench()
  for (let offset = 0; offset < clint.size; offset += 4) {
    if (offset < 8 || (offset >= 0x4000 && offset < 0x4010)) continue
    clint.write(offset, 4, 0xffff_ffff)
    expect(clint.read(offset, 4)).toBe(0)
  }
  clint.write(0, 1, 1)
  expect(harts).toEqual([
    { msip: false, mtimecmp: 0n },
    { msip: false, mtimecmp: 0n },
  ])
})
