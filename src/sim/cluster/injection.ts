import { ALL_REDUNDANCY_RULES, type RedundancyRules } from '../../redundancy/rules.ts'

/** What is switched off in a cluster to show that the checkers would notice. */
export interface ClusterInjection extends RedundancyRules {
  /** A replica that waits for its state in vain ends. */
  readonly awaited: boolean
  /** A host takes no replica for which it has no memory. */
  readonly hostMemory: boolean
}

export const NO_CLUSTER_INJECTION: ClusterInjection = {
  ...ALL_REDUNDANCY_RULES,
  awaited: true,
  hostMemory: true,
}
