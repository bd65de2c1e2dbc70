import { afterEach, expect, test } from 'vitest'
import { ConsoleHub } from './console-hub.ts'
import { Cpu } from './cpu.ts'
import { Outside } from './outside.ts'

const machine = {
  memoryBytes: 16 * 1024 * 1024,
  boot: { kind: 'bare', elf: new Uint8Array() },
  nics: [{ mac: Uint8Array.of(2, 0, 0, 0, 0, 1) }],
  disks: [],
  rngSeed: new Uint8Array(32).fill(7),
} as const
const machineModule = new URL('../../test/echo-machine.ts', import.meta.url).href

/** As large as passt makes them; the machine takes it and does nothing with it. */
const frame = new Uint8Array(65_490).fill(1)

const started: Cpu[] = []
afterEach(async () => {
  await Promise.all(started.splice(0).map((cpu) => cpu.end()))
})

/** The outside of a live machine, which counts the frames that its slices take in. */
function start() {
  let taken = 0
  const cpu = Cpu.start({
    machineModule,
    machine,
    live: true,
    onReport: (report) => {
      if (report.kind === 'recorded') taken += report.framesTaken
    },
  })
  started.push(cpu)
  const network = { goLive: () => {}, send: () => {}, taken: () => {}, close: () => {} }
  const outside = new Outside(network, new ConsoleHub(() => {}), new Uint8Array())
  outside.attach(cpu)
  outside.goLive(1)
  return { cpu, outside, taken: () => taken }
}

test('a machine that takes its frames loses none, however much went before', async () => {
  const { cpu, outside, taken } = start()
  cpu.send({ kind: 'run', run: true })
  const burstFrames = 4
  for (let sent = burstFrames; sent <= 50 * burstFrames; sent += burstFrames) {
    for (let i = 0; i < burstFrames; i++) outside.frameArrived(frame)
    expect(outside.droppedFrames).toBe(0)
    await expect.poll(taken, { interval: 1 }).toBe(sent)
  }
})

test('a machine that takes no frames loses those that nobody may keep for it, and they are counted', () => {
  const { outside } = start()
  const sent = 1024
  for (let i = 0; i < sent; i++) outside.frameArrived(frame)
  expect(outside.droppedFrames).toBeGreaterThan(0)
  expect(outside.droppedFrames).toBeLessThan(sent - 100)
})
