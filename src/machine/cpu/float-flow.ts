/**
 * What is known of floating-point registers and of the unit's state at the beginning of each block of a region, whatever
 * way led there.
 */
import { type RegionFlow, settle } from './register-flow.ts'

/** What a block does to facts: `ends` are no longer known after it, unless it `makes` them. */
export interface FactChanges {
  readonly makes: number
  readonly ends: number
}

/** The facts, a bit for each, that hold on every way to the beginning of each block; nothing is known at the entry. */
export function factFlow(region: RegionFlow, changes: readonly FactChanges[]): Int32Array {
  const { order, successors } = region
  const knownIn = new Int32Array(changes.length).fill(-1)
  knownIn[0] = 0
  settle(order, (node) => {
    const known = (knownIn[node] & ~changes[node].ends) | changes[node].makes
    let changed = false
    for (const to of successors[node]) {
      const before = knownIn[to]
      knownIn[to] = before & known
      if (knownIn[to] !== before) changed = true
    }
    return changed
  })
  return knownIn
}

/** Blocks from whose beginning a block that `needs` can be reached before one that `renews`, itself included. */
export function needFlow(
  region: RegionFlow,
  needs: readonly boolean[],
  renews: readonly boolean[],
): boolean[] {
  const needed = [...needs]
  settle([...region.order].reverse(), (node) => {
    if (needed[node] || renews[node]) return false
    needed[node] = region.successors[node].some((to) => needed[to])
    return needed[node]
  })
  return needed
}
