/**
 * What the I/O thread and the CPU thread of a replica say to each other through their rings.
 * `thread-records.ts` says how it looks there.
 */
import type { MachineConfig } from '../machine/config.ts'
import type { MachineInput, MachineOutput } from '../machine/io.ts'
import type { FrameCursor } from '../replay/frame.ts'
import type { Boot } from './config.ts'
import type { Request } from './pending-requests.ts'

/** To the CPU thread. */
export type CpuCommand =
  /** Goes into the next slice. Only while live. */
  | { readonly kind: 'input'; readonly input: MachineInput }
  /** Replay this encoded frame. Only while not live. `arrivedMs` by `monotonicMs`. */
  | { readonly kind: 'frame'; readonly bytes: Uint8Array; readonly arrivedMs: number }
  /** From here on this machine is live and makes the log. Answered by `live`. */
  | { readonly kind: 'go-live' }
  /** Begin new slices, or end this one and wait. Only while live. */
  | { readonly kind: 'run'; readonly run: boolean }
  /** The share of a core a live machine may use, above 0 up to 1. */
  | { readonly kind: 'throttle'; readonly share: number }
  /** Give the state of the live machine as of now away, piece by piece, while it goes on. Answered by `clone-begun`. */
  | { readonly kind: 'clone' }
  /** So many more pages may be reported: those before have left. */
  | { readonly kind: 'clone-credit'; readonly pages: number }
  /** Give no more of it away. */
  | { readonly kind: 'clone-cancel' }
  /** To a machine that is to be a clone: where its log goes on, then the bytes of its state, then that they are all. */
  | { readonly kind: 'clone-cursor'; readonly cursor: FrameCursor }
  | { readonly kind: 'clone-state'; readonly bytes: Uint8Array }
  | { readonly kind: 'clone-end' }

/** From the CPU thread. */
export type CpuReport =
  /** The machine is built; nothing has run. */
  | { readonly kind: 'ready' }
  /** A live slice has ended. */
  | {
      readonly kind: 'recorded'
      readonly sequence: number
      readonly bytes: Uint8Array
      readonly outputs: readonly MachineOutput[]
      /** CPU time that the slice took, ms. */
      readonly workMs: number
      /** How many network frames the slice took in. */
      readonly framesTaken: number
    }
  /** A frame was replayed and its digest agreed. */
  | {
      readonly kind: 'replayed'
      readonly sequence: number
      readonly byteLength: number
      readonly outputs: readonly MachineOutput[]
    }
  /** Replay of a frame came to another state than the log says. */
  | { readonly kind: 'diverged'; readonly sequence: number; readonly message: string }
  /** Answers `go-live`, or the machine was live at once; `pending` was asked of the outside and not answered in the log. */
  | { readonly kind: 'live'; readonly pending: readonly Request[] }
  /** The machine is captured behind the frame before `cursor`, which was reported already; pieces follow. */
  | {
      readonly kind: 'clone-begun'
      readonly cursor: FrameCursor
      readonly pages: number
      readonly stopMs: number
    }
  /** This machine cannot be cloned; it runs on. */
  | { readonly kind: 'clone-refused'; readonly message: string }
  /** Bytes of the state; the last of them when no page is left. The machine stood still for `stopMs` meanwhile. */
  | {
      readonly kind: 'clone-piece'
      readonly bytes: Uint8Array
      readonly pages: number
      readonly pagesLeft: number
      readonly stopMs: number
    }
  /** The CPU thread gave up; nothing follows. */
  | { readonly kind: 'failed'; readonly code: string; readonly message: string; readonly next: string }

/** What a copy of the running machine is made of. */
export type CopyReport = Extract<CpuReport, { kind: 'clone-begun' | 'clone-piece' | 'clone-refused' }>

/** What a CPU thread is started with that is told of its machine later, by a message with CpuThreadData. */
export interface PreparedThreadData {
  /** URL of the module that exports `createMachine`, to be imported already. */
  readonly prepare: string
}

