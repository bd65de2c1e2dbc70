/** Snapshots of a Linux guest: cut anywhere it goes on the same; started many times it is each time another machine. */
import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, it } from 'vitest'
import { bootSnapshot } from '../src/cluster/boot-snapshot.ts'
import { buildImage } from '../src/image/build.ts'
import type { OpenedImage } from '../src/image/directory.ts'
import type { Computer } from '../src/machine/computer.ts'
import type { MachineConfig } from '../src/machine/config.ts'
import { ENGINES } from '../src/machine/cpu/isa-test/engine.ts'
import { Random } from '../src/machine/cpu/isa-test/random.ts'
import { createMachine } from '../src/machine/create.ts'
import { Replayer } from '../src/replay/replayer.ts'
import { identityInputs } from '../src/snapshot/boot.ts'
import { readSnapshotConfig, restoreFromFile } from '../src/snapshot/file.ts'
import { SnapshotReader } from '../src/snapshot/reader.ts'
import { MemorySource } from '../src/snapshot/testing/memory-source.ts'
import { saveMachine } from '../src/snapshot/writer.ts'
import { LinuxGuest } from './linux-guest.ts'

const MEMORY_BYTES = 256 * 1024 * 1024
const EPOCH_NS = 1_800_000_000_000_000_000n
/** Where to cut, in slices: twice in the boot, twice after the login. */
const CUTS_BOOTING = [
  [20, 300],
  [300, 800],
] as const
const CUTS_WORKING = [
  [10, 150],
  [150, 300],
] as const
/** Slices that a restored machine is followed for. */
const SLICES_AFTER = 150

let image: OpenedImage

beforeAll(async () => {
  image = await buildImage('tiny')
}, 900_000)

/** "Who has 10.0.2.15?", from the gateway: the guest answers it. */
function arpRequest(): Uint8Array {
  const frame = new Uint8Array(60)
  frame.fill(0xff, 0, 6)
  frame.set(
    [0x52, 0x55, 0x0a, 0, 2, 2, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1, 0x52, 0x55, 0x0a, 0, 2, 2, 10, 0, 2, 2],
    6,
  )
  frame.set([10, 0, 2, 15], 38)
  return frame
}

describe('a boot of Linux, with traffic, cut at random places', () => {
  const seed = Date.now() % 1_000_000
  const random = new Random(seed)

  it.each(ENGINES)(`goes on the same when it was recorded by %s (seed ${seed})`, (engine) => {
    const config: MachineConfig = {
      memoryBytes: MEMORY_BYTES,
      boot: {
        kind: 'linux',
        kernel: readFileSync(image.kernelPath),
        initrd: readFileSync(image.initrdPath),
        append: image.manifest.append,
      },
      nics: [{ mac: Uint8Array.of(0x52, 0x54, 0, 1, 2, 3) }],
      disks: [{ sizeBytes: 1024 * 1024, readOnly: false }],
      rngSeed: new Uint8Array(32).fill(1),
      epochNs: EPOCH_NS,
    }
    const guest = new LinuxGuest(createMachine(config, { engine }))
    const cuts: { readonly sequence: number; readonly bytes: Uint8Array }[] = []
    const places = CUTS_BOOTING.map(([from, to]) => random.between(from, to))
    let typed = 0
    let last = Number.POSITIVE_INFINITY
    while (guest.frames.length < last) {
      if (last === Number.POSITIVE_INFINITY && guest.text.includes('login: ')) {
        places.push(...CUTS_WORKING.map(([from, to]) => guest.frames.length + random.between(from, to)))
        last = places.at(-1)! + SLICES_AFTER
      }
      if (places.includes(guest.frames.length)) {
        const bytes = Buffer.concat([...saveMachine(guest.machine, { program: 'test', compress: true })])
        cuts.push({ sequence: guest.frames.length, bytes })
      }
      if (random.chance(5)) guest.input({ kind: 'net-rx', nic: 0, frame: arpRequest() })
      if (last < Number.POSITIVE_INFINITY && random.chance(10)) {
        const commands = [
          'root\n',
          'cat /proc/meminfo\n',
          'ls -l /usr/bin | wc\n',
          'dd if=/dev/vda of=/dev/null\n',
        ]
        guest.type(commands[Math.min(typed++, commands.length - 1)]!)
      }
      guest.step()
    }
    expect(guest.outputs.filter(({ kind }) => kind === 'net-tx').length).toBeGreaterThan(0)
    expect(cuts.length).toBe(CUTS_BOOTING.length + CUTS_WORKING.length)
    for (const { sequence, bytes } of cuts) {
      const reader = new SnapshotReader(new MemorySource(bytes))
      const copy = createMachine(reader.config, { engine: random.pick(ENGINES) })
      reader.restore(copy)
      const before = guest.frames[sequence - 1]!
      const cursor = { sequence, clock: before.clock, clockRate: before.clockRate }
      const replayer = new Replayer(copy, { cursor, maxRunInstructions: 1 + random.below(200_000) })
      // It throws a DivergenceError at the first difference.
      for (const frame of guest.frames.slice(sequence, sequence + SLICES_AFTER)) replayer.replay(frame)
      if (sequence + SLICES_AFTER === last) expect(copy.fullDigest()).toBe(guest.machine.fullDigest())
    }
  })
})

