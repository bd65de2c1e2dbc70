/** Machines that are one process with the guest's serial console on its standard input and output. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { QEMU_CPU } from '../test/isa/qemu.ts'
import { GuestConsole } from './guest-console.ts'
import type { GuestImage } from './guest-image.ts'
import type { RunningSide } from './sides.ts'

const UNDERSTUDY = join(import.meta.dirname, '../bin/understudy.mjs')
/** A machine that was told to end and does not. */
const END_MS_MAX = 20_000
const LOOK_MS = 2

/** `more` are arguments of `understudy machine run`. */
export function ourMachine(name: string, guest: GuestImage, more: readonly string[]): RunningSide {
  const { image, append, memoryMiB } = guest
  const child = spawn(process.execPath, [
    ...[UNDERSTUDY, 'machine', 'run', '--kernel', image.kernelPath, '--initrd', image.initrdPath],
    ...['--append', append, '--memory', `${memoryMiB}M`, ...more],
  ])
  const counts = new RetiredCounts(child)
  return { ...processSide(name, child), retired: () => counts.next() }
}

/** `more` are arguments of QEMU. */
export function qemuMachine(name: string, guest: GuestImage, more: readonly string[]): RunningSide {
  const { image, append, memoryMiB } = guest
  const child = spawn('qemu-system-riscv64', [
    ...['-M', 'virt', '-cpu', QEMU_CPU, '-smp', '1', '-m', `${memoryMiB}M`],
    ...['-nodefaults', '-display', 'none', '-serial', 'stdio'],
    ...['-kernel', image.kernelPath, '-initrd', image.initrdPath, '-append', append, ...more],
  ])
  return { ...processSide(name, child), retired: async () => null }
}

/** A replay at full speed that can be held, so that it takes its turn like a machine that waits to be asked. */
export interface ReplaySide extends RunningSide {
  /** Resolves when it stands still. */
  hold(): Promise<void>
  goOn(): void
}

export function replayOf(name: string, log: string): ReplaySide {
  const child = spawn(process.execPath, [UNDERSTUDY, 'machine', 'replay', log])
  const side = processSide(name, child)
  const [pid] = side.pids
  return {
    ...side,
    retired: async () => null,
    hold: async () => {
      child.kill('SIGSTOP')
      while (child.exitCode === null && !isStopped(pid)) await sleep(LOOK_MS)
    },
    goOn: () => child.kill('SIGCONT'),
    close: async () => {
      child.kill('SIGKILL')
      await side.close()
    },
  }
}

/** proc(5): the third field of stat is the state, `T` when stopped by a signal. */
function isStopped(pid: number): boolean {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  return stat.slice(stat.lastIndexOf(')') + 2).startsWith('T')
}

/** Throws an Error when the process cannot be started. */
function processSide(name: string, child: ChildProcess): Omit<RunningSide, 'retired'> {
  const { pid, stdin, stdout, stderr } = child
  if (pid === undefined || stdin === null || stdout === null || stderr === null) {
    throw new Error(`${name} cannot be started`)
  }
  // Read in any case, so that it never fills up.
  let complaint = ''
  stderr.on('data', (chunk: Buffer) => {
    complaint = (complaint + chunk.toString()).slice(-COMPLAINT_CHARACTERS)
  })
  const ended = once(child, 'close')
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  return {
    console: new GuestConsole(name, stdout, stdin, () => complaint),
    pids: [pid],
    close: async () => {
      child.kill('SIGTERM')
      const timer = setTimeout(kill, END_MS_MAX)
      await ended
      clearTimeout(timer)
      process.off('exit', kill)
    },
  }
}

/** Enough of what a process complained of to understand its end. */
const COMPLAINT_CHARACTERS = 2000

/** Asks `understudy machine run` for its count of retired instructions. */
class RetiredCounts {
  readonly #child: ChildProcess
  #waiting: ((count: number | null) => void)[] = []

  constructor(child: ChildProcess) {
    this.#child = child
    let text = ''
    child.stderr?.on('data', (chunk: Buffer) => {
      const lines = (text + chunk.toString()).split('\n')
      text = lines.pop() ?? ''
      for (const line of lines) {
        const count = /^\{"retired":([0-9]+)\}$/.exec(line)
        if (count !== null) this.#waiting.shift()?.(Number(count[1]))
      }
    })
    child.once('close', () => {
      for (const resolve of this.#waiting) resolve(null)
    })
  }

  next(): Promise<number | null> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
      if (!this.#child.kill('SIGUSR2')) resolve(null)
    })
  }
}
