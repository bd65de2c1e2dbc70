import { mkdtempSync, rmSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { MachineConfig } from '../machine/config.ts'
import type { MachineOutput } from '../machine/io.ts'
import type { LogFrame } from '../replay/frame.ts'
import { type LogItem, LogReader } from '../replay/log-file.ts'
import { Replayer } from '../replay/replayer.ts'
import { ToyMachine } from '../replay/testing/toy-machine.ts'
import { LogFileSource, LogFileWriter, readImage } from './machine-files.ts'
import { InputQueue } from './machine-inputs.ts'
import { MachineLoop } from './machine-loop.ts'

const HALT_AT = 3000

const config: MachineConfig = {
  memoryBytes: 16 * 1024 * 1024,
  boot: { kind: 'bare', elf: Uint8Array.of(1, 2, 3) },
  nics: [],
  disks: [],
  rngSeed: new Uint8Array(32),
}

let directory: string
let path: string

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'machine-'))
  path = join(directory, 'log')
})

afterEach(() => rmSync(directory, { recursive: true }))

function start(machine: ToyMachine, frame: (frame: LogFrame) => void, canBeWoken = true) {
  const inputs = new InputQueue()
  const outputs: MachineOutput[] = []
  const loop = new MachineLoop(machine, {
    inputs,
    consolePort: 'uart',
    canBeWoken: () => canBeWoken,
    output: (output) => {
      outputs.push(output)
      // Types back what it reads, so that the guest is woken by inputs as well.
      if (output.kind === 'console-tx') inputs.type(output.data)
      return undefined
    },
    frame,
    now: () => performance.now(),
  })
  return { loop, inputs, outputs }
}

/** Every frame of the log, and how it ends. */
function readLog(): { frames: LogFrame[]; last: LogItem; config: MachineConfig } {
  const source = new LogFileSource(path)
  try {
    const reader = new LogReader(source)
    const frames: LogFrame[] = []
    for (;;) {
      const item = reader.next()
      if (item.kind !== 'frame') return { frames, last: item, config: reader.config }
      frames.push(item.frame)
    }
  } finally {
    source.close()
  }
}

describe('a live machine and its log file', () => {
  it('run to the power-off, and the log replays to the same state with the same outputs', async () => {
    const machine = new ToyMachine(HALT_AT)
    const log = new LogFileWriter(path, config, 'a test')
    const { loop, outputs } = start(machine, (frame) => log.frame(frame))
    expect(await loop.run()).toEqual({ kind: 'power', action: 'off', exitStatus: 7 })
    log.end(machine.fullDigest())

    const { frames, last, config: read } = readLog()
    expect(read).toEqual(config)
    const end = { frames: frames.length, retired: BigInt(HALT_AT), digest: machine.fullDigest() }
    expect(last).toEqual({ kind: 'end', end })
    const replayer = new Replayer(new ToyMachine(HALT_AT))
    expect(frames.flatMap((frame) => replayer.replay(frame))).toEqual(outputs)
  })

  it('that was killed in the middle of writing leaves every whole frame', async () => {
    const machine = new ToyMachine(HALT_AT)
    const log = new LogFileWriter(path, config, 'a test')
    const ends: number[] = []
    const { loop } = start(machine, (frame) => {
      log.frame(frame)
      ends.push(log.bytes)
    })
    await loop.run()
    const kept = ends.length >> 1
    truncateSync(path, ends[kept] - 1)
    const { frames, last } = readLog()
    expect(frames).toHaveLength(kept)
    expect(last).toMatchObject({ kind: 'truncated', offset: ends[kept - 1] })
  })

  it('stop when asked, between two slices', async () => {
    const machine = new ToyMachine(Number.MAX_SAFE_INTEGER)
    let slices = 0
    const { loop } = start(machine, () => {
      slices++
      if (slices === 10) loop.stop()
    })
    expect(await loop.run()).toBeNull()
    expect(slices).toBe(10)
  })

  it('sleep while the guest does, with hardly a frame, until an input comes', async () => {
    const machine = new ToyMachine(Number.MAX_SAFE_INTEGER)
    const tomorrow = 864_000_000_000n
    machine.timerDeadline = () => tomorrow
    const frames: LogFrame[] = []
    const { loop, inputs } = start(machine, (frame) => {
      frames.push(frame)
      if (frame.inputs.length > 0) loop.stop()
      else if (frame.reason === 'idle') setImmediate(() => inputs.type(Uint8Array.of(65)))
    })
    await loop.run()
    expect(frames.at(-1)?.inputs).toEqual([{ kind: 'console-rx', port: 'uart', data: Uint8Array.of(65) }])
    expect(frames.length).toBeLessThanOrEqual(2)
  })

  it('fail when the guest sleeps for good', async () => {
    const machine = new ToyMachine(HALT_AT)
    machine.timerDeadline = () => null
    machine.run = () => ({ retired: 0, reason: 'idle' })
    const { loop } = start(machine, () => undefined, false)
    await expect(loop.run()).rejects.toMatchObject({ code: 'MACHINE_ASLEEP' })
  })
})

describe('files of the machine verbs', () => {
  it('that are missing, no files, too large or not writable are typed errors', () => {
    expect(() => readImage(join(directory, 'none'), 10)).toThrowError(
      expect.objectContaining({ code: 'MACHINE_FILE_MISSING' }),
    )
    expect(() => readImage(directory, 10)).toThrowError(
      expect.objectContaining({ code: 'MACHINE_FILE_UNREADABLE' }),
    )
    new LogFileWriter(path, config, 'a test').end(0n)
    expect(() => readImage(path, 10)).toThrowError(
      expect.objectContaining({ code: 'MACHINE_FILE_TOO_LARGE' }),
    )
    expect(() => new LogFileWriter(join(directory, 'none', 'log'), config, 'a test')).toThrowError(
      expect.objectContaining({ code: 'MACHINE_LOG_UNWRITABLE' }),
    )
  })
})
