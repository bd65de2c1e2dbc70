import type { Bond } from './bond.ts'
import { OUTPUT_BYTES_MAX } from './output-gate.ts'

/** Share of a buffer at which the machine stalls: leaves room for the slices under way. */
const STALL_SHARE = 1 / 2
/** Share at which it runs again: lower, so that it does not flutter. */
const RESUME_SHARE = 3 / 8

/**
 * Buffer full: the primary stalls. True when the outputs held here, or the log that the backup may have to hold, pass
 * what is allowed; a machine that runs is allowed more than one that was stalled already.
 */
export function shouldStall(running: boolean, heldOutputBytes: number, bond: Bond | null): boolean {
  const share = running ? STALL_SHARE : RESUME_SHARE
  if (heldOutputBytes > OUTPUT_BYTES_MAX * share) return true
  return bond !== null && bond.unexecutedBytes > bond.logBytesMax * share
}
