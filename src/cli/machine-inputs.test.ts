import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { MachineInput } from '../machine/io.ts'
import { FRAME_BODY_BYTES_MAX, FrameEncoder, SLICE_INPUT_BYTES_MAX } from '../replay/frame.ts'
import { InputQueue } from './machine-inputs.ts'

const frameOf = (byte: number): MachineInput => ({
  kind: 'net-rx',
  nic: 0,
  frame: new Uint8Array(60).fill(byte),
})

function takeAll(queue: InputQueue): MachineInput[] {
  const taken: MachineInput[] = []
  while (!queue.isEmpty) taken.push(...queue.take('uart'))
  return taken
}

describe('the queue of inputs', () => {
  it('gives everything that was typed, in order, a little at a time', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 5 }), (chunks) => {
        const queue = new InputQueue()
        for (const chunk of chunks) queue.type(chunk)
        const taken = takeAll(queue)
        const typed = taken.map((input) => (input.kind === 'console-rx' ? [...input.data] : []))
        expect(typed.flat()).toEqual(chunks.flatMap((chunk) => [...chunk]))
        expect(Math.max(0, ...typed.map((data) => data.length))).toBeLessThanOrEqual(64)
      }),
    )
  })

  it('never gives a slice more than a frame holds, however large the reads of disks', () => {
    const data = new Uint8Array(8 * 1024 * 1024)
    const queue = new InputQueue()
    for (let id = 0; id < 4; id++) queue.push({ kind: 'disk-complete', disk: 0, id, ok: true, data })
    const first = queue.take('uart')
    expect(first).toHaveLength(1)
    expect(data.length).toBeGreaterThan(SLICE_INPUT_BYTES_MAX)
    const bytes = new FrameEncoder().encode({
      sequence: 0,
      clock: 0n,
      clockRate: 0,
      inputs: first,
      retired: 0,
      reason: 'idle',
      digest: 0n,
      fullDigest: null,
    })
    expect(bytes.length).toBeLessThan(FRAME_BODY_BYTES_MAX)
    expect(takeAll(queue)).toHaveLength(3)
  })

  it('drops frames of a network faster than the guest, and counts them', () => {
    const queue = new InputQueue()
    for (let index = 0; index < 1100; index++) queue.push(frameOf(index))
    const taken = takeAll(queue)
    expect(taken.length + queue.netFramesDropped).toBe(1100)
    expect(taken[0]).toEqual(frameOf(0))
    queue.push(frameOf(1))
    expect(queue.take('uart')).toHaveLength(1)
  })

  it('says when enough was typed ahead', () => {
    const queue = new InputQueue()
    queue.type(new Uint8Array(65_535))
    expect(queue.consoleFull).toBe(false)
    queue.type(Uint8Array.of(1))
    expect(queue.consoleFull).toBe(true)
  })

  it('wakes the sleeper at the next input, or in time', async () => {
    const queue = new InputQueue()
    const forever = queue.wait(Number.POSITIVE_INFINITY)
    queue.push(frameOf(1))
    await forever
    const typed = queue.wait(Number.POSITIVE_INFINITY)
    queue.type(Uint8Array.of(1))
    await typed
    const asked = queue.wait(Number.POSITIVE_INFINITY)
    queue.wakeUp()
    await asked
    const start = performance.now()
    await queue.wait(2.5)
    expect(performance.now() - start).toBeGreaterThan(1.9)
  })
})
