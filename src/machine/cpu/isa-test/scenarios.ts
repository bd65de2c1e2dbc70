/** All scenarios, for every engine and for QEMU. */
import type { Scenario } from './scenario.ts'
import { TRAP_SCENARIOS } from './scenarios-traps.ts'

export const SCENARIOS: readonly Scenario[] = [...TRAP_SCENARIOS]
