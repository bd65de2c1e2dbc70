/** The machines that are compared. */
import { join } from 'node:path'
import { clusterMachine } from './cluster-sides.ts'
import type { GuestConsole } from './guest-console.ts'
import type { GuestImage } from './guest-image.ts'
import { ourMachine, qemuMachine } from './process-sides.ts'

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
  /** Whether it takes part without being named. */
  readonly usual: boolean
  /** Whether its boot is worth measuring: from the start of the one process that it is. */
  readonly boots: boolean
  /** `directory` is for what it writes. */
  start(guest: GuestImage, directory: string): Promise<RunningSide>
}

/** In the order in which they take their turns. `replay` has none of its own: it follows `record`. */
export const SIDES: readonly Side[] = [
  {
    ...{ name: 'plain', what: 'Understudy, neither protected nor recording', usual: true, boots: true },
    start: async (guest) => ourMachine('plain', guest, []),
  },
  {
    ...{ name: 'record', what: 'Understudy recording to a file', usual: true, boots: true },
    start: async (guest, directory) => ourMachine('record', guest, ['--record', recordingIn(directory)]),
  },
  {
    ...{ name: 'unprotected', what: 'a virtual machine of a cluster, alone', usual: true, boots: false },
    start: (guest) => clusterMachine('unprotected', guest, 1),
  },
  {
    ...{ name: 'protected', what: 'primary and backup on two hosts, here', usual: true, boots: false },
    start: (guest) => clusterMachine('protected', guest, 2),
  },
  {
    ...{ name: 'qemu', what: 'QEMU', usual: true, boots: true },
    start: async (guest) => qemuMachine('qemu', guest, []),
  },
  {
    ...{ name: 'qemu-record', what: 'QEMU recording (-icount rr=record)', usual: true, boots: true },
    start: async (guest, directory) => {
      const file = join(directory, 'qemu-record')
      return qemuMachine('qemu-record', guest, ['-icount', `shift=auto,rr=record,rrfile=${file}`])
    },
  },
  {
    ...{ name: 'interpreter', what: 'Understudy without compiled regions', usual: false, boots: true },
    start: async (guest) => ourMachine('interpreter', guest, ['--engine', 'interpreter']),
  },
]

/** The side that replays what `record` recorded. */
export const REPLAY = { name: 'replay', what: 'Understudy replaying what `record` recorded' } as const

/** Where the side `record` writes its log. */
export function recordingIn(directory: string): string {
  return join(directory, 'recording')
}

/** Throws a RangeError if there is none. */
export function sideNamed(name: string): Side {
  const side = SIDES.find((candidate) => candidate.name === name)
  if (side === undefined) throw new RangeError(`no side ${name}`)
  return side
}