describe('machines started from one booted snapshot', () => {
  let file: string

  beforeAll(async () => {
    const order = { image, memoryBytes: MEMORY_BYTES, append: image.manifest.append }
    // Two commands at once: whoever makes it, both get the same one.
    const [one, other] = await Promise.all([bootSnapshot(order), bootSnapshot(order)])
    expect(other).toEqual(one)
    expect(await bootSnapshot({ ...order, onMake: () => expect.unreachable('it is there') })).toEqual(one)
    file = one!.snapshot
  })

  function start(generation: number, name: string): LinuxGuest {
    const saved = readSnapshotConfig(file)
    const config = { ...saved, epochNs: EPOCH_NS - saved.boot.clock * 100n }
    const machine: Computer = createMachine(config)
    restoreFromFile(file, machine, saved.boot)
    const identity = { generation: new Uint8Array(16).fill(generation), words: `hostname=${name}` }
    return new LinuxGuest(machine, identityInputs(identity))
  }

  it('know their names and the time, and draw different random numbers', () => {
    const question =
      'hostname; date +%s; cat /proc/sys/kernel/random/uuid; redis-cli info server | grep run_id'
    const answers = [start(1, 'anna'), start(2, 'berta')].map((guest) => guest.command(question).split(/\s+/))
    const [anna, berta] = answers
    expect([anna![0], berta![0]]).toEqual(['anna', 'berta'])
    for (const [, seconds, uuid, runId] of answers) {
      expect(Number(seconds) - Number(EPOCH_NS / 1_000_000_000n)).toBeGreaterThanOrEqual(0)
      expect(Number(seconds) - Number(EPOCH_NS / 1_000_000_000n)).toBeLessThan(60)
      expect(uuid).toMatch(/^[0-9a-f-]{36}$/)
      expect(runId).toMatch(/^run_id:[0-9a-f]{40}$/)
    }
    expect(anna![2]).not.toBe(berta![2])
    expect(anna![3]).not.toBe(berta![3])
  })

  it('are bit for bit the same with the same identity: what makes them differ is all in the log', () => {
    const [one, other] = [start(7, 'same'), start(7, 'same')]
    const question = 'dmesg | tail -3; cat /proc/sys/kernel/random/uuid'
    const said = one.command(question)
    expect(said).toContain('virtual machine fork')
    expect(other.command(question)).toBe(said)
    expect(other.frames).toEqual(one.frames)
    expect(other.machine.fullDigest()).toBe(one.machine.fullDigest())
  })
})
