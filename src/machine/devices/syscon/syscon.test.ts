import { expect, test } from 'vitest'
import { TestContext } from '../testing/test-context.ts'
import { Syscon } from './syscon.ts'

test('each command ends the slice with its output', () => {
  const commands = [
    [0x5555, { kind: 'power', action: 'off', exitStatus: 0 }],
    [0x7777, { kind: 'power', action: 'reset', exitStatus: 0 }],
    [0x3333, { kind: 'power', action: 'off', exitStatus: 0 }],
    [0x002a_3333, { kind: 'power', action: 'off', exitStatus: 42 }],
    [0xffff_3333, { kind: 'power', action: 'off', exitStatus: 0xffff }],
  ] as const
  for (const [value, output] of commands) {
    const context = new TestContext()
    new Syscon(context).write(0, 4, value)
    expect(context.takeOutputs()).toEqual([output])
    expect(context.sliceEnds).toBe(1)
  }
})

test('anything else does nothing', () => {
  const context = new TestContext()
  const syscon = new Syscon(context)
  syscon.write(4, 4, 0x5555)
  syscon.write(0, 1, 0x55)
  syscon.write(0, 4, 0)
  syscon.write(0, 4, 0x5556)
  expect(syscon.read()).toBe(0)
  expect(context.takeOutputs()).toEqual([])
  expect(context.sliceEnds).toBe(0)
})