/** What the CPU thread is started with, or told later. */
export interface CpuThreadData {
  /** URL of the module that exports `createMachine`. */
  readonly machineModule: string
  /** Null for a clone: its configuration comes with its state, in commands. */
  readonly machine: MachineConfig | null
  /** Path of the snapshot that `machine` goes on from; null from power-on. */
  readonly snapshot: string | null
  /** What the machine takes in when it is live and the log is still empty. */
  readonly firstInputs: readonly MachineInput[]
  /** Where the images of `machine` came from; they are read again when the guest resets itself. */
  readonly boot: Boot | null
  /** Live from the start, or replaying from there. */
  readonly live: boolean
  /** Whether the thread makes way for others by itself, because they could not be raised above it. */
  readonly yielding: boolean
  /** Ring of `CpuCommand`. */
  readonly commands: SharedArrayBuffer
  /** Ring of `CpuReport`. */
  readonly reports: SharedArrayBuffer
  /** Rings the I/O thread's doorbell; file descriptors belong to the whole process. */
  readonly doorbellFd: number
  /** Counters of `CpuCounters`. */
  readonly counters: SharedArrayBuffer
  /** Of `CpuControls`. */
  readonly controls: SharedArrayBuffer
}

/** Bytes of the rings. A command holds at most one frame (16 MiB) and a report a frame and its outputs. */
export const COMMAND_RING_BYTES = 32 * 1024 * 1024
export const REPORT_RING_BYTES = 32 * 1024 * 1024

/** What a status report tells about the CPU thread, kept in shared memory so that asking costs it nothing. */
export class CpuCounters {
  readonly #words: BigInt64Array

  static create(): SharedArrayBuffer {
    return new SharedArrayBuffer(4 * 8)
  }

  constructor(shared: SharedArrayBuffer) {
    this.#words = new BigInt64Array(shared)
  }

  set(retired: bigint, guestClock: bigint, instructionsPerMs: number): void {
    Atomics.store(this.#words, 0, retired)
    Atomics.store(this.#words, 1, guestClock)
    Atomics.store(this.#words, 2, BigInt(Math.round(instructionsPerMs)))
  }

  get retired(): bigint {
    return Atomics.load(this.#words, 0)
  }

  get guestClock(): bigint {
    return Atomics.load(this.#words, 1)
  }

  get instructionsPerMs(): number {
    return Number(Atomics.load(this.#words, 2))
  }
}

/** Fixed point of a share in a word of shared memory. */
const SHARE_ONE = 1_000_000

/** What a CPU thread is told past its command ring, because it is to act at once whatever waits there. */
export class CpuControls {
  readonly #words: Int32Array

  static create(): SharedArrayBuffer {
    const shared = new SharedArrayBuffer(4)
    new CpuControls(shared).replayShare = 1
    return shared
  }

  constructor(shared: SharedArrayBuffer) {
    this.#words = new Int32Array(shared)
  }

  /** The share of its speed at which a backup replays: below 1 only for tests and measurements of a slow one. */
  get replayShare(): number {
    return Atomics.load(this.#words, 0) / SHARE_ONE
  }

  set replayShare(share: number) {
    Atomics.store(this.#words, 0, Math.max(1, Math.round(share * SHARE_ONE)))
    Atomics.notify(this.#words, 0)
  }

  /** Sleeps for a time, or until the share is another than `share`. For the CPU thread, which may block. */
  waitForChange(share: number, timeoutMs: number): void {
    Atomics.wait(this.#words, 0, Math.round(share * SHARE_ONE), timeoutMs)
  }
}

/** The host's monotonic clock in ms, the same in all threads of a process (`performance.now` is not). */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

/**
 * CPU time of this thread in ms. What a slice took of it, unlike the time that passed, is the same on a host that is busy
 * with other things.
 */
export function threadCpuMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}
