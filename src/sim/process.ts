import type { Random } from './random.ts'
import type { Scheduler } from './scheduler.ts'

/** Datagrams a paused process's socket holds; the kernel drops what comes beyond. */
const DATAGRAMS_QUEUED_MAX = 64

/** A host's monotonic clock: it begins anywhere, and runs a little fast or slow. */
export class HostClock {
  readonly #scheduler: Scheduler
  readonly #offsetMs: number
  readonly #rate: number

  constructor(scheduler: Scheduler, random: Random) {
    this.#scheduler = scheduler
    this.#offsetMs = random.between(0, 1_000_000)
    // Oscillators are good to 0.01 %; a slewing NTP adds 0.05 %; 1 % is beyond both.
    this.#rate = random.between(0.99, 1.01)
  }

  get nowMs(): number {
    return this.#offsetMs + this.#scheduler.nowMs * this.#rate
  }
}

/** One operating-system process: it can be paused for any time, at any instruction, and can die. */
export class Process {
  readonly #scheduler: Scheduler
  readonly #clock: HostClock
  #life: 'up' | 'paused' | 'dead' = 'up'
  #inbox: (() => void)[] = []
  #datagramsQueued = 0
  #pauses = 0

  /** `clock` is that of the host; a process without one is on a host of its own. */
  constructor(scheduler: Scheduler, random: Random, clock: HostClock = new HostClock(scheduler, random)) {
    this.#scheduler = scheduler
    this.#clock = clock
  }

  get up(): boolean {
    return this.#life === 'up'
  }

  get dead(): boolean {
    return this.#life === 'dead'
  }

  /** The host's monotonic clock; it goes on while the process is paused. */
  get clockMs(): number {
    return this.#clock.nowMs
  }

  /** Runs `work` now, or when the process runs again; never when it is dead. */
  deliver(work: () => void): void {
    if (this.#life === 'up') work()
    else if (this.#life === 'paused') this.#inbox.push(work)
  }

  /** As `deliver`, for a datagram: a socket buffer that is full drops it. */
  deliverDatagram(work: () => void): void {
    if (this.#life === 'paused' && this.#datagramsQueued >= DATAGRAMS_QUEUED_MAX) return
    if (this.#life === 'paused') this.#datagramsQueued++
    this.deliver(work)
  }

  /** Puts `work` before everything that waits: the instructions after the one at which it was paused. */
  resumeWith(work: () => void): void {
    this.#inbox.unshift(work)
  }

  /** Runs `work` after a time, as a timer of this process: late when it is paused meanwhile. */
  timer(delayMs: number, work: () => void): void {
    this.#scheduler.after(delayMs, () => this.deliver(work))
  }

  pause(forMs: number): void {
    if (this.#life === 'dead') return
    this.#life = 'paused'
    const pause = ++this.#pauses
    this.#scheduler.after(forMs, () => {
      // A later pause that began meanwhile ends by itself.
      if (this.#life === 'paused' && pause === this.#pauses) this.#resume()
    })
  }

  #resume(): void {
    this.#life = 'up'
    this.#datagramsQueued = 0
    while (this.up && this.#inbox.length > 0) this.#inbox.shift()!()
  }

  die(): void {
    this.#life = 'dead'
    this.#inbox = []
  }
}
