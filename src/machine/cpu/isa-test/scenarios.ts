/** All scenarios, for every engine and for QEMU. */
import type { Scenario } from './scenario.ts'
import { CACHE_BLOCK_SCENARIOS } from './scenarios-cache-block.ts'
import { CALL_SCENARIOS } from './scenarios-calls.ts'
import { CODE_SCENARIOS } from './scenarios-code.ts'
import { CSR_SCENARIOS } from './scenarios-csr.ts'
import { FLOAT_SCENARIOS } from './scenarios-float.ts'
import { INTERRUPT_SCENARIOS } from './scenarios-interrupts.ts'
import { PAGING_SCENARIOS } from './scenarios-paging.ts'
import { PERMISSION_SCENARIOS } from './scenarios-permissions.ts'
import { PRIVILEGE_SCENARIOS } from './scenarios-privilege.ts'
import { TRANSLATION_SCENARIOS } from './scenarios-translations.ts'
import { TRAP_SCENARIOS } from './scenarios-traps.ts'

export const SCENARIOS: readonly Scenario[] = [
  ...TRAP_SCENARIOS,
  ...PRIVILEGE_SCENARIOS,
  ...CSR_SCENARIOS,
  ...PERMISSION_SCENARIOS,
  ...PAGING_SCENARIOS,
  ...TRANSLATION_SCENARIOS,
  ...INTERRUPT_SCENARIOS,
  ...CODE_SCENARIOS,
  ...CALL_SCENARIOS,
  ...FLOAT_SCENARIOS,
  ...CACHE_BLOCK_SCENARIOS,
]
