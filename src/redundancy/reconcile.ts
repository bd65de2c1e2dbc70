/**
 * What the host of a virtual machine's primary does next so that the machine comes to be as it is wished: protected, on the
 * hosts that are wished, and away from hosts that are drained. Pure; one step at a time, each of which leaves the machine
 * running whatever happens meanwhile.
 *
 * Only the agent beside the live machine decides, so nobody has to be elected for it: that there is one live machine at
 * most is what the arbitration of src/ft is for. If that host dies, the backup's becomes the one that decides.
 *
 * A pair has exactly two sides: a machine is cloned while it runs alone. So moving a backup, or a primary to a third host,
 * takes the protection away for as long as the clone takes.
 */
import { type Choice, choose, type PlacementHost, type Refusal } from './placement.ts'
import { ALL_REDUNDANCY_RULES, type RedundancyRules } from './rules.ts'

/** What people wish of a virtual machine beyond that it runs. */
export interface Wish {
  readonly protect: boolean
  /** The host that shall carry the primary or the backup; null when it is all the same. */
  readonly primary: string | null
  readonly backup: string | null
}

/** The live machine, as its replica tells. */
export interface LiveMachine {
  readonly host: string
  readonly failureDomain: string
  readonly memoryBytes: number
  readonly protection: 'protected' | 'unprotected' | 'starting'
  /** The host of the backup; null when there is none. */
  readonly backupHost: string | null
  /** The host to which a clone is on its way. */
  readonly cloningTo: string | null
}

export type Step =
  | { readonly kind: 'none' }
  /** Something is to be done and cannot be now. */
  | { readonly kind: 'wait'; readonly reason: string }
  | { readonly kind: 'clone'; readonly to: string; readonly reason: string }
  /** Let the backup go. */
  | { readonly kind: 'unprotect'; readonly reason: string }
  /** Hand over to the backup. */
  | { readonly kind: 'failover'; readonly reason: string }

const NONE: Step = { kind: 'none' }

export interface View {
  readonly machine: LiveMachine
  readonly wish: Wish
  readonly hosts: readonly PlacementHost[]
  /** Hosts at which a clone of this machine has failed a moment ago. */
  readonly avoid: ReadonlySet<string>
  readonly rules?: RedundancyRules
}

export function nextStep(asked: View): Step {
  const { machine, wish, hosts } = asked
  if (machine.cloningTo !== null || machine.protection === 'starting') return NONE
  // It is handing over, or letting its backup go: whoever is live then decides.
  if (machine.protection === 'unprotected' && machine.backupHost !== null) return NONE
  // A host that is gone is no place to wish for: being protected somewhere comes first.
  const there = (host: string | null) => (hosts.some((other) => other.host === host) ? host : null)
  const view = { ...asked, wish: { ...wish, primary: there(wish.primary), backup: there(wish.backup) } }
  return machine.protection === 'protected' ? ofPair(view) : ofLone(view)
}

/** Why the machine shall leave its host, or null. */
function reasonToLeave({ machine, wish, hosts }: View): string | null {
  if (wish.primary !== null && wish.primary !== machine.host) return `its primary shall be on ${wish.primary}`
  if (wish.primary === machine.host) return null
  const own = hosts.find(({ host }) => host === machine.host)
  return own?.draining === true ? `${machine.host} is drained` : null
}

function ofPair(view: View): Step {
  const { machine, wish, hosts } = view
  const leave = reasonToLeave(view)
  const backup = hosts.find(({ host }) => host === machine.backupHost)
  if (leave !== null) {
    const isRight = wish.primary === null ? backup?.draining !== true : wish.primary === machine.backupHost
    if (isRight) return { kind: 'failover', reason: leave }
    // Without a better host the pair stays together: a drained host is still one.
    return elsewhere(view, leave)
  }
  if (!wish.protect) return { kind: 'unprotect', reason: 'it shall not be protected' }
  if (wish.backup !== null && wish.backup !== machine.backupHost && wish.backup !== machine.host) {
    return elsewhere(view, `its backup shall be on ${wish.backup}`)
  }
  if (backup?.draining === true) return elsewhere(view, `${backup.host} is drained`)
  return NONE
}

/** Lets the backup go for another one, once it is known where that will be. */
function elsewhere(view: View, reason: string): Step {
  const target = targetOf(view)
  return target.host === null
    ? { kind: 'wait', reason: `${reason}, but ${target.reason}` }
    : { kind: 'unprotect', reason }
}

function ofLone(view: View): Step {
  const leave = reasonToLeave(view)
  if (!view.wish.protect && leave === null) return NONE
  const target = targetOf(view)
  if (target.host === null) return { kind: 'wait', reason: target.reason }
  return {
    kind: 'clone',
    to: target.host,
    reason: leave === null ? target.reason : `${leave}; ${target.reason}`,
  }
}

/** Where the other replica belongs: where it is wished, if that will do. */
function targetOf({ machine, wish, hosts, avoid, rules = ALL_REDUNDANCY_RULES }: View): Choice | Refusal {
  const { memoryBytes, host, failureDomain } = machine
  const apartFrom = rules.apart ? { host, failureDomain } : null
  const wanted = { memoryBytes, apartFrom, avoid }
  const named = wish.primary !== null && wish.primary !== machine.host ? wish.primary : wish.backup
  const others = hosts.filter(({ host }) => host !== machine.backupHost)
  if (named === null || named === machine.host) return choose(others, wanted)
  // Who names a host may put both replicas into one failure domain, or on a host that is drained.
  const there = hosts.find(({ host }) => host === named)
  if (there === undefined) return { host: null, reason: `${named} does not answer` }
  const apartFromHost = { host, failureDomain: null }
  const asked = choose([{ ...there, draining: false }], { ...wanted, apartFrom: apartFromHost })
  if (asked.host !== null) return { host: named, reason: 'it was asked for' }
  // Being protected somewhere comes first; a pair stays one until the host that was asked for can take it.
  return machine.protection === 'unprotected' && wish.protect ? choose(others, wanted) : asked
}
