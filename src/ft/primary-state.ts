import type { Bond } from './bond.ts'

/**
 * A primary's states and what leads from one to the next (docs/protocol.md, "The primary"):
 *
 *     new          --start--> claiming, or alone (begin: live)
 *     claiming     --won--> waiting, or alone (begin: alone);  --lost--> ended
 *     waiting      --hello of a backup--> protected;  --unprotect--> alone;  --stop--> ended
 *     protected    --backup lost--> arbitrating;  --operation--> closing;  --power-off acknowledged--> ended
 *     closing      --confirmed--> alone (unprotect), ended (stop);  --backup lost, or no answer--> arbitrating
 *     arbitrating  --won--> alone, or ended when the machine was to end;  --lost--> ended
 *     alone        --a copy of the machine has all that has left--> protected;  --stop, power-off--> ended
 */
export type PrimaryState =
  | { readonly kind: 'new' }
  | { readonly kind: 'claiming' }
  | { readonly kind: 'waiting' }
  | { readonly kind: 'protected'; readonly bond: Bond }
  | {
      readonly kind: 'closing'
      readonly bond: Bond
      readonly operation: ExplicitOperation
      readonly untilMs: number
    }
  | { readonly kind: 'arbitrating'; readonly intent: Intent }
  | { readonly kind: 'alone' }
  | { readonly kind: 'ended' }

/** What the operator may ask of a primary that has a backup. */
export type ExplicitOperation = 'stop' | 'unprotect' | 'failover'

/** What a won arbitration is for. */
export type Intent = 'go-on' | 'stop' | 'failover'
