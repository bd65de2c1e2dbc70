import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { structure } from './control-flow.ts'

/** Graphs of up to 12 nodes with at most two successors each, as blocks have. */
const graphs = fc.integer({ min: 1, max: 12 }).chain((count) =>
  fc.record({
    successors: fc.array(fc.uniqueArray(fc.nat(count - 1), { maxLength: 2 }), {
      minLength: count,
      maxLength: count,
    }),
  }),
)

/** Nodes reachable from the entry without passing `avoided`, over the edges that are left. */
function reachable(successors: readonly (readonly number[])[], avoided: number): Set<number> {
  const seen = new Set<number>()
  const open = avoided === 0 ? [] : [0]
  while (open.length > 0) {
    const node = open.pop() as number
    if (seen.has(node)) continue
    seen.add(node)
    for (const to of successors[node]) if (to !== avoided) open.push(to)
  }
  return seen
}

describe('the structure of a control-flow graph', () => {
  it('has a dominator tree that agrees with the definition of dominance', () => {
    fc.assert(
      fc.property(graphs, (graph) => {
        const count = graph.successors.length
        const { order, children, cut } = structure(graph)
        const kept = graph.successors.map((list, from) => list.filter((to) => !cut.has(from * count + to)))
        const below = (node: number): number[] => [node, ...children[node].flatMap(below)]
        expect([...order].sort()).toEqual([...reachable(kept, -1)].sort())
        for (const node of order) {
          // What `node` dominates is exactly what cannot be reached without it.
          const around = reachable(kept, node)
          expect(below(node).sort()).toEqual(order.filter((other) => !around.has(other)).sort())
        }
      }),
    )
  })

  it('leaves only edges that go forward or back to a loop header that dominates their source', () => {
    fc.assert(
      fc.property(graphs, (graph) => {
        const count = graph.successors.length
        const { order, position, children, isLoopHeader, cut } = structure(graph)
        const dominates = (above: number, node: number): boolean =>
          above === node || children[above].some((child) => dominates(child, node))
        for (const from of order) {
          for (const to of graph.successors[from]) {
            if (cut.has(from * count + to) || position[to] > position[from]) continue
            expect(isLoopHeader[to]).toBe(true)
            expect(dominates(to, from)).toBe(true)
          }
        }
      }),
    )
  })

  it('cuts nothing from a graph whose loops have one entry each', () => {
    // 0 → 1 → 2 → 1, 2 → 3: a plain loop.
    expect(structure({ successors: [[1], [2], [1, 3], []] }).cut.size).toBe(0)
    // 0 → 1 and 0 → 2, 1 ↔ 2: a loop with two entries.
    expect(structure({ successors: [[1, 2], [2], [1]] }).cut.size).toBe(1)
  })

  it('calls a merge what more than one forward edge reaches', () => {
    const { isMerge } = structure({ successors: [[1, 2], [3], [3], []] })
    expect(isMerge).toEqual([false, false, false, true])
  })
})
