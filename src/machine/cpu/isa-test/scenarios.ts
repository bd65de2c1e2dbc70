/** All scenarios, for every engine and for QEMU. */
import type { Scenario } from './scenario.ts'
import { PRIVILEGE_SCENARIOS } from './scenarios-privilege.ts'
import { TRAP_SCENARIOS } from './scenarios-traps.ts'

export const SCENARIOS: readonly Scenario[] = [...TRAP_SCENARIOS, ...PRIVILEGE_SCENARIOS]
