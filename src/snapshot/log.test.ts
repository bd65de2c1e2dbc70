/** A log that starts at a snapshot: the machine that is restored from it, and no other, replays it. */
import { expect, it } from 'vitest'
import type { Computer } from '../machine/computer.ts'
import { writeElf } from '../machine/cpu/isa-test/elf.ts'
import { RAM_START } from '../machine/cpu/layout.ts'
import { createMachine } from '../machine/create.ts'
import { FrameEncoder } from '../replay/frame.ts'
import { encodeLogEnd, encodeLogStart, LogReader } from '../replay/log-file.ts'
import { Recorder } from '../replay/recorder.ts'
import { Replayer } from '../replay/replayer.ts'
import { SnapshotReader } from './reader.ts'
import { MemorySource } from './testing/memory-source.ts'
import { bareConfig, saved } from './testing/saved.ts'

/** `addi x5, x5, 1; j .-4`: counts for ever. */
const COUNTING = Uint8Array.of(0x93, 0x82, 0x12, 0x00, 0x6f, 0xf0, 0xdf, 0xff)
const FRAMES = 5

/** A machine that has counted, and the log of what it did after it was saved. */
function savedAndRecorded(): {
  readonly snapshot: Uint8Array
  readonly log: Uint8Array
  readonly machine: Computer
} {
  const machine = createMachine(bareConfig(writeElf({ base: RAM_START, bytes: COUNTING }), 16))
  machine.beginSlice({ clock: 12_345n, clockRate: 1000, inputs: [] })
  machine.run(777)
  machine.takeOutputs()
  const snapshot = saved(machine)
  const pieces = encodeLogStart(machine.savedConfig(), 'test')
  const recorder = new Recorder(machine)
  const encoder = new FrameEncoder()
  for (let frame = 0; frame < FRAMES; frame++) {
    const clock = machine.guestClock() + 10n
    const data = Uint8Array.of(frame)
    const inputs = [{ kind: 'console-rx', port: 'uart', data }] as const
    const order = { clock, clockRate: 5, inputs, budget: 100, runBudget: 100, fullDigest: true }
    pieces.push(encoder.encode(recorder.record(order).frame))
  }
  pieces.push(encodeLogEnd({ frames: FRAMES, retired: machine.retired, digest: machine.fullDigest() }))
  return { snapshot, log: Buffer.concat(pieces), machine }
}

it('replays on the restored machine, from the count at which it was saved', () => {
  const { snapshot, log, machine } = savedAndRecorded()
  const bytes = log
  const reader = new LogReader({
    lengthBytes: bytes.length,
    read: (offset, length) => bytes.subarray(offset, offset + length),
  })
  const source = new SnapshotReader(new MemorySource(snapshot))
  expect(reader.config).toEqual(source.config)
  expect(reader.config.boot).toMatchObject({ kind: 'snapshot', retired: 777n, clock: 12_345n })
  const copy = createMachine(reader.config)
  source.restore(copy)
  const replayer = new Replayer(copy)
  let item = reader.next()
  for (; item.kind === 'frame'; item = reader.next()) replayer.replay(item.frame)
  expect(item).toEqual({
    kind: 'end',
    end: { frames: FRAMES, retired: 777n + BigInt(FRAMES * 100), digest: machine.fullDigest() },
  })
  expect(copy.fullDigest()).toBe(machine.fullDigest())
})
