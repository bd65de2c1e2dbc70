/**
 * The rules that the simulator can switch off, to show that its checkers see what happens without them.
 *
 * Production code never passes this: the constructors default to ALL_REDUNDANCY_RULES.
 */
export interface RedundancyRules {
  /** A backup is placed apart from its primary. */
  readonly apart: boolean
  /** A clone whose host is gone is given up. */
  readonly goneClone: boolean
}

/** What production runs with. */
export const ALL_REDUNDANCY_RULES: RedundancyRules = { apart: true, goneClone: true }
