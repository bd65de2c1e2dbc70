/** The machines that are compared: how each is started with the same guest, and what there is to measure about it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { QEMU_CPU } from '../test/isa/qemu.ts'
import { GuestConsole } from './guest-console.ts'
import type { GuestImage } from './guest-image.ts'

export interface RunningSide {
  readonly console: GuestConsole
  /** Processes whose CPU time is the machine's. */
  readonly pids: readonly number[]
  /** Instructions retired since power-on, if this machine tells. Ask while the guest is idle. */
  retired(): Promise<number | null>
  close(): Promise<void>
}

export interface Side {
  readonly name: string
  /** What a reader should picture. */
  readonly what: string
  start(guest: GuestImage): Promise<RunningSide>
}

const UNDERSTUDY = join(import.meta.dirname, '../bin/understudy.mjs')
/** A machine that was told to end and does not. */
const END_MS_MAX = 20_000

export const SIDES: readonly Side[] = [
  {
    name: 'plain',
    what: 'Understudy, neither protected nor recording',
    start: async (guest) => ourMachine('plain', guest, []),
  },
  {
    name: 'qemu',
    what: 'QEMU',
    start: async (guest) => qemu('qemu', guest, []),
  },
]

/** Throws a RangeError if there is none. */
export function sideNamed(name: string): Side {
  const side = SIDES.find((candidate) => candidate.name === name)
  if (side === undefined) throw new RangeError(`no side ${name}`)
  return side
}

function ourMachine(name: string, guest: GuestImage, more: readonly string[]): RunningSide {
  const { image, append, memoryMiB } = guest
  const child = spawn(process.execPath, [
    ...[UNDERSTUDY, 'machine', 'run', '--kernel', image.kernelPath, '--initrd', image.initrdPath],
    ...['--append', append, '--memory', `${memoryMiB}M`, ...more],
  ])
  const counts = new RetiredCounts(child)
  return { ...processSide(name, child), retired: () => counts.next() }
}

function qemu(name: string, guest: GuestImage, more: readonly string[]): RunningSide {
  const { image, append, memoryMiB } = guest
  const child = spawn('qemu-system-riscv64', [
    ...['-M', 'virt', '-cpu', QEMU_CPU, '-smp', '1', '-m', `${memoryMiB}M`],
    ...['-nodefaults', '-display', 'none', '-serial', 'stdio'],
    ...['-kernel', image.kernelPath, '-initrd', image.initrdPath, '-append', append, ...more],
  ])
  return { ...processSide(name, child), retired: async () => null }
}

/** Throws an Error when the process cannot be started. */
function processSide(name: string, child: ChildProcess): Omit<RunningSide, 'retired'> {
  const { pid, stdin, stdout, stderr } = child
  if (pid === undefined || stdin === null || stdout === null || stderr === null) {
    throw new Error(`${name} cannot be started`)
  }
  // Read, so that it never fills up; what matters of it is in the console's end.
  stderr.resume()
  const ended = once(child, 'close')
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  return {
    console: new GuestConsole(name, stdout, stdin),
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

/** Asks `understudy machine run` for its count of retired instructions. */
class RetiredCounts {
  readonly #child: ChildProcess
  #waiting: ((count: number | null) => void)[] = []

  constructor(child: ChildProcess) {
    this.#child = child
    let text = ''
    child.stderr?.setEncoding('utf8').on('data', (more: string) => {
      const lines = (text + more).split('\n')
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
      this.#child.kill('SIGUSR2')
    })
  }
}
