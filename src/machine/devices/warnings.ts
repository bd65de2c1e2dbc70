/**
 * What a guest, or the world outside, did wrong to a device. A device never throws at it: it counts it under
 * a stable code, so that an operator sees it in the metrics and a test can ask for it. The counts are part of the
 * device's state: two replicas that disagree on them have diverged.
 */
import type { DeviceState } from './device.ts'
import { StateReader } from './state.ts'

const VERSION = 1

export class WarningCounts<Code extends string> {
  readonly #counts: Map<Code, number>

  /** `codes` is the whole table; every code is counted from zero. */
  constructor(codes: readonly Code[]) {
    this.#counts = new Map(codes.map((code) => [code, 0]))
  }

  count(code: Code): void {
    this.#counts.set(code, (this.#counts.get(code) ?? 0) + 1)
  }

  of(code: Code): number {
    return this.#counts.get(code) ?? 0
  }

  /** Every code with its count, in the order of the table. */
  entries(): ReadonlyMap<Code, number> {
    return this.#counts
  }

  save(): DeviceState {
    return { version: VERSION, ...Object.fromEntries(this.#counts) }
  }

  restore(device: string, state: DeviceState): void {
    const reader = new StateReader(`${device}.warnings`, state, VERSION)
    const read = [...this.#counts.keys()].map(
      (code) => [code, reader.integer(code, 0, Number.MAX_SAFE_INTEGER)] as const,
    )
    for (const [code, count] of read) this.#counts.set(code, count)
  }
}
