import type { MachineConfig } from './config.ts'
import type { DeviceState } from './devices/device.ts'
import type { GuestPages } from './guest-pages.ts'
import type { MachineInput, MachineOutput } from './io.ts'
import type { PageCapture } from './page-capture.ts'

/**
 * The whole computer as a pure function of its configuration and its log. It reads no clock, draws no random
 * number, does no I/O. The driver (recorder, replayer, replica) calls, for each slice:
 * `beginSlice`, `run` until the slice ends, `takeOutputs`.
 */
export interface Machine {
  /** Instructions retired since power-on, over all harts. */
  readonly retired: bigint
  /** True once the guest powered off; `run` retires nothing any more. */
  readonly halted: boolean
  /** Starts a slice: sets guest time and applies the inputs in order. `clock` never runs backwards. */
  beginSlice(start: SliceStart): void
  /**
   * Runs until exactly `budget` instructions are retired in this call, or an earlier end for one of the other
   * reasons. Returns how many retired. Several calls may make up one slice. Bounded: 0 to RUN_BUDGET_MAX.
   */
  run(budget: number): SliceEnd
  /** Outputs made since the last call, in order; the machine forgets them. */
  takeOutputs(): MachineOutput[]
  /** Guest time now, in ticks of 100 ns (10 MHz). */
  guestClock(): bigint
  /** The guest time at which an idle hart wants to be woken, or null when no timer is armed. */
  timerDeadline(): bigint | null
  /** A cheap digest of the registers of all harts and device outputs so far; for every frame. 64 bits. */
  digest(): bigint
  /** A digest of everything: registers, devices, and all of RAM (only pages dirtied since the last call are hashed again). 64 bits. */
  fullDigest(): bigint
}

/**
 * A machine whose state can be taken out and put into another: what snapshots and cloning need. The state is what
 * `saveState` returns and the pages of RAM, together with the configuration.
 *
 * To save: between two slices, when the outputs were taken. To restore: build a machine from `savedConfig()`, fill
 * its `pages`, then `restoreState`; it goes on bit for bit as the other one. MAC addresses and the epoch of the clock
 * may be others, as if the cards had been exchanged and the clock been set.
 */
export interface SavableMachine extends Machine {
  readonly pages: GuestPages
  /** The configuration of a machine that takes the present state; its `boot` is a `SnapshotStart`. */
  savedConfig(): MachineConfig
  /** Everything but RAM. */
  saveState(): DeviceState
  /** Throws a DeviceStateError if the state does not fit; then the machine may only be thrown away. */
  restoreState(state: DeviceState): void
  /**
   * Captures the machine as it is now, while it goes on; between two slices, when the outputs were taken. It stops for no
   * longer than marking its pages takes.
   */
  capture(): MachineCapture
  /** What the guest asked of the outside and has not been answered: to be asked again by whoever restored it. */
  pendingRequests(): MachineOutput[]
}

/** A machine as of one moment. */
export interface MachineCapture {
  /** Its configuration, as from `savedConfig`, but with 0 for the digest, which is not known yet. */
  readonly config: MachineConfig
  readonly state: DeviceState
  /** Its pages, to be taken piece by piece between slices. */
  readonly pages: PageCapture
  /** The full digest of that moment; once all pages were taken. */
  digest(): bigint
}

export function isSavable(machine: Machine): machine is SavableMachine {
  return 'restoreState' in machine
}

export interface SliceStart {
  /** Guest time at the slice's first instruction, in ticks of 100 ns. */
  readonly clock: bigint
  /** How fast guest time passes inside the slice: ticks per instruction as an unsigned 0.32 fixed-point fraction. */
  readonly clockRate: number
  readonly inputs: readonly MachineInput[]
}

export interface SliceEnd {
  readonly retired: number
  readonly reason: SliceEndReason
}

/** budget: it is spent. idle: every hart waits in WFI. output: the guest kicked an output that should leave now. halted: power-off. */
export type SliceEndReason = 'budget' | 'idle' | 'output' | 'halted'

/** Bounds one `run` call: V8 replaces no running frame by optimised code, so the loop must be left now and then. */
export const RUN_BUDGET_MAX = 1_000_000_000
