/** How V8 shall compile WebAssembly in this process. */
import { setFlagsFromString } from 'node:v8'

/**
 * Bytes of WebAssembly that a function executes in baseline code before it is optimised (V8's own: 13 million).
 * Optimising costs about a microsecond of processor time a byte; most of what a booting guest runs is not run often enough to pay that back.
 */
const TIERING_BUDGET = 130_000_000

const FLAGS = [
  // Baseline code is made by the thread that compiles, not at the first call by the one that runs the guest.
  '--no-wasm-lazy-compilation',
  `--wasm-tiering-budget=${TIERING_BUDGET}`,
]

/** Applies to every module compiled from now on, in all threads. */
export function setCompileFlags(): void {
  for (const flag of FLAGS) setFlagsFromString(flag)
}
