/** `understudy machine replay`: makes the machine of a log anew and lets it live through the same life. */
import { existsSync } from 'node:fs'
import type { ConsolePort } from '../machine/io.ts'
import type { Machine } from '../machine/machine.ts'
import { DivergenceError } from '../replay/errors.ts'
import { type LogItem, LogReader } from '../replay/log-file.ts'
import { Replayer } from '../replay/replayer.ts'
import { snapshotBeside } from '../replica/log-keeper.ts'
import { restoreFromFile } from '../snapshot/file.ts'
import { writeAll } from './machine-console.ts'
import { createMachineFor, type Engine } from './machine-engine.ts'
import { MachineVerbError } from './machine-errors.ts'
import { LogFileSource } from './machine-files.ts'

export interface ReplayOptions {
  readonly log: string
  /** What the log starts at; null: at power-on, or at the snapshot beside it. */
  readonly snapshot: string | null
  readonly console: ConsolePort
  readonly engine: Engine | null
  readonly maxRunInstructions: number | null
}

export interface ReplayResult {
  readonly frames: number
  readonly digest: bigint
  readonly retired: bigint
}

/** Frames replayed before the event loop gets a turn, for signals and for what is written to stdout. */
const FRAMES_PER_TURN = 64

/** Throws a LogError at altered bytes and a DivergenceError where the replay differs; `diagnostic` is for stderr. */
export async function replayLog(
  options: ReplayOptions,
  diagnostic: (text: string) => void,
): Promise<ReplayResult> {
  // A reader of the console that left is no reason to stop comparing.
  const ignore = () => undefined
  process.stdout.on('error', ignore)
  const source = new LogFileSource(options.log)
  try {
    const reader = new LogReader(source)
    const machine = createMachineFor(reader.config, options.engine)
    const { boot } = reader.config
    if (boot.kind === 'snapshot') restoreFromFile(snapshotOf(options), machine, boot)
    const { maxRunInstructions } = options
    const replayer = new Replayer(machine, maxRunInstructions === null ? {} : { maxRunInstructions })
    let item = reader.next()
    for (; item.kind === 'frame'; item = reader.next()) {
      for (const output of replayer.replay(item.frame)) {
        if (output.kind === 'console-tx' && output.port === options.console)
          await writeAll(process.stdout, output.data)
      }
      if (item.frame.sequence % FRAMES_PER_TURN === 0) await new Promise(setImmediate)
    }
    const frames = replayer.cursor.sequence
    const digest = machine.fullDigest()
    compareEnd(item, frames, machine, digest, diagnostic)
    return { frames, digest, retired: machine.retired }
  } finally {
    source.close()
  }
}

function snapshotOf({ log, snapshot }: ReplayOptions): string {
  const path = snapshot ?? snapshotBeside(log)
  if (snapshot !== null || existsSync(path)) return path
  throw new MachineVerbError(
    'MACHINE_SNAPSHOT_NEEDED',
    `${log} starts at a snapshot, and there is none at ${path}.`,
  )
}

function compareEnd(
  item: Exclude<LogItem, { kind: 'frame' }>,
  frames: number,
  machine: Machine,
  digest: bigint,
  diagnostic: (text: string) => void,
): void {
  if (item.kind === 'truncated') {
    diagnostic(
      `the log is truncated at byte ${item.offset}: ${frames} whole frames were replayed, ${item.tornBytes} bytes of a torn one dropped`,
    )
  } else if (item.end.digest !== digest) {
    const where = { sequence: frames - 1, retired: machine.retired }
    throw new DivergenceError(where, 'full digest', item.end.digest.toString(16), digest.toString(16))
  }
}
